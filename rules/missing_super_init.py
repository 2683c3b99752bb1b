"""A module's `__init__` never calls `super().__init__()`.

## What it finds
A class that derives from `torch.nn.Module`, directly, through torch's own layers or through classes of the
same file, with an `__init__` of its own that sets attributes and neither calls `super().__init__()`, nor the
base by its name, nor a method that does. `super().__init__` without its parentheses is no call. The finding
stands at the `def __init__`.

## Why it hurts
`Module.__init__` makes the registries for parameters, buffers, submodules and hooks. Without it the first
layer that is assigned raises `AttributeError: cannot assign module before Module.__init__() call`. A module
that assigns only numbers is built without complaint and fails at its first call, with a message about
`_backward_hooks` that does not name the cause.

## Example
Wrong:

```python
from torch import nn

class MLPNet(nn.Module):
    def __init__(self):
        self.fc1 = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc1(x)
```

Right:

```python
from torch import nn

class MLPNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc1(x)
```

## Fix and its safety
Writes `super().__init__()` as the first statement of the body, after a docstring. Safe where the base takes
no arguments: the class cannot have worked before. Where the base is a class that wants arguments there is
no fix, since they must be filled in by hand; with several bases the fix is unsafe, because all of their
constructors may run then.

## Known limits
Quiet when a base comes from a file or package that is not read, when the class or a base has a metaclass, a decorator
(a dataclass makes its own constructor), a `__new__` or a `__post_init__`, when the constructor is abstract, when
`self` or its `__dict__` is handed to code out of sight, and when the constructor sets nothing.

## Proof
In a real run, layers that torch refuses to register because the module was never set up are counted: 0 is
healthy.

## References
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
- Build the Neural Network: https://docs.pytorch.org/tutorials/beginner/basics/buildmodel_tutorial.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import (
    AttributeSet,
    ClassInfo,
    Event,
    FunctionInfo,
    Module,
    Root,
    SuperInit,
    Tensor,
    UnknownCall,
    Value,
    certainly,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"__init__"}, {"nn", "Module"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.constructions:
        init = cls.methods["__init__"]
        if not root.complete or _initialised_elsewhere(cls, root) or not _hurts(cls, root):
            continue
        if any(cls in other.bases and len(other.bases) > 1 for other in facts.classes):
            continue  # mixed into classes whose other bases are initialised
        if "abstractmethod" in facts.text(init.site).partition("def ")[0]:
            continue  # nothing is made by it alone
        yield Finding(
            init.head,
            f"`{cls.name}.__init__` never calls `super().__init__()`",
            "torch.nn.Module is left without its registries: its first layer, or first call, raises AttributeError.",
            fix=_fix(cls, init),
        )


def _fix(cls: ClassInfo, init: FunctionInfo) -> Fix | None:
    """The call, where no base wants arguments that we would have to invent."""
    for base in cls.lineage()[1:]:
        inherited = base.methods.get("__init__") if isinstance(base, ClassInfo) else None
        if isinstance(base, ClassInfo):
            if inherited is not None and len(inherited.required) > 1:
                return None
        elif base not in ("torch.nn.Module", "object"):
            return None
    safety = Safety.SAFE if len(cls.bases) == 1 else Safety.UNSAFE
    return Fix("Call `super().__init__()` first", safety, (InsertFirst(init.site, ("super().__init__()",)),))


def _initialised_elsewhere(cls: ClassInfo, root: Root) -> bool:
    """True when the base is initialised, or could be by something out of sight."""
    if (
        any(isinstance(base, ClassInfo) and base.has_metaclass for base in cls.lineage())
        or cls.decorated
        or cls.methods["__init__"].words & {"__dict__", "__class__", "__setstate__", "__new__"}
    ):
        return True
    if "__new__" in cls.methods or "__post_init__" in cls.methods:
        return True
    itself = root.frame.function.parameters[:1] if root.frame.function else ()
    if not itself:
        return True
    if any(root.of(SuperInit)):
        return True
    receivers = [event.owner for event in root.of(AttributeSet)]
    met = walk([root.entry], "raw", lambda state, e: "handed on" if _handed_on(e, receivers) else state)
    if any(_registers(e) and met.get(e) == {"raw"} for e in root.of(AttributeSet)):
        return False  # it breaks here already, whatever comes after
    return any(_handed_on(e, receivers) for e in root.of(UnknownCall))


def _handed_on(event: Event, receivers: list[Value]) -> bool:
    return isinstance(event, UnknownCall) and event.touches(*receivers)


def _hurts(cls: ClassInfo, root: Root) -> bool:
    """True when the constructor registers something, or sets anything at all on what is a module and nothing else."""
    if any(_registers(e) for e in root.of(AttributeSet)):
        return True
    alone = (cls.closed and len(cls.bases) == 1) or cls.method("forward") is not None
    return alone and any(True for _ in root.of(AttributeSet))


def _registers(event: AttributeSet) -> bool:
    return isinstance(event.owner, Module) and (certainly(event.value, Module) or _parameter(event))


def _parameter(event: AttributeSet) -> bool:
    return all(isinstance(o, Tensor) and o.parameter for o in event.value.options())


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers torch refused", "errors"
    refused = [one for one in trace.of(events.AttributeRefused) if not one.initialises_later]
    for one in refused:
        message = f"{one.kind} holds {one.registered} parameters, torch never set it up: {one.message}"
        yield Measurement(what, 1, 0, unit, True, one.place, message, one.inits)
    if not refused:
        for built in trace.of(events.SuperInit):
            message = f"torch set {built.kind} up before anything was assigned"
            yield Measurement(what, 0, 0, unit, False, built.place, message)
