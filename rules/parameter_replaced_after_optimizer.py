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

    what, unit = "new parameters with a gradient that no optimizer moves", "parameters"
    steps = list(trace.of(events.OptimizerStep))
    for replaced in trace.of(events.ParameterReplaced):
        later = [one for step in steps if step.number > replaced.number for one in step.orphans]
        last = {one.parameter: one for one in later if one.parameter in replaced.gained}
        lost = [one for one in last.values() if one.gradient and not one.held and not one.distance]
        message = "an optimizer holds what was put in its place"
        if lost:
            count = sum(one.parameter == lost[0].parameter for one in later)
            message = (
                f"{lost[0].name} has a gradient of norm {lost[0].gradient:.3g}, is in no optimizer and did not move in "
                f"{count} steps"
            )
        if last:
            yield Measurement(what, len(lost), 0, unit, bool(lost), replaced.place, message)
    if not any(trace.of(events.ParameterReplaced)):
        for step in steps:
            if step.unheld is not None:
                yield Measurement(what, 0, 0, unit, False, step.place, "no parameter of an optimizer was replaced")
