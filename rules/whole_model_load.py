"""What `torch.load` reads is used as a module, and a default `torch.load` refuses files with a module in them.

## What it finds
`model = torch.load("model.pt")` without `weights_only=False`, where the result, or an entry of it, is then used
as only a module (or another pickled object) can be: it is called, or `.eval()`, `.parameters()`, `.state_dict()`
and the like are. The finding stands at the call of `torch.load`.

## Why it hurts
Since torch 2.6 `torch.load` reads tensors and plain containers only, unless it is told otherwise. Such a file
holds the place of a class, and an UnpicklingError is raised: a script that worked for years stops at this line.

## Example
Wrong:

```python
import torch

model = torch.load("model.pt")
model.eval()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 2)
model.load_state_dict(torch.load("model.pt", weights_only=True))
model.eval()
```

## Fix and its safety
Writes `weights_only=False`. Unsafe: from then on the file may run any code while it is read, which is right only
for files of your own. Saving the `state_dict()` and loading that is better. No fix where the file comes from a
download, or its name from the command line.

## Known limits
Right, and not reported: `weights_only=False`, a `pickle_module`, allowed classes (`add_safe_globals`,
`safe_globals`), a program that asks what it has read (`isinstance`, `in`). Quiet where the result is only handed
on. What a file holds is not known: the finding rests on what is done with it.

## Proof
In a real run torch's own refusal is counted where no second attempt succeeds; healthy is none.

## References
- torch.load: https://docs.pytorch.org/docs/stable/generated/torch.load.html
- Serialization semantics, torch.load with weights_only=True: https://docs.pytorch.org/docs/stable/notes/serialization.html#torch-load-with-weights-only-true
- Saving and Loading Models: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import FileLoaded, Literal, Site, only
from torchlint.rule import Around, Change, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.PORTABILITY
words = [{"load"}, {"torch"}]
fixable = "sometimes"

_ALLOWED = ("add_safe_globals", "safe_globals")


def check(facts: Facts) -> Iterator[Finding]:
    if any(word in facts.words or facts.elsewhere(word) for word in _ALLOWED):
        return
    seen: set[object] = set()
    for root in facts.roots:
        for event in root.of(FileLoaded):
            file = event.value
            given = only(file.weights_only)
            explicit = isinstance(given, Literal) and given.value is True
            default = file.weights_only is None or (isinstance(given, Literal) and given.value is None)
            if not file.plain or not (explicit or default) or "asked" in file.uses or event.site.node in seen:
                continue
            use = file.uses.get("module") or file.uses.get("part")
            if use is None:
                continue
            seen.add(event.site.node)
            name = file.name or facts.text(event.site)
            what = "is used as a module" if "module" in file.uses else "has a module in it"
            yield Finding(
                event.site,
                f"`{name}` {what}, and `torch.load` reads only plain data here",
                "torch 2.6 and later refuse a file with a pickled module in it: an UnpicklingError is raised.",
                related=(("it is used as a module here", use),) if use.node is not None else (),
                fix=_fix(event, explicit),
                since="" if explicit else "2.6",
            )


def _fix(event: FileLoaded, explicit: bool) -> Fix | None:
    site: Site | None = event.weights_only if explicit else event.last
    if site is None or event.source:
        return None
    change: Change = Replace(site, "False") if explicit else Around(site, after=", weights_only=False")
    return Fix("Let the file hold any object: only for files that you trust", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "files torch.load refuses", "files"
    reads = list(trace.of(events.FileRead))
    last = max((one.number for one in reads if not one.refusal), default=-1)
    for read in reads:
        harmed = "eights only" in read.refusal and read.number > last
        message = f"torch.load refuses the file: {read.refusal}" if harmed else "the file was read"
        if harmed or not read.refusal:
            yield Measurement(what, int(harmed), 0, unit, harmed, read.place, message)
