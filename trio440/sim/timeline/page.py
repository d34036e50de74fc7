"""One self-contained HTML page for one history. Pure.

The page asks nothing of the network, and its content security policy lets nothing run but its
own script. Everything that comes from the history, which may hold any bytes that a program
sent, stands in it as text: escaped in the head of the page, and as JSON without ``<``, ``>``
and ``&`` for the drawing. The page is plain ASCII.

A ``fault`` lasts until the ``heal`` that names it as its cause or has the same text, and
concerns the hosts whose names are words of its text; if there are none, all of them.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

from trio440.sim.checking.explanation import Explanation
from trio440.sim.outcome import Outcome
from trio440.sim.trace import WORLD, Event

__all__ = ["render_page"]

_SCRIPTS: Final = ("model.js", "draw.js", "view.js")
_MARKUP: Final = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def render_page(
    outcome: Outcome, events: Iterable[Event], explanation: Explanation | str | None = None
) -> str:
    """Return a page that shows what came of a history, for any browser, from disk.

    The same arguments give the same bytes.

    Args:
        outcome: what came of it.
        events: its trace, or the part of it that was kept.
        explanation: why a history of operations is wrong: a checker's words with a table of all
            the operations, or any text; None: what the failure brings along.
    """
    if explanation is None and outcome.failure is not None:
        brought = outcome.failure.explanation
        explanation = brought if isinstance(brought, Explanation | str) else None
    kept = tuple(events)
    style = _template("page.css")
    script = '"use strict";\n' + "\n".join(map(_template, _SCRIPTS))
    parts = {
        "policy": f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}",
        "title": _escape(f"{outcome.setup.system}, seed {outcome.setup.seed}"),
        "facts": "\n".join(_facts(outcome, kept)),
        "replay": _escape(outcome.setup.replay_command()),
        "failure": _failure(outcome),
        "faults": _faults(outcome),
        "explanation": _explanation(explanation),
        "data": json.dumps(_data(outcome, kept), separators=(",", ":")).translate(_MARKUP),
        "style": style,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _template("page.html"))


def _facts(outcome: Outcome, kept: Sequence[Event]) -> Iterator[str]:
    setup = outcome.setup
    count = str(outcome.events)
    if len(kept) != outcome.events:
        count = f"{len(kept)} of {outcome.events}"
    facts = {
        "System": setup.system,
        "Level": setup.level,
        "Seed": setup.seed,
        "Profile": setup.profile,
        "Order": setup.order,
        "Virtual time": _seconds(outcome.at),
        "Events": count,
        "Digest": outcome.digest,
        "Outcome": "passed" if outcome.failure is None else "failed",
    }
    for name, value in facts.items():
        yield f"<div><dt>{name}</dt><dd>{_escape(value)}</dd></div>"


def _failure(outcome: Outcome) -> str:
    failure = outcome.failure
    if failure is None:
        return ""
    return (
        f'<div class="failure" role="note"><strong>{_escape(failure.invariant)}</strong>'
        f" at {_seconds(failure.at)}<pre>{_escape(failure.detail)}</pre></div>"
    )


def _faults(outcome: Outcome) -> str:
    if not outcome.faults:
        return ""
    keep = outcome.setup.keep
    items = "\n".join(
        f"<li{'' if keep is None or place in keep else _LEFT_OUT}>{_escape(fault)}</li>"
        for place, fault in enumerate(outcome.faults)
    )
    shown = " open" if len(outcome.faults) <= _FEW_FAULTS else ""
    return (
        f'<details class="faults"{shown}><summary>Faults of the plan: {len(outcome.faults)}'
        f'</summary><ol start="0">\n{items}\n</ol></details>'
    )


_LEFT_OUT: Final = ' class="left-out"'
_FEW_FAULTS: Final = 6


def _explanation(explanation: Explanation | str | None) -> str:
    if explanation is None:
        return ""
    parts = [f"<pre>{_escape(explanation)}</pre>"]
    if not isinstance(explanation, str):
        parts += ["<table>", f"<caption>{_CAPTION}</caption>", _HEADINGS]
        parts += [*_operation_rows(explanation), "</table>"]
    return "\n".join(["<section>", "<h2>Explanation</h2>", *parts, "</section>"])


def _operation_rows(explanation: Explanation) -> Iterator[str]:
    places = {number: place for place, number in enumerate(explanation.order, 1)}
    for shown in explanation.operations:
        operation = shown.operation
        if operation.number == explanation.culprit:
            mark, place = ' class="culprit"', "fits nowhere"
        elif operation.number in explanation.overlapping:
            mark, place = ' class="beside"', str(places.get(operation.number, ""))
        else:
            mark, place = "", str(places.get(operation.number, ""))
        returned = operation.ending if operation.returned is None else _seconds(operation.returned)
        cells = (
            *(operation.number, operation.client, shown.text),
            *(_seconds(operation.invoked), returned, place),
        )
        yield f"<tr{mark}>{''.join(f'<td>{_escape(cell)}</td>' for cell in cells)}</tr>"


_CAPTION: Final = "All operations on the object; those in bold overlap the one that fits nowhere"
_HEADINGS: Final = (
    "<tr><th>Operation</th><th>Client</th><th>Call</th>"
    "<th>Invoked</th><th>Returned</th><th>Place in the order</th></tr>"
)


def _data(outcome: Outcome, kept: Sequence[Event]) -> Mapping[str, Any]:
    hosts = _places([WORLD, *(event.host for event in kept)])
    kinds = _places([event.kind for event in kept])
    failure = outcome.failure
    return {
        "hosts": list(hosts),
        "kinds": list(kinds),
        "end": outcome.at,
        "failure": failure and {"at": failure.at, "text": _headline(failure.invariant)},
        "events": [
            [event.number, event.at, hosts[event.host], kinds[event.kind], event.text, event.cause]
            for event in kept
        ],
    }


def _places(names: Iterable[str]) -> dict[str, int]:
    """Give every name the place of its first appearance."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _headline(text: str) -> str:
    return text.partition("\n")[0]


def _seconds(micros: int) -> str:
    return f"{micros / 1e6:.6f} s"


def _escape(value: object) -> str:
    """Write any text as ASCII that means it, between tags or within double quotes."""
    return html.escape(str(value)).encode("ascii", "xmlcharrefreplace").decode()


def _digest(source: str) -> str:
    """Name an inline style or script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


@cache
def _template(name: str) -> str:
    return resources.files("trio440.sim.timeline").joinpath(name).read_text("ascii")
