"""A model in DistributedDataParallel is trained past its wrapper, so that its gradients are never averaged.

## What it finds
A training step that calls the model inside of a `DistributedDataParallel` and not the wrapper: `ddp.module(x)`, or the
model by the name that it had before it was wrapped. The finding stands at the call; a second location shows the
wrapping.

## Why it hurts
DDP prepares its reduction in its own `forward`. A backward pass whose forward went past it fires no reduction: each
process steps with the gradients of its own part of the data, the copies of the model drift apart from the first step
on, and what is saved in the end is the model of one process that has seen a fraction of the data.

## Example
Wrong:

```python
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

model = nn.Linear(784, 10)
ddp_model = DistributedDataParallel(model)
for x, y in loader:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

model = nn.Linear(784, 10)
ddp_model = DistributedDataParallel(model)
for x, y in loader:
    optimizer.zero_grad()
    criterion(ddp_model(x), y).backward()
    optimizer.step()
```

## Fix and its safety
Calls the wrapper: `ddp.module(x)` becomes `ddp(x)`, and another name of the model that of the wrapper, where both are
names of one function. Unsafe: gradients are then averages over the processes, for which a learning rate may have to be
chosen anew. Elsewhere there is no fix.

## Known limits
Right, and not reported: evaluation past the wrapper, a step that goes through the wrapper as well, methods of the inner
model that run only parts of it, gradients that the program averages itself (`all_reduce`). Quiet where the model is
wrapped on some paths only, and where the wrapper is handed to code of another file within the loop.

## Proof
In a real run, each backward pass counts the forwards of a wrapped model that went past its wrapper, where none went
through it. Healthy is 0.

## References
- torch.nn.parallel.DistributedDataParallel: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
- Distributed Data Parallel, internal design: https://docs.pytorch.org/docs/stable/notes/ddp.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import seen_wrapped, wrapped_before, wraps_of
from torchlint.facts import Backward, Forward, Frame, Grad, ModelWrapped, Module, Root, UnknownCall
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"DistributedDataParallel", "DDP", "distributed"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for module, wraps in wraps_of(root, "ddp").items():
            if not isinstance(module, Module):
                continue
            found = wrapped_before(root, module, "ddp")
            told: set[object] = set()
            for forward in root.of(Forward):
                if forward.module.options() != (module,) or found.get(forward) != {"wrapped"}:
                    continue
                if forward.site.node in told or not _only_way(root, forward, module):
                    continue
                told.add(forward.site.node)
                name = f"`{forward.spelling or module.name or 'the model'}`"
                yield Finding(
                    forward.site,
                    f"{name} is trained past the DistributedDataParallel around it",
                    "Its gradients are not averaged: each process trains a model of its own.",
                    related=(("the model is wrapped here", wraps[0].site),),
                    fix=_fix(wraps, forward),
                )


def _only_way(root: Root, forward: Forward, module: Module) -> bool:
    """True for a forward past the wrapper whose backward nothing else brings to the wrapper's notice."""
    if seen_wrapped(forward.module) or forward.grad in (Grad.OFF, Grad.UNKNOWN) or not forward.loops:
        return False
    passes = [
        b for b in root.of(Backward) if b.roots is not None and module in b.roots and set(b.loops) & set(forward.loops)
    ]
    if not passes or any(_averages(e.frame) for e in (forward, *passes)):
        return False
    loop = next(one for one in reversed(forward.loops) if any(one in b.loops for b in passes))
    for event in root.of(Forward, UnknownCall):
        if not event.inside(loop):
            continue
        if isinstance(event, Forward) and seen_wrapped(event.module) and module in event.module.options():
            return False
        if isinstance(event, UnknownCall) and event.touches(module):
            return False
    return True


def _averages(frame: Frame) -> bool:
    """True in a function that reduces something over the processes itself, or is called by one that does."""
    words = (word.lower() for one in frame.stack() if one.function is not None for word in one.function.words)
    return any("reduce" in word or "average_grad" in word or "sync_grad" in word for word in words)


def _fix(wraps: list[ModelWrapped], forward: Forward) -> Fix | None:
    name = wraps[0].view.name
    if forward.callee is None or len(wraps) != 1:
        return None
    if forward.spelling.endswith(".module"):
        name = forward.spelling.removesuffix(".module")
    elif not name.isidentifier() or wraps[0].frame is not forward.frame or wraps[0].kept != name:
        return None
    return Fix("Call the wrapper", Safety.UNSAFE, (Replace(forward.callee, name),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "training forwards past DDP", "forwards"
    forwards = {one.number: one for one in trace.of(events.Forward)}
    reduced = any(trace.of(events.Reduced))
    told: dict[int, Measurement] = {}
    for heard in trace.of(events.Synchronised):
        past = [forwards[number] for number in heard.around if number in forwards]
        harmed = bool(past) and not heard.through and not heard.local and not reduced
        if heard.wrapper in told and not (harmed and not told[heard.wrapper].harmed):
            continue
        message = f"the backward went through {heard.through} forwards of the wrapper"
        if harmed:
            message = (
                f"the backward went through {len(past)} forwards of the model inside and none of its wrapper: the "
                f"gradients of {heard.parameters} parameters were not averaged"
            )
        place = past[0].place if past else heard.place
        told[heard.wrapper] = Measurement(what, len(past) if harmed else 0, 0, unit, harmed, place, message)
    yield from told.values()
