"""A function, or a class that was not called, stands among the layers of a container.

## What it finds
`nn.Sequential(nn.Linear(8, 8), F.relu)`, `nn.Sequential(nn.Linear(8, 8), nn.ReLU)` and the same in a list that is
given to `nn.Sequential` or `nn.ModuleList`: functions of torch, functions and lambdas of the file, and classes of
layers without their parentheses. The finding stands at the entry where it is written in the call, else at the
list.

## Why it hurts
Containers take modules only: torch raises `TypeError: relu is not a Module subclass` when the model is built.

## Example
Wrong:

```python
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(784, 128), F.relu, nn.Linear(128, 10))
```

Right:

```python
from torch import nn

net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
```

## Fix and its safety
A function of torch that has a layer of its own without arguments (`F.relu`, `torch.tanh`) becomes that layer; a
class of such a layer gets its parentheses. Safe: the program could not run before. Other entries have no fix.

## Known limits
Not seen: what an `OrderedDict` holds, entries that are added later, functions from other files.

## Proof
In a real run, the `TypeError` that torch raises is counted; healthy is none.

## References
- torch.nn.Sequential: https://docs.pytorch.org/docs/stable/generated/torch.nn.Sequential.html
- torch.nn.ReLU: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReLU.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Api, Function, Misfit, Module
from torchlint.rule import Around, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"Sequential", "ModuleList"}, {"nn", "torch"}]
fixable = "sometimes"

_LAYERS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "flatten": "Flatten",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "selu": "SELU",
    "celu": "CELU",
    "leaky_relu": "LeakyReLU",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "mish": "Mish",
    "hardtanh": "Hardtanh",
    "hardswish": "Hardswish",
    "logsigmoid": "LogSigmoid",
    "dropout": "Dropout",
}


def check(facts: Facts) -> Iterator[Finding]:
    for root in [*facts.roots, *(root for _, root in facts.constructions)]:
        for event in root.of(Misfit):
            container = event.container.api.rsplit(".", 1)[-1] if isinstance(event.container, Module) else "container"
            kind = "function" if _is_function(event) else "class"
            name = facts.text(event.site) if event.written else event.value.name.rsplit(".", 1)[-1]
            yield Finding(
                event.site,
                f"`{name}` is a {kind}, not a layer: `nn.{container}` takes modules only",
                "torch raises TypeError when the model is built.",
                fix=_fix(facts, event),
            )


def _is_function(event: Misfit) -> bool:
    value = event.value.options()[0]
    return isinstance(value, Function) or (isinstance(value, Api) and value.path.rsplit(".", 1)[-1].islower())


def _fix(facts: Facts, event: Misfit) -> Fix | None:
    value = event.value.options()[0]
    if not event.written or not isinstance(value, Api):
        return None
    last = value.path.rsplit(".", 1)[-1]
    if last in _LAYERS.values():
        return Fix(f"Make a `{facts.text(event.site)}`", Safety.SAFE, (Around(event.site, "", "()"),))
    layer = facts.spell(f"torch.nn.{_LAYERS[last]}") if last in _LAYERS else None
    if layer is None:
        return None
    return Fix(f"Use the layer `{layer}()`", Safety.SAFE, (Replace(event.site, f"{layer}()"),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "entries that torch refused", "errors"
    refused = [one for one in trace.of(events.Raised) if "is not a Module subclass" in one.message]
    for one in refused:
        yield Measurement(what, 1, 0, unit, True, one.place, f"{one.kind}: {one.message.splitlines()[0]}")
    if not refused:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, "every entry was a module")
