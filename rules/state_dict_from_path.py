"""`load_state_dict` is given the name of a file: it takes the state that `torch.load` reads from it.

## What it finds
`model.load_state_dict("weights.pt")`, and the same with a path that is joined, formatted or given on the
command line, for models, optimizers and schedulers. The finding stands at the call.

## Why it hurts
`load_state_dict` takes a dictionary of tensors and opens no file: it raises a TypeError about the text. Code that
is only reached when a run is resumed shows it then, hours into the work.

## Example
Wrong:

```python
from torch import nn

model = nn.Linear(4, 2)
model.load_state_dict("weights.pt")
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 2)
model.load_state_dict(torch.load("weights.pt", map_location="cpu", weights_only=True))
```

## Fix and its safety
Writes `torch.load(..., map_location="cpu", weights_only=True)` around the path. Safe: the call raised before, and
the values go from there to where the model is. No fix where `torch` is not imported by a name.

## Known limits
Quiet where the argument may be a state on some path, where it comes from another file of the project, and
where a class has a `load_state_dict` of its own.

## Proof
In a real run the call raises torch's own TypeError; healthy is none.

## References
- torch.nn.Module.load_state_dict: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict
- torch.load: https://docs.pytorch.org/docs/stable/generated/torch.load.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Loaded, Module, Optimizer, Scheduler, certainly_path
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"load_state_dict"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for loaded in root.of(Loaded):
            known = all(isinstance(o, (Module, Optimizer, Scheduler)) for o in loaded.target.options())
            if not known or loaded.argument is None or not certainly_path(loaded.state):
                continue
            load = facts.spell("torch.load")
            fix = None
            if load is not None:
                around = Around(loaded.argument, f"{load}(", ', map_location="cpu", weights_only=True)')
                fix = Fix("Read the file with `torch.load`", Safety.SAFE, (around,))
            path, name = facts.text(loaded.argument), loaded.spelling or "the model"
            yield Finding(
                loaded.site,
                f"`{name}.load_state_dict` is given the path `{path}`, not what is in the file",
                "It raises a TypeError: nothing is loaded.",
                fix=fix,
            )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "paths given where a state belongs", "calls"
    for loaded in trace.of(events.StateLoaded):
        harmed = bool(loaded.error)
        message = f"load_state_dict raises: {loaded.error}" if harmed else "a state was loaded"
        yield Measurement(what, int(harmed), 0, unit, harmed, loaded.place, message)
