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

    what, unit = "converted tensors thrown away", "tensors"
    for move in trace.of(events.Moved):
        lost = move.discarded and move.before != move.after
        message = f"the result of .{move.method}() was kept, or changed nothing"
        if lost:
            message = (
                f"the tensor is still {move.before}: .{move.method}() made another, {move.after}, which was thrown away"
            )
        yield Measurement(what, int(lost), 0, unit, lost, move.place, message)
