"""Layers are kept in a plain list, tuple or dict, so the module does not know of them.

## What it finds
An attribute of a module that is a plain list, tuple or dict of layers made in the constructor: written out, in
a comprehension, appended in a loop, returned by a helper, filled in by a subclass. The layers have parameters
or depend on the mode, are registered nowhere else, and some method uses the attribute. The finding stands where
the attribute is set.

## Why it hurts
A module registers what is assigned to it as an attribute, and it does not look into plain containers. The
layers run in `forward` and get gradients, but `parameters()` does not list them, so no optimizer moves them;
`state_dict()` does not save them; `.to(device)`, `train()` and `eval()` do not reach them. The rest of the model
trains around layers that keep their first random values, and the loss still falls.

## Example
Wrong:

```python
import torch
from torch import nn

class MLPNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(16, 16) for _ in range(3)]

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x
```

Right:

```python
import torch
from torch import nn

class MLPNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x
```

## Fix and its safety
Wraps what is assigned in `nn.ModuleList(...)`, which is indexed, iterated and appended to as a list is. Unsafe:
the layers are trained from then on, and a checkpoint that was saved without them lacks their keys. A dict gets
no fix: `nn.ModuleDict` takes only strings as keys.

## Known limits
Quiet when a layer is also registered (as an attribute, by `add_module`, in an `nn.Sequential` or `ModuleList`),
when the constructor freezes it or builds an optimizer over it, when a list holds exactly one module (the known
way to keep one out of `parameters()` on purpose), and when the class or a base overrides `parameters()`, `to()`,
`train()` and the like or calls them on the attribute. A list that a caller passes in is seen where the caller is in
the same file and calls the module. Not seen: layers from a class of another file.

## Proof
In a real run, the layers that a forward pass calls are compared with `model.modules()`. The pitfall shows
parameters that got a gradient and are in no optimizer, or layers that still run in training mode when the model
is in evaluation mode; healthy is none.

## References
- torch.nn.ModuleList: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
- torch.nn.ModuleDict: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleDict.html
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchlint.facts import (
    AttributeSet,
    ClassInfo,
    Collection,
    Forward,
    Mapping,
    Module,
    Optimizer,
    OptimizerBuilt,
    Root,
    Site,
    Unknown,
    Value,
)
from torchlint.registration import kept, own_books, registered, set_apart, users
from torchlint.rule import Around, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"__init__"}, {"nn", "Module"}]
fixable = "sometimes"

_BY_HAND = frozenset({"parameters", "named_parameters", "state_dict", "load_state_dict", "eval", "train"})


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.constructions:
        if not root.complete or own_books(cls):
            continue
        for event in root.of(AttributeSet):
            if event.owner is not root.receiver:
                continue
            kind = _kind(event.value)
            related: tuple[tuple[str, Site], ...] = ()
            if not _lost(facts, cls, root, event):
                given = _given(facts, cls, root, event)
                if given is None:
                    continue
                kind, related = _kind(given.value), (("it is given here", given.site),)
            yield Finding(
                event.site,
                f"the layers in the plain {kind} `{event.spelling or event.attribute}` are not part of `{cls.name}`",
                "`parameters()` and `state_dict()` do not list them, so no optimizer trains them, and `eval()` and "
                "`.to()` do not reach them.",
                related=related,
                fix=_fix(facts, event, kind),
            )


def _kind(value: Value) -> str:
    found = next((o for o in value.options() if isinstance(o, (Collection, Mapping))), None)
    return found.kind if isinstance(found, Collection) else "dict"


@dataclass(slots=True)
class _Given:
    """A list that a caller made and handed to the constructor."""

    value: Value
    site: Site


def _given(facts: Facts, cls: ClassInfo, root: Root, event: AttributeSet) -> _Given | None:
    """The list of layers that some caller in sight certainly hands to the constructor, which keeps it as it is."""
    init, value = cls.methods["__init__"], event.value
    if not isinstance(value, Unknown) or value.origin != "parameter" or value.name not in init.parameters:
        return None
    if event.registers or not any(users(cls, event.attribute)) or _used_by_hand(cls, event.attribute):
        return None
    position = init.parameters.index(value.name) - 1
    for caller in facts.roots:
        for call in caller.of(Forward):
            for made in call.module.options():
                if not isinstance(made, Module) or made.cls is not cls or made.site is None:
                    continue
                given = made.keywords.get(value.name)
                if given is None and 0 <= position < len(made.arguments):
                    given = made.arguments[position]
                if given is not None and _layers_of_its_own(facts, caller, given, made):
                    return _Given(given, made.site)
    return None


def _layers_of_its_own(facts: Facts, caller: Root, given: Value, made: Module) -> bool:
    """True when a list holds several layers that matter and that nothing else knows of."""
    layers = list(kept(given))
    if len(layers) < 2 or not caller.complete or _optimizes_more(caller):
        return False
    return any(
        _matters(facts, part) and not registered(caller, part, given, made) and not set_apart(caller, part)
        for part in layers
    )


def _optimizes_more(caller: Root) -> bool:
    """True when an optimizer may have been given parameters that cannot be seen."""
    for built in caller.of(OptimizerBuilt):
        for one in built.optimizer.options():
            parameters = one.parameters if isinstance(one, Optimizer) else None
            if parameters is None or parameters.open:
                return True
    return False


def _used_by_hand(cls: ClassInfo, attribute: str) -> bool:
    return any(words & _BY_HAND for words in users(cls, attribute))


def _lost(facts: Facts, cls: ClassInfo, root: Root, event: AttributeSet) -> bool:
    """True when the attribute is a container in use, with a layer in it that matters and that nothing registers."""
    if not event.attribute or event.registers or not any(users(cls, event.attribute)):
        return False
    if _used_by_hand(cls, event.attribute):
        return False
    for one in event.value.options():
        if isinstance(one, Collection) and not one.open and len(one.items) == 1:
            return False  # `self.teacher = [teacher]`: to keep it out
    assert root.receiver is not None
    return any(
        _matters(facts, part) and not registered(root, part, event.value, root.receiver) and not set_apart(root, part)
        for part in kept(event.value)
    )


def _matters(facts: Facts, part: Module) -> bool:
    if part.api.startswith("torchvision."):
        return False  # a ready-made network to compare features with, more often than not
    known = facts.depends_on_mode(part)
    return facts.has_parameters(part) or known is True or (known is None and "Dropout" in part.api)


def _fix(facts: Facts, event: AttributeSet, kind: str) -> Fix | None:
    name = facts.spell("torch.nn.ModuleList")
    others = any(not isinstance(o, (Collection, Unknown)) for o in event.value.options())
    if name is None or event.assigned is None or kind not in ("list", "tuple") or others:
        return None
    empty = facts.text(event.assigned) in ("[]", "list()", "()")
    change = Replace(event.assigned, f"{name}()") if empty else Around(event.assigned, f"{name}(", ")")
    return Fix(f"Keep them in an `{name}`", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers that ran and are no part of the module", "layers"
    strays = [one for one in trace.of(events.Stray) if one.why == "layer"]
    for one in strays:
        message = f"{one.name} is in an optimizer, and in the mode of {one.kind}"
        if one.untrained:
            message = f"{one.name} got a gradient of norm {one.gradient:.3g} and is in no optimizer"
        elif one.deaf:
            message = f"{one.name} runs in training mode while {one.kind} is in evaluation mode"
        yield Measurement(what, int(one.harmed), 0, unit, one.harmed, one.place, message, one.also)
    if not strays:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, f"all {ran.layers} that ran are part of {ran.kind}")
