"""`load_state_dict(..., strict=False)` loads what fits, and nobody looks at what did not.

## What it finds
`model.load_state_dict(state, strict=False)` as a statement of its own, where the state is what `torch.load` (or a
helper that fetches or reads weights) returned, just as it is. The finding stands at the call.

## Why it hurts
`strict=False` turns every mismatch into silence. A prefix such as `module.` or `model.`, a renamed layer, the
wrong file: no key fits, nothing is loaded, and training goes on from random weights as if it had been
restored. The only trace of it is the result: the keys that were missing and those that were not expected.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 2))
state = torch.load("weights.pt", weights_only=True)
model.load_state_dict(state, strict=False)
```

Right:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 2))
state = torch.load("weights.pt", weights_only=True)
result = model.load_state_dict(state, strict=False)
assert not result.unexpected_keys, result.unexpected_keys
print("not in the file:", result.missing_keys)
```

## Fix and its safety
Prints the result. Safe: the program computes the same, and says what was not loaded.

## Known limits
In preview: many programs load a part of a file on purpose and know what is missing, and that cannot be told from
the accident. Quiet where the result is taken, where a module loads itself (`self.load_state_dict`), and where
the state was filtered, renamed or merged before: whoever does that knows which keys fit. A call that is flagged
may load everything, and then the fix costs one line of output.

## Proof
In a real run the keys are counted: harmed is a call whose result nobody takes, where more than half of the file's
keys found no place and more than half of the model's keys were not in it. Healthy is 0.

## References
- torch.nn.Module.load_state_dict: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict
- Warmstarting a model with parameters of a different one: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html#warmstarting-model-using-parameters-from-a-different-model
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Literal, Loaded, LoadedFile, Module, Unknown, Value, only
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"load_state_dict"}, {"strict", "False"}]
fixable = "safe"
preview = True  # see Known limits


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for loaded in root.of(Loaded):
            strict = only(loaded.strict)
            if not (isinstance(strict, Literal) and strict.value is False) or not loaded.discarded:
                continue
            if not all(isinstance(o, Module) for o in loaded.target.options()) or loaded.site.node in seen:
                continue
            if loaded.state is None or not all(map(_as_it_was_read, loaded.state.options())):
                continue
            seen.add(loaded.site.node)
            name = loaded.spelling or "the model"
            if name == "self":
                continue  # a module that keeps only a part of itself in files knows what is missing
            yield Finding(
                loaded.site,
                f"`{name}` loads what fits of a file, and nobody looks at the keys that did not",
                "Where no key fits, nothing is loaded, and training goes on from random weights.",
                fix=Fix("Print what was not loaded", Safety.SAFE, (Around(loaded.site, "print(", ")"),)),
            )


def _as_it_was_read(state: Value) -> bool:
    if isinstance(state, LoadedFile):
        return "edited" not in state.uses
    return isinstance(state, Unknown) and state.origin == "entry"


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "keys that were not loaded, unseen", "keys"
    for loaded in trace.of(events.StateLoaded):
        if loaded.optimizer or loaded.error:
            continue
        misfit = loaded.missing > loaded.own / 2 and loaded.unexpected > loaded.keys / 2
        harmed = loaded.discarded and misfit
        message = "most keys fit, or the result is looked at"
        if harmed:
            message = (
                f"{loaded.missing} of the {loaded.own} keys of the {loaded.kind} are not in the file, "
                f"{loaded.unexpected} of the file's {loaded.keys} have no place in it, and nobody is told"
            )
        yield Measurement(what, loaded.missing if harmed else 0, 0, unit, harmed, loaded.place, message)
