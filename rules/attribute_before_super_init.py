"""A layer, parameter or buffer is assigned to a module before `super().__init__()` has run.

## What it finds
In the `__init__` of a class that derives from `torch.nn.Module`, a module, parameter or buffer that is set on
`self`, in the constructor or in a method that it calls, while the base is initialised only further down. The
finding stands at the first such assignment; a second location shows the call.

## Why it hurts
The registries that the assignment needs do not exist yet: torch raises `AttributeError: cannot assign module
before Module.__init__() call`, and the model cannot be built.

## Example
Wrong:

```python
from torch import nn

class Net(nn.Module):
    def __init__(self):
        self.fc1 = nn.Linear(784, 10)
        super().__init__()
```

Right:

```python
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 10)
```

## Fix and its safety
Moves the call to the top of the body, after a docstring. Safe: the class could not be built before. The fix
is not offered when there are several such calls, or when the call takes arguments, which may be computed
before it.

## Known limits
Numbers, strings, None, plain tensors and plain lists may be assigned before the call, and so may local
variables; none of them is reported. Quiet when a base is out of sight, or when `self` is handed to code out
of sight first.

## Proof
In a real run, layers that torch refuses to register because the module is set up only later are counted: 0 is
healthy.

## References
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, Event, Module, Root, SuperInit, Tensor, UnknownCall, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"__init__"}, {"nn", "Module"}, {"super", "Module.__init__"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.constructions:
        if cls.method("__setattr__") is not None:
            continue  # it takes assignments into its own hands
        calls = list(root.of(SuperInit))
        early = _first_early(root) if calls and root.complete else None
        if early is None:
            continue
        init = cls.methods["__init__"]
        name = f"`self.{early.attribute}`" if early.attribute else "a module"
        call = calls[0]
        fix = None
        if len(calls) == 1 and call.frame.function is init and facts.text(call.site).endswith("__init__()"):
            text = facts.text(call.site)
            fix = Fix(f"Call `{text}` first", Safety.SAFE, (InsertFirst(init.site, (text,)), Remove(call.site)))
        yield Finding(
            early.site,
            f"{name} is assigned before `super().__init__()`",
            "torch.nn.Module has no place to register it yet: this line raises AttributeError.",
            related=(("the base is initialised only here", call.site),),
            fix=fix,
        )


def _first_early(root: Root) -> AttributeSet | None:
    """The first module, parameter or buffer that is assigned on every path before the base is initialised."""

    def after(state: str, event: Event) -> str:
        return "ready" if isinstance(event, (SuperInit, UnknownCall)) else state

    met = walk([root.entry], "raw", after)
    for event in root.of(AttributeSet):
        if met.get(event) == {"raw"} and event.owner is root.receiver and (event.registers or _registered(event)):
            return event
    return None


def _registered(event: AttributeSet) -> bool:
    return all(isinstance(o, Module) or (isinstance(o, Tensor) and o.parameter) for o in event.value.options())


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers torch refused", "errors"
    refused = [one for one in trace.of(events.AttributeRefused) if one.initialises_later]
    for one in refused:
        message = f"{one.kind} holds {one.registered} parameters, torch had not set it up yet: {one.message}"
        yield Measurement(what, 1, 0, unit, True, one.place, message)
    if not refused:
        for built in trace.of(events.SuperInit):
            message = f"torch set {built.kind} up before anything was assigned"
            yield Measurement(what, 0, 0, unit, False, built.place, message)
