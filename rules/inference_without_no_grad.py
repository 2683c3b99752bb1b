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
    from torchlint.confirm.probe import Measurement

    what, unit = "kept for a backward pass that never comes", "bytes a batch"
    for forward in trace.inference():
        if not forward.tracked:
            message = f"the output of {forward.kind} has no grad_fn and keeps nothing alive"
            yield Measurement(what, 0, 0, unit, False, forward.place, message)
        elif forward.saved_bytes is not None:
            message = (
                f"the output of {forward.kind} has a grad_fn and kept {forward.saved_bytes} bytes for a backward pass "
                "that never came"
            )
            yield Measurement(what, forward.saved_bytes, 0, unit, forward.saved_bytes > 0, forward.place, message)
