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

    what, unit = "gradients in .grad when the optimizer steps", "steps' worth"
    places = {backward.number: backward.place for backward in trace.of(events.Backward) if backward.accumulates}
    stale: dict[events.Place, list[events.OptimizerStep]] = {}
    for step in trace.of(events.OptimizerStep):
        if step.stale:
            stale.setdefault(places[step.backward], []).append(step)
    for place, steps in stale.items():
        first, worst = steps[0], max(steps, key=lambda step: step.worth)
        yield Measurement(
            what, first.worth, 1, unit, True, place,
            f"at step {first.step} .grad held the gradients of {first.worth} steps, {first.ratio:.2f} times what its "
            f"backward delivered, and those of {worst.worth} by step {worst.step}",
        )  # fmt: skip
    if any(step.gradients for step in trace.of(events.OptimizerStep)):
        for place in dict.fromkeys(places.values()):
            if place not in stale:
                yield Measurement(
                    what, 1, 1, unit, False, place, "every step used the gradients of its own backward only"
                )
