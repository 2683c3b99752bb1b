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

from torchlint.effects import mode_after
from torchlint.facts import Backward, Event, Forward, Grad, Module, Root, certainly, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"no_grad", "inference_mode", "set_grad_enabled", "test", "eval", "valid", "predict"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    yield from ()


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm.probe import Measurement

    what, unit = "two passes of one batch", "largest difference"
    for forward in trace.inference():
        if forward.difference is None or forward.moved is None:
            continue
        differs = forward.difference > 1e-6 * forward.scale
        message = f"{forward.kind} answers the same batch the same way twice"
        if differs:
            message = f"{forward.kind} in training mode gave two answers, {forward.difference:.3g} apart, to one batch"
        elif forward.moved:
            message = f"predicting moved the running statistics of {forward.kind} by {forward.moved:.3g}"
        value = forward.difference if differs else forward.moved
        yield Measurement(what, value, 0, unit, differs or forward.moved > 0, forward.place, message)
