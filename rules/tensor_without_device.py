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

group = Group.SUSPICIOUS
words: list[set[str]] = []


def check(facts: Facts) -> Iterator[Finding]:
    yield from ()


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "operations on tensors of two devices", "errors"
    errors = [error for error in trace.of(events.DeviceError) if error.made_inside]
    for error in errors:
        yield Measurement(what, 1, 0, unit, True, error.inner, f"RuntimeError: {error.message}")
    if not errors:
        for forward in trace.of(events.Forward):
            if forward.device.startswith("cuda"):
                message = f"{forward.kind} and all it was given were on {forward.device}"
                yield Measurement(what, 0, 0, unit, False, forward.place, message)
