"""The faults that act on links at present, and what they make of each.

The rules of a link, in one direction:

- Its weather is that of the fault that began last among those that speak of the link, else the
  base weather.
- A cut link drops datagrams, when they are sent as well as when they would arrive, and holds
  segments until it is whole again.
- A clogged link holds all that is sent on it, and lets it go in order, within a millisecond,
  when it is neither clogged nor cut. What was on its way already arrives.
- From a host to itself there is a small fixed delay and no fault at all.
"""

from typing import NamedTuple

from trio440.sim.faults import Clog, Fault, Flap, Partition, Weather, WeatherFault
from trio440.sim.links import Link, LinkFault, cuts, speaks_of

__all__ = ["ActiveFaults", "Toggle"]


class Toggle(NamedTuple):
    """A change of a flapping partition."""

    place: int
    fault: Flap
    cut: bool


class ActiveFaults:
    """The faults, by their places in the plan."""

    def __init__(self, base: Weather, *, is_coarse: bool) -> None:
        """Begin without any.

        Args:
            base: the weather where no fault says otherwise.
            is_coarse: whether arrivals keep to multiples of a time: no link is plain then.
        """
        self.base = base
        self.version = 0
        """Another one whenever links are to be looked at again, see :meth:`refresh`."""
        self.is_stormy = False
        """Whether some link may be cut."""
        self._is_coarse = is_coarse
        self._faults: dict[int, LinkFault] = {}
        self._flaps_cut: dict[int, bool] = {}

    def set_base(self, weather: Weather) -> None:
        """Let there be another base weather."""
        self.base = weather
        self.version += 1

    def begin(self, place: int, fault: Fault) -> None:
        """Let a fault act, unless it is one of other things than links."""
        if isinstance(fault, LinkFault):
            self._faults.pop(place, None)
            self._faults[place] = fault
            self._changed()

    def end(self, place: int, fault: Fault) -> bool:
        """Let a fault act no longer; whether it did."""
        if self._faults.get(place) != fault:
            return False
        del self._faults[place]
        self._flaps_cut.pop(place, None)
        self._changed()
        return True

    def turn(self, toggle: Toggle) -> bool:
        """Cut or mend a flapping partition; False: it acts no longer."""
        if self._faults.get(toggle.place) is not toggle.fault:
            return False
        self._flaps_cut[toggle.place] = toggle.cut
        self.version += 1
        return True

    def is_cut(self, source: str, destination: str) -> bool:
        """Whether nothing passes in this direction at present."""
        if source == destination:
            return False
        return any(
            cuts(fault, source, destination)
            for place, fault in self._faults.items()
            if self._flaps_cut.get(place, True)
        )

    def refresh(self, link: Link) -> None:
        """Work out what the faults make of a link."""
        link.version = self.version
        source, destination = link.source, link.destination
        if source == destination:
            return
        weather = self.base
        clogged = False
        for fault in self._faults.values():
            if isinstance(fault, WeatherFault):
                if speaks_of(fault, source, destination):
                    weather = fault.weather
            elif isinstance(fault, Clog):
                clogged = clogged or speaks_of(fault, source, destination)
        link.weather = weather
        link.clogged = clogged
        link.cut = self.is_cut(source, destination)
        troubles = (weather.loss, weather.duplicate, weather.corrupt, weather.truncate)
        link.plain = not (
            link.cut
            or clogged
            or any(troubles)
            or weather.slow
            or weather.bandwidth is not None
            or self._is_coarse
        )

    def _changed(self) -> None:
        self.version += 1
        self.is_stormy = any(isinstance(fault, Partition | Flap) for fault in self._faults.values())
