"""The campus: where one can stand, what it looks like there, and the map. Pure."""

from typing import Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["MAP", "PLACES", "START", "Place", "place_named"]


@attrs.frozen
class Place:
    """Somewhere to stand."""

    name: str
    """In the keys of the store, and what a player types."""
    phrase: str
    """With its preposition: "on floor 5"."""
    title: str
    text: str
    """What one sees there."""


PLACES: Final = {
    place.name: place
    for place in (
        Place(
            "fence",
            "at the fence",
            "The Fence",
            "A low wooden fence, fat with paint. Whoever guards it through the night may paint it "
            "in the morning, and nobody has missed a night in years: under today's slogan lie "
            "ten thousand others, and hardly any wood. Somebody has left a tent, a wet brush and "
            "half a proof.",
        ),
        Place(
            "bridge",
            "on the bridge",
            "The Bridge",
            "The footbridge hums under your shoes. Its lamps count in binary, a step with every "
            "tram that passes below, and the engineers who wired them have graduated without "
            "telling anybody when they overflow. The wind smells of rain and of soldering.",
        ),
        Place(
            "1",
            "on floor 1",
            "Floor 1, Deliveries",
            "Pallets of graphics cards wait for professors who have forgotten ordering them. A "
            "forklift beeps in its sleep. The porter keeps a list of everything that came in "
            "here, and a much shorter one of what came out again.",
        ),
        Place(
            "2",
            "on floor 2",
            "Floor 2, the Lecture Hall",
            "Four hundred folding seats face a board that has not been wiped since the last exam. "
            "In one corner it still says DO NOT ERASE, and under that, in another hand: WHY NOT. "
            "The clock above the door runs eleven minutes ahead, on advice of the dean.",
        ),
        Place(
            "3",
            "on floor 3",
            "Floor 3, the Machine Room",
            "Cold air, blue light, and the roar of a thousand fans agreeing with each other. The "
            "racks are named after rivers, the switches after people who once unplugged one. A "
            "jumper hangs by the door, to be shared. It has never been washed.",
        ),
        Place(
            "4",
            "on floor 4",
            "Floor 4, the Robots",
            "Something on six legs looks up, decides that you are furniture, and walks around "
            "you. The tape on the ground marks where people may stand. The tape is moved every "
            "night. It is not the cleaners who move it.",
        ),
        Place(
            "5",
            "on floor 5",
            "Floor 5, the Landing",
            "This is where everybody starts: a wide landing, a broken vending machine, and sofas "
            "that have swallowed three generations of pens. A note on the machine says that it "
            "takes exact change and gives exact disappointment.",
        ),
        Place(
            "6",
            "on floor 6",
            "Floor 6, the Kitchen",
            "The coffee here is brewed by consensus, and there is seldom a quorum. One mug has "
            "been voted out. The fridge holds a cake with a name on it and a lock file next to "
            "it, dated last spring.",
        ),
        Place(
            "7",
            "on floor 7",
            "Floor 7, the Cubicles",
            "Grey partitions to the horizon. Here the doctoral students live; one tells their "
            "years by the layers of paper. Far away a keyboard rattles, stops, and rattles again "
            "as the same line is deleted.",
        ),
        Place(
            "8",
            "on floor 8",
            "Floor 8, the Faculty",
            "A quiet corridor with good carpet. Each door has a cartoon on it, each cartoon is "
            "about the neighbour. Office hours are over. They are always over; they were held "
            "in a previous life of the schedule.",
        ),
        Place(
            "9",
            "on floor 9",
            "Floor 9, the Roof Garden",
            "Gravel, herbs in wooden boxes, and all of the city below. The retired professors "
            "tend the tomatoes and do not look at the time. From up here the machine room is "
            "only a warm wind out of a grating.",
        ),
    )
}
"""By their names, in the order of the map."""

START: Final = "5"

MAP: Final = r"""
        ____________
       |  9  garden |    o
       |  8  faculty|  --+--     CMUD, the campus
       |  7  cubes  |
       |  6  kitchen|
       |  5  landing|
       |  4  robots |______________
       |  3  machines   bridge      \__    fence
       |  2  lectures|  .  .  .  .     |  #|#|#|#
       |__1_deliveries___________________________
""".strip("\n")
"""Any place can be reached from any other."""


def place_named(text: str) -> Place:
    """Find a place by what a player calls it, such as ``Bridge``, ``7`` or ``floor 7``.

    Raises:
        InvalidParameter: there is no such place.
    """
    words = text.lower().split()
    name = words[-1] if words[:-1] in ([], ["floor"], ["the"]) and words else ""
    if name not in PLACES:
        raise InvalidParameter("place", text, "fence, bridge, or a floor from 1 to 9")
    return PLACES[name]
