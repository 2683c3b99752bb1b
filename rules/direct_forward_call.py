"""`model.forward(x)` is called instead of `model(x)`.

## What it finds
A call of `forward` by its name on a module of a class of the file or of torch.nn, from outside that class, and on
what is a module by its use (`model.eval()`, `model.parameters()`) in files that know no other framework. The
finding stands at the call.

## Why it hurts
Calling the model runs its hooks around `forward`; calling `forward` runs none. Hooks collect features, log
activations and gradients, apply `spectral_norm` and `weight_norm`, gather parameters under FSDP: all of that is
silently left out, and so is what `torch.compile` and `DistributedDataParallel` do in the call.

## Example
Wrong:

```python
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)

net = Net()
print(net.forward(torch.randn(1, 4)))
```

Right:

```python
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)

net = Net()
print(net(torch.randn(1, 4)))
```

## Fix and its safety
Takes `.forward` away. Safe: without hooks both compute the same, and hooks were registered to run. There is no fix
where a comment stands inside the name of the module.

## Known limits
Quiet when a base of the class is out of sight, and in files of gpytorch, botorch, pyro and skorch, which give
`forward` and the call different meanings (a Gaussian process's prior and posterior). Quiet about
`super().forward(x)` and `self.forward(x)`, about classes with a `__call__` of their own, in functions called
`test...`, and in files that use TorchScript.

## Proof
In a real run, the hooks are counted that a module has and that did not run because its `forward` was called by
name; healthy is none. A module without hooks loses nothing today: the run says *harmless here*.

## References
- torch.nn.Module.forward: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.forward
- torch.nn.Module.register_forward_hook: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_forward_hook
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import ClassInfo, Derives, Duty, Evidence, Forward, Module, Root
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{".forward("}, {"nn", "torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if facts.relieved(Duty.OWN_FORWARD):
        return
    for root in [*facts.roots, *(root for _, root in facts.constructions), *(root for _, root in facts.forwards)]:
        for event in root.of(Forward):
            if (
                not event.direct
                or not event.certain
                or not all(
                    isinstance(one, Module) and _plain(one) and not _within(one, event, root)
                    for one in event.module.options()
                )
            ):
                continue
            name = event.spelling or "the module"
            yield Finding(
                event.site,
                f"`{name}.forward(...)` is called instead of `{name}(...)`",
                "No hook of the module runs, and nothing else that calling it would do.",
                fix=_fix(facts, event),
            )


def _plain(module: Module) -> bool:
    """True for a module that is certainly called the way torch calls modules."""
    if module.cls is None and not module.api:
        return module.evidence is Evidence.USE
    if module.cls is None:
        return module.evidence is Evidence.MADE and module.site is not None and module.api.startswith("torch.nn.")
    if module.evidence < Evidence.ANNOTATION or module.cls.method("__call__") is not None:
        return False
    return module.cls.module is Derives.YES and module.cls.closed and not module.cls.has_metaclass


def _within(module: Module, event: Forward, root: Root) -> bool:
    """True where the class, or one that it is derived from or is a base of, calls its own `forward`; or a test does."""
    if module is root.receiver or module.name == "self":
        return True
    for frame in event.frame.stack():
        if frame.name.startswith("test"):
            return True  # a test of the method
        owner = frame.function.owner if frame.function is not None else None
        if owner is None:
            continue
        if module.cls is None and not module.api and owner.module is not Derives.NO:
            return True  # a wrapper may well stand in for what it wraps
        if module.cls is not None and _kin(owner, module.cls):
            return True
    return False


def _kin(one: ClassInfo, other: ClassInfo) -> bool:
    return one in other.lineage() or other in one.lineage()


def _fix(facts: Facts, event: Forward) -> Fix | None:
    text = facts.text(event.method) if event.method is not None else ""
    if event.method is None or not text.endswith(".forward") or "#" in text:
        return None
    return Fix("Call the module", Safety.SAFE, (Replace(event.method, text.removesuffix(".forward")),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "hooks that did not run", "hooks"
    bypassed = list(trace.of(events.Bypassed))
    for one in bypassed:
        message = f"{one.kind} has no hooks that could have run"
        if one.hooks:
            message = f"{one.kind}.forward was called by name, and {one.hooks} of its hooks did not run"
        yield Measurement(what, one.hooks, 0, unit, one.hooks > 0, one.place, message)
    if not bypassed:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, f"{ran.kind} was called, not its forward")
