"""A tensor, a module or an optimizer is asked for a method that it does not have, but has one much like it.

## What it finds
`loss.backwards()`, `optimizer.zero_grads()`, `model.evaluate()`, `x.detatch()` on what certainly is a tensor, an
optimizer of torch.optim, a layer of torch.nn or a model of the file, where none of them has such a method.

## Why it hurts
The call raises an AttributeError. In a branch that is rarely taken (validation, the last epoch, saving) that
happens after hours of training.

## Example
Wrong:

```python
import torch

w = torch.ones(3, requires_grad=True)
loss = (w * w).sum()
loss.backwards()
```

Right:

```python
import torch

w = torch.ones(3, requires_grad=True)
loss = (w * w).sum()
loss.backward()
```

## Fix and its safety
The nearest right name. Unsafe: the program does not run as it is, but what was meant is a guess.

## Known limits
Quiet about values that are not certainly of these types, about models whose class derives from one out of sight or
defines `__getattr__`, about names that are set on the object anywhere, and about names that resemble no method.
Attributes that are read and not called are not looked at.

## Proof
In a real run the AttributeError is counted: torch's own object has no attribute of that name; healthy is 0.

## References
- torch.Tensor: https://docs.pytorch.org/docs/stable/tensors.html
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
- torch.optim.Optimizer: https://docs.pytorch.org/docs/stable/optim.html#base-class
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint import methods
from torchlint.facts import NoSuchMethod
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"optim", "Module", "nn", "backward", "backwards"}, {"torch"}]
fixable = "unsafe"

_ARTICLES = {"tensor": "a tensor", "module": "a module", "optimizer": "an optimizer"}


# What gives objects attributes whose names are nowhere written.
_BY_NAME = frozenset({"setattr", "store_attr", "__dict__", "__getattr__", "locals", "vars"})


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for event in root.of(NoSuchMethod):
            if event.name_site is None or (event.kind == "module" and facts.words & _BY_NAME):
                continue
            fix = Fix(f"Write `{event.nearest}`", Safety.UNSAFE, (Replace(event.name_site, event.nearest),))
            yield Finding(
                event.site,
                f"`{event.spelling}`: {_ARTICLES[event.kind]} has no method `{event.method}`, but one called "
                f"`{event.nearest}`",
                "The call raises an AttributeError when the program gets here.",
                fix=fix,
            )


_MISSING = re.compile(r"'(?:\w+\.)*(\w+)' object has no attribute '(\w+)'")


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "names that torch's objects do not have", "names"
    kinds = {"Tensor": "tensor", "Parameter": "tensor"}
    for event in trace.events:
        match event:
            case events.OptimizerBuilt():
                kinds[event.kind] = "optimizer"
            case events.Forward() | events.ModeSet():
                kinds[event.kind] = "module"
                yield Measurement(what, 0, 0, unit, False, event.place, "the method exists")
            case events.Backward() | events.ZeroGrad():
                yield Measurement(what, 0, 0, unit, False, event.place, "the method exists")
            case events.Raised(kind="AttributeError") if found := _MISSING.search(event.message):
                meant = methods.nearest(kinds.get(found[1], "module"), found[2])
                if meant:
                    yield Measurement(what, 1, 0, unit, True, event.place, f"{found[0]}; it has {meant}")
