"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, ClassInfo, Module, Root, SuperInit, Tensor, UnknownCall, certainly
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"__init__"}, {"nn", "Module"}]
fixable = "safe"


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.constructions:
        init = cls.methods["__init__"]
        if not root.complete or _initialised_elsewhere(cls, root) or not _hurts(cls, root):
            continue
        yield Finding(
            init.head,
            f"`{cls.name}.__init__` never calls `super().__init__()`",
            "torch.nn.Module is left without its registries: assigning the first layer, or the first call, raises AttributeError.",
            fix=Fix(
                "Call `super().__init__()` first",
                Safety.SAFE if len(cls.bases) == 1 else Safety.UNSAFE,
                (InsertFirst(init.site, ("super().__init__()",)),),
            ),
        )


def _initialised_elsewhere(cls: ClassInfo, root: Root) -> bool:
    """True when the base is initialised, or could be by something out of sight."""
    if (
        cls.has_metaclass
        or cls.decorated
        or cls.methods["__init__"].words & {"__dict__", "__class__", "__setstate__", "__new__"}
    ):
        return True
    if "__new__" in cls.methods or "__post_init__" in cls.methods:
        return True
    itself = root.frame.function.parameters[:1] if root.frame.function else ()
    if not itself:
        return True
    receivers = [event.owner for event in root.of(AttributeSet)]
    return any(
        isinstance(event, SuperInit) or (isinstance(event, UnknownCall) and event.touches(*receivers))
        for event in root.of(SuperInit, UnknownCall)
    )


def _hurts(cls: ClassInfo, root: Root) -> bool:
    """True when the constructor registers something, or instances can be called."""
    registers = any(
        certainly(e.value, Module) or _parameter(e) for e in root.of(AttributeSet) if isinstance(e.owner, Module)
    )
    return registers or (cls.method("forward") is not None and any(True for _ in root.of(AttributeSet)))


def _parameter(event: AttributeSet) -> bool:
    return all(isinstance(o, Tensor) and o.parameter for o in event.value.options())


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers that torch refused to register", "errors"
    refused = [one for one in trace.of(events.AttributeRefused) if not one.initialises_later]
    for one in refused:
        message = f"{one.kind} holds {one.registered} parameters, torch never set it up: {one.message}"
        yield Measurement(what, 1, 0, unit, True, one.place, message)
    if not refused:
        for built in trace.of(events.SuperInit):
            message = f"torch set {built.kind} up before anything was assigned"
            yield Measurement(what, 0, 0, unit, False, built.place, message)
