"""`torch.load` runs whatever code the file holds, and the file comes from outside.

## What it finds
`torch.load(path, weights_only=False)` where the path or the file comes from the command line, the environment,
the user's input or a download. For torch up to 2.5, where it was the default, also a call that does not say
`weights_only`. The finding stands at the call.

## Why it hurts
Such a file is a pickle: a program that names functions and calls them. Whoever wrote it runs code on your machine
with your rights the moment it is opened, before a single weight is looked at. Nothing is seen of it: the
weights load as expected. Checkpoints on public hubs have carried such code.

## Example
Wrong:

```python
import argparse

import torch

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
args = parser.parse_args()
state = torch.load(args.checkpoint, weights_only=False)
```

Right:

```python
import argparse

import torch

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
args = parser.parse_args()
state = torch.load(args.checkpoint, weights_only=True)
```

## Fix and its safety
Writes `weights_only=True`. Unsafe: a file that holds more than tensors and plain containers is refused from then on.
No fix where what is read is used as a module, which such a file cannot hold.

## Known limits
A path is from outside when that can be seen: through `argparse`, `sys.argv`, `os.environ`, `input`, a function that
downloads, and what joins, formats or opens those. Quiet for parameters of functions that nothing in the file
calls, and for paths that the program makes itself. `pickle.load` is not looked at.

## Proof
In a real run the functions that the file has called while it is read are counted, those left out that ordinary
objects are restored with. Healthy is 0. A file without code in it does no harm, today.

## References
- torch.load: https://docs.pytorch.org/docs/stable/generated/torch.load.html
- Serialization semantics: https://docs.pytorch.org/docs/stable/notes/serialization.html
- torch.serialization.add_safe_globals: https://docs.pytorch.org/docs/stable/notes/serialization.html#torch.serialization.add_safe_globals
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import FileLoaded, Literal, only
from torchlint.rule import Around, Change, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.PORTABILITY
words = [{"load"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for event in root.of(FileLoaded):
            file = event.value
            given = only(file.weights_only)
            explicit = isinstance(given, Literal) and given.value is False
            default = file.weights_only is None and file.plain
            if not event.source or not (explicit or default) or event.site.node in seen:
                continue
            seen.add(event.site.node)
            name = facts.text(event.path) if event.path is not None else "the file"
            yield Finding(
                event.site,
                f"`{name}` comes from {event.source}, and this lets it run any code",
                "Whoever wrote the file runs code of theirs here, before a weight is looked at.",
                fix=_fix(event, explicit),
                until="" if explicit else "2.5",
            )


def _fix(event: FileLoaded, explicit: bool) -> Fix | None:
    site = event.weights_only if explicit else event.last
    if site is None or event.value.uses.keys() & {"module", "part"}:
        return None
    change: Change = Replace(site, "True") if explicit else Around(site, after=", weights_only=True")
    return Fix("Read tensors and plain containers only", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "functions that the file had called", "functions"
    for read in trace.of(events.FileRead):
        harmed = bool(read.foreign)
        message = f"while it was read the file called {', '.join(read.foreign)}" if harmed else "the file called none"
        yield Measurement(what, len(read.foreign), 0, unit, harmed, read.place, message)
