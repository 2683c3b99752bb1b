"""The result of `load_state_dict` is taken for the model: it is a list of keys, and the model is lost.

## What it finds
`model = model.load_state_dict(...)`, `self.net = self.net.load_state_dict(...)`, `net = Net().load_state_dict(...)`
and its use as a model (`Net().load_state_dict(...).eval()`), for models, optimizers and schedulers. The finding
stands at the assignment, or at the use.

## Why it hurts
`load_state_dict` loads in place and returns the keys that did not fit, as a named tuple (for an optimizer and a
scheduler: None). The name no longer means the model: the next call of it, or `.eval()`, raises.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 2)
model = model.load_state_dict(torch.load("weights.pt", weights_only=True))
print(model(torch.randn(1, 4)))
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 2)
model.load_state_dict(torch.load("weights.pt", weights_only=True))
print(model(torch.randn(1, 4)))
```

## Fix and its safety
`model = ` is taken away where the call is made on the very name that is assigned. Safe: the weights are loaded as
before, and the name keeps its model. For `net = Net().load_state_dict(state)` the object is named first. The other
forms get no fix.

## Known limits
Quiet where the keys are looked at (`.missing_keys`), where the result gets a name of its own that is not used as
a model, and where a class has a `load_state_dict` of its own.

## Proof
In a real run the object behind the name is compared: before the call it is the model, after it what
`load_state_dict` returned. Also counted is an exception that such a result raises when it is used as a model.

## References
- torch.nn.Module.load_state_dict: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Loaded, LoadResult, Module, Optimizer, Scheduler
from torchlint.rule import Facts, Finding, Fix, Group, InsertBefore, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"load_state_dict"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for loaded in root.of(Loaded):
            result = loaded.result
            known = all(isinstance(o, (Module, Optimizer, Scheduler)) for o in loaded.target.options())
            if result is None or not known or result.read or not (result.lost or result.used is not None):
                continue
            given = "the keys that did not fit" if isinstance(loaded.target.options()[0], Module) else "None"
            name = result.bound or loaded.spelling or facts.text(loaded.site)
            yield Finding(
                result.binding if result.lost and result.binding is not None else result.used or loaded.site,
                f"`{name}` is what `load_state_dict` returns: {given}",
                "It is loaded in place; what comes back is no model, and using it as one raises.",
                fix=_fix(facts, loaded, result),
            )


def _fix(facts: Facts, loaded: Loaded, result: LoadResult) -> Fix | None:
    if not result.bound or not result.direct or result.binding is None:
        return None
    call = facts.text(loaded.site)
    if loaded.spelling == result.bound:
        return Fix("Load in place", Safety.SAFE, (Replace(result.binding, call),))
    made = facts.text(loaded.receiver) if loaded.receiver is not None else ""
    if result.lost and not loaded.spelling and call.startswith(f"{made}.") and loaded.receiver is not None:
        named = InsertBefore(result.binding, (f"{result.bound} = {made}",))
        loads = Replace(result.binding, result.bound + call.removeprefix(made))
        return Fix("Name the object, and load in place", Safety.SAFE, (named, loads))
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "names that lose their model", "names"
    for loaded in trace.of(events.StateLoaded):
        message = "the name keeps its model"
        if loaded.replaced:
            message = f"the name of a {loaded.kind} now means what load_state_dict returned"
        yield Measurement(what, int(loaded.replaced), 0, unit, loaded.replaced, loaded.place, message)
    for raised in trace.of(events.Raised):
        if "_IncompatibleKeys" in raised.message:
            yield Measurement(what, 1, 0, unit, True, raised.place, f"{raised.kind}: {raised.message}")
