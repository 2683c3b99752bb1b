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
        calls = list(root.of(SuperInit))
        early = _first_early(root) if calls and root.complete else None
        if early is None:
            continue
        init = cls.methods["__init__"]
        name = f"self.{early.attribute}" if early.attribute else "a module"
        call = calls[0]
        fix = None
        if len(calls) == 1 and call.frame.function is init and facts.text(call.site).endswith("__init__()"):
            text = facts.text(call.site)
            fix = Fix(f"Call `{text}` first", Safety.SAFE, (InsertFirst(init.site, (text,)), Remove(call.site)))
        yield Finding(
            early.site,
            f"`{name}` is assigned before `super().__init__()`",
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
        if met.get(event) == {"raw"} and isinstance(event.owner, Module) and (event.registers or _registered(event)):
            return event
    return None


def _registered(event: AttributeSet) -> bool:
    return all(isinstance(o, Module) or (isinstance(o, Tensor) and o.parameter) for o in event.value.options())


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers that torch refused to register", "errors"
    refused = [one for one in trace.of(events.AttributeRefused) if one.initialises_later]
    for one in refused:
        message = f"{one.kind} holds {one.registered} parameters, torch had not set it up yet: {one.message}"
        yield Measurement(what, 1, 0, unit, True, one.place, message)
    if not refused:
        for built in trace.of(events.SuperInit):
            message = f"torch set {built.kind} up before anything was assigned"
            yield Measurement(what, 0, 0, unit, False, built.place, message)
