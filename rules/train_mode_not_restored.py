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

    what, unit = "training batches in evaluation mode", "batches"
    used = trace.used_for_gradients()
    modules: dict[int, list[events.Forward]] = {}
    for forward in trace.of(events.Forward):
        if forward.number in used and forward.parameters:
            modules.setdefault(forward.module, []).append(forward)
    for forwards in modules.values():
        trained = next((n for n, one in enumerate(forwards) if one.training), len(forwards))
        frozen = [one for one in forwards[trained:] if not one.training]
        layers = max(one.active for one in forwards)
        place = (frozen or forwards)[0].place
        message = f"{forwards[0].kind} was in training mode in all of its {len(forwards)} training batches"
        if frozen:
            message = (
                f"{frozen[0].kind} was in evaluation mode in {len(frozen)} of {len(forwards)} training batches: "
                f"{layers} of its layers (dropout, normalisation) then do not train"
            )
        yield Measurement(what, len(frozen), 0, unit, bool(frozen and layers), place, message)
