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

from torchlint.facts import Discarded, Tensor
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {".to(", ".cuda(", ".cpu(", ".float(", ".half(", ".double(", ".detach(", ".long(", ".int(", ".bool(", ".type("},
    {"torch"},
]
fixable = "safe"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for event in root.of(Discarded):
            if not event.receiver_text or not all(
                isinstance(o, Tensor) and o.certain for o in event.receiver.options()
            ):
                continue
            name = event.receiver_text
            yield Finding(
                event.site,
                f"the result of `{name}.{event.method}()` is thrown away",
                f"Tensors are not changed in place by it: `{name}` is what it was before.",
                fix=Fix(f"Assign the result to `{name}`", Safety.SAFE, (Around(event.site, before=f"{name} = "),)),
            )


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
