"""A module is called that has no `forward`, or one whose name is misspelled.

## What it finds
A call of an object of a class of the file that derives from `torch.nn.Module`, where neither the class nor a base
defines `forward`; a method that is almost called so (`def foward(self, x)`) in a class without a `forward`; and a
call of an `nn.ModuleList` or `nn.ModuleDict`, which hold layers and compute nothing. The finding stands at the
misspelled name, else at the call.

## Why it hurts
Calling a module runs its `forward`, and the one it inherits only raises `NotImplementedError: Module [Net] is
missing the required "forward" function`.

## Example
Wrong:

```python
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def foward(self, x):
        return self.fc(x)

print(Net()(torch.randn(1, 4)))
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

print(Net()(torch.randn(1, 4)))
```

## Fix and its safety
A misspelled method gets the right name. Safe where the class is called in the file, which could not work before;
else unsafe. There is no fix for a `forward` that is not there.

## Known limits
Quiet when a base comes from another file, when the class has `__call__`, `__getattr__`, a metaclass or a
decorator, when `forward` is assigned to the class or the object, and when the misspelled method is called by its
name.

## Proof
In a real run, the `NotImplementedError` that torch raises is counted; healthy is none.

## References
- torch.nn.Module.forward: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.forward
- torch.nn.ModuleList: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, ClassInfo, Derives, Evidence, Forward, FunctionInfo, Module, Root
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"nn", "Module", "torch"}, {"class", "ModuleList", "ModuleDict"}]
fixable = "sometimes"

_HOLDERS = frozenset({"torch.nn.ModuleList", "torch.nn.ModuleDict"})
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def check(facts: Facts) -> Iterator[Finding]:
    roots = [*facts.roots, *(root for _, root in facts.constructions), *(root for _, root in facts.forwards)]
    if any(e.attribute == "forward" for root in roots for e in root.of(AttributeSet)):
        return
    called: set[ClassInfo] = set()
    calls: list[tuple[Forward, Module]] = []
    for root in roots:
        for event, module in _certain_calls(root):
            calls.append((event, module))
            if module.cls is not None:
                called.add(module.cls)
    consequence = "torch raises NotImplementedError when it is called."
    for cls in facts.classes:
        method = _misspelled(facts, cls)
        if method is not None:
            safety = Safety.SAFE if cls in called else Safety.UNSAFE
            yield Finding(
                method.head,
                f"`{cls.name}` has no `forward`: this method is called `{method.name}`",
                consequence,
                fix=Fix("Call it `forward`", safety, (Replace(method.head, "forward"),)),
            )
    for event, module in calls:
        name = f"`{event.spelling}`" if event.spelling else "the module"
        if module.api in _HOLDERS:
            kind = module.api.rsplit(".", 1)[-1]
            yield Finding(
                event.site, f"{name} is an `nn.{kind}`, which only holds layers and cannot be called", consequence
            )
        elif module.cls is not None and _lacks(facts, module.cls) and _misspelled(facts, module.cls) is None:
            yield Finding(
                event.site,
                f"{name} is called, and `{module.cls.name}` has no `forward`",
                consequence,
                related=(("the class is here", module.cls.head),),
            )


def _certain_calls(root: Root) -> Iterator[tuple[Forward, Module]]:
    """The calls of a module that was certainly made in sight."""
    for event in root.of(Forward):
        options = event.module.options()
        one = options[0] if len(options) == 1 else None
        if (
            isinstance(one, Module)
            and one.evidence is Evidence.MADE
            and one.site is not None
            and event.certain
            and not event.direct
        ):
            yield event, one


def _lacks(facts: Facts, cls: ClassInfo) -> bool:
    """True when a class certainly has no `forward` and no other way to be called."""
    if cls.module is not Derives.YES or not cls.closed or cls.has_metaclass or cls.decorated:
        return False
    if any(cls.method(name) is not None for name in ("forward", "__call__", "__getattr__", "__getattribute__")):
        return False
    return not facts.setters(cls, "forward") and "_call_impl" not in cls.words


def _misspelled(facts: Facts, cls: ClassInfo) -> FunctionInfo | None:
    if not _lacks(facts, cls):
        return None
    if any(other is not cls and cls in other.lineage() and other.method("forward") for other in facts.classes):
        return None
    for name, method in cls.methods.items():
        if name in _NEARLY and not any(name in one.words for one in facts.functions if one is not method):
            return method
    return None


def _near(word: str) -> frozenset[str]:
    """The words that one slip of the fingers makes of `word`; a letter more at its end makes another word."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    found = {a + b[1:] for a, b in cuts if b}
    found |= {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    found |= {a + c + b[1:] for a, b in cuts if b for c in _LETTERS}
    found |= {a + c + b for a, b in cuts if a and b for c in _LETTERS}
    return frozenset(found - {word}) | {word.capitalize(), f"__{word}__"}


_NEARLY = _near("forward")


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "modules that torch could not run", "errors"
    errors = [one for one in trace.of(events.Raised) if 'missing the required "forward"' in one.message]
    for one in errors:
        yield Measurement(what, 1, 0, unit, True, one.place, f"{one.kind}: {one.message.splitlines()[0]}")
    if not errors:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, f"{ran.kind} has a forward")
