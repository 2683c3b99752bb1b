"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words: list[set[str]] = []


def check(facts: Facts) -> Iterator[Finding]:
    yield from ()


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers that torch refused to register", "errors"
    refused = [one for one in trace.of(events.AttributeRefused) if not one.initialises_later]
    for one in refused:
        message = f"{one.kind} holds {one.registered} parameters, torch never set it up: {one.message}"
        yield Measurement(what, 1, 0, unit, True, one.place, message)
    if not refused:
        for built in trace.of(events.SuperInit):
            message = f"torch set {built.kind} up before anything was assigned"
            yield Measurement(what, 0, 0, unit, False, built.place, message)
