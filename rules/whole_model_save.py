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

group = Group.PORTABILITY
words: list[set[str]] = []


def check(facts: Facts) -> Iterator[Finding]:
    yield from ()


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "files that a default torch.load refuses", "files"
    for saved in trace.of(events.Saved):
        if saved.refusal is None:
            continue
        harmed = saved.module and bool(saved.refusal)
        message = f"torch.load reads the saved {saved.kind} back"
        if harmed:
            names = ", ".join(saved.needs)
            message = f"torch.load refuses the file: {saved.refusal}" + (f"; it hangs on {names}" if names else "")
        yield Measurement(what, int(harmed), 0, unit, harmed, saved.place, message)
