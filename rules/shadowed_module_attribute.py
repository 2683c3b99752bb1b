"""An attribute of a module has the name of a method that torch itself relies on.

## What it finds
`self.modules = [...]`, `self.parameters = {...}`, `self.train = ...`, `self.children`, `self.eval`, `self.to` and the
like in the constructor of a module, set to data: numbers, texts, lists, dicts, tensors. Layers too, where a method
of the class uses the attribute. `self.training` set to something that is no truth value. The finding stands at the
assignment.

## Why it hurts
The attribute hides the method. `model.parameters()` then fails with `TypeError: 'list' object is not callable`, and
so do `train()`, `eval()`, `to()` and `state_dict()` where they call the hidden one on their way through the layers.
A layer under such a name is registered, but reading `self.modules` gives torch's method and never the layer.
`training` is overwritten by the next `train()` or `eval()`.

## Example
Wrong:

```python
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.children = ["left", "right"]

net = Net()
net.train()
```

Right:

```python
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.child_names = ["left", "right"]

net = Net()
net.train()
```

## Fix and its safety
There is no fix: the attribute needs another name, everywhere it is used.

## Known limits
Quiet when what is assigned may be a function, when the class has a method of its own by that name, and about names
that training code seldom calls (`type`, `float`, `half`, `double`). A method that a class defines under such a name
(`def train(self, loader)`) is not looked at.

## Proof
In a real run, attributes are counted that stand in place of a method torch calls, or that reading cannot reach;
healthy is none.

## References
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, Collection, Literal, Mapping, Module, Tensor, Unknown, Value
from torchlint.registration import users
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"__init__"}, {"nn", "Module"}]

_RELIED_ON = frozenset(
    """
    parameters named_parameters modules named_modules children named_children buffers named_buffers train eval
    state_dict load_state_dict zero_grad requires_grad_ to cuda cpu apply register_buffer register_parameter add_module
    """.split()
)


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.constructions:
        for event in root.of(AttributeSet):
            name = event.attribute
            if event.owner is not root.receiver or event.registers or cls.method(name) is not None:
                continue
            target = event.spelling or f"self.{name}"
            if name == "training" and _is_data(event.value) and not _truth(event.value):
                yield Finding(
                    event.site,
                    f"`{target}` is torch's own flag for the mode of `{cls.name}`, not a place for data",
                    "`train()` and `eval()` overwrite it, and layers that ask for the mode are misled until then.",
                )
            elif name in _RELIED_ON and _is_data(event.value):
                yield Finding(
                    event.site,
                    f"`{target}` hides the method `{name}()` of `{cls.name}`",
                    f"Calling `{name}()`, as torch and training code do, raises TypeError.",
                )
            elif name in _RELIED_ON and _is_layer(event.value) and any(users(cls, name)):
                yield Finding(
                    event.site,
                    f"`{target}` has the name of the method `{name}()`, so it cannot be read",
                    f"`{target}` gives torch's method, not the layer: used as a layer it fails or does something else.",
                )


def _is_data(value: Value) -> bool:
    """True for what certainly cannot be called: None is a placeholder and does not count."""
    for one in value.options():
        match one:
            case Literal(value=constant) if constant is not None:
                continue
            case Collection() | Mapping() | Tensor() | Unknown(origin="number" | "numpy" | "string"):
                continue
        return False
    return True


def _truth(value: Value) -> bool:
    return all(
        (isinstance(one, Literal) and isinstance(one.value, (bool, int))) or isinstance(one, Unknown)
        for one in value.options()
    )


def _is_layer(value: Value) -> bool:
    return all(isinstance(one, Module) and one.site is not None for one in value.options())


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "attributes in place of torch's methods", "attributes"
    shadowed = list(trace.of(events.Shadowed))
    for one in shadowed:
        message = f"{one.kind}.{one.name} is a {one.value}: calling {one.name}() raises TypeError"
        if one.hidden:
            message = f"{one.kind} holds a {one.value} as {one.name}, and reading it gives torch's method"
        elif one.name == "training":
            message = f"{one.kind}.training is a {one.value}, which the next train() or eval() overwrites"
        yield Measurement(what, 1, 0, unit, True, one.place, message)
    if not shadowed:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, f"every method of {ran.kind} is there")
