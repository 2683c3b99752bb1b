"""A model is moved or converted after DistributedDataParallel has wrapped it, and is no longer synchronised.

## What it finds
`.to(device)`, `.cuda()`, `.cpu()`, `.half()`, `.double()`, `.to(dtype)` and the like on a model in
`DistributedDataParallel`, or on the model inside of it, that put the parameters on another device or into another
dtype, when the model goes on to train. The finding stands at the move; a second location shows the wrapping.

## Why it hurts
DDP registers its hooks at the autograd node of each parameter when it is built. A parameter with another device or
dtype gets another node, where nobody listens: gradients are computed, and none is ever averaged. Each process trains a
model of its own on its own part of the data, without an error and with a loss that falls. To move everything back does
not bring the hooks back.

## Example
Wrong:

```python
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

model = nn.Linear(784, 10)
model = DistributedDataParallel(model)
model.to("cuda")
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
model.to("cuda")
model = DistributedDataParallel(model)
for x, y in loader:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
```

## Fix and its safety
Puts the move in front of the wrapping, where one statement follows the other, or both are parts of one expression
(`DDP(model).to(device)` becomes `DDP(model.to(device))`). Safe: the model is where it was, only earlier. No fix where
the move uses a name that is set in between, or the wrapped model is used there.

## Known limits
Quiet where it is not known on which device the model was, where both devices are chosen at run time or of one kind
(`cuda:0` to `cuda:1`), where nothing is trained afterwards (a `.cpu()` before the last save), and where the model is
wrapped on some paths only.

## Proof
In a real run, each backward through a wrapped model counts the parameters whose autograd node is none of those at which
DDP registered its hooks. The pitfall shows all parameters after a conversion; healthy is 0.

## References
- torch.nn.parallel.DistributedDataParallel: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
- Distributed Data Parallel, internal design: https://docs.pytorch.org/docs/stable/notes/ddp.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import wrapped_before, wraps_of
from torchlint.facts import (
    AttributeSet,
    Backward,
    Event,
    ModelWrapped,
    Module,
    ModuleCast,
    Moved,
    OptimizerBuilt,
    Root,
    Value,
    walk,
)
from torchlint.rule import Change, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"DistributedDataParallel", "DDP", "distributed"}, {"to", "cuda", "cpu", "half", "double", "bfloat16"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for module, wraps in wraps_of(root, "ddp").items():
            if not isinstance(module, Module):
                continue
            found = wrapped_before(root, module, "ddp")
            told: set[object] = set()
            for event in root.of(Moved, ModuleCast):
                target = event.target if isinstance(event, Moved) else event.module
                if target.options() != (module,) or found.get(event) != {"wrapped"} or event.site.node in told:
                    continue
                if _changes(root, event, module) and _trains_after(event, module):
                    told.add(event.site.node)
                    text = facts.text(event.site)
                    yield Finding(
                        event.site,
                        f"`{text if len(text) < 60 else text[:57] + '...'}` comes after DistributedDataParallel",
                        "DDP no longer hears of the gradients: each process trains a model of its own from here on.",
                        related=(("the model is wrapped here", wraps[0].site),),
                        fix=_fix(facts, root, wraps, event),
                    )


def _changes(root: Root, event: Moved | ModuleCast, module: Module) -> bool:
    """True when the parameters certainly get another kind of device, or another dtype."""
    if isinstance(event, Moved):
        before, after = event.before, event.device
        if before is None or after is None or "tensor" in (before.kind, after.kind):
            return False
        return (before.kind == "cpu") is not (after.kind == "cpu")  # of two accelerators, both may be one
    casts = [e for e in root.of(ModuleCast) if e.module.options() == (module,)]
    return casts[0] is event and event.dtype in ("torch.float16", "torch.bfloat16", "torch.float64")


def _trains_after(event: Event, module: Value) -> bool:
    def step(state: str, one: Event) -> str | None:
        return None if isinstance(one, ModelWrapped) and one.module is module else state

    met = walk(event.next, "deaf", step)
    return any(isinstance(one, Backward) and one.roots is not None and module in one.roots for one in met)


def _fix(facts: Facts, root: Root, wraps: list[ModelWrapped], event: Moved | ModuleCast) -> Fix | None:
    if len(wraps) != 1 or wraps[0].argument is None or wraps[0].frame is not event.frame:
        return None
    wrap, argument = wraps[0], wraps[0].argument
    moved, wrapped, inside = facts.text(event.site), facts.text(wrap.site), facts.text(argument)
    changes: tuple[Change, ...] = ()
    if wrap.site.statement is event.site.statement:  # DDP(model).to(device)
        suffix = moved.removeprefix(wrapped)
        call, _, rest = wrapped.partition(inside)
        if suffix == moved or "#" in moved or not inside.isidentifier() or not call.endswith("("):
            return None
        changes = (Replace(event.site, f"{call}{inside}{suffix}{rest}"),)
    elif wrap.site.same_suite(event.site) and wrap.kept and _nothing_between(wrap, event):
        suffix = moved.removeprefix(f"{wrap.kept}.")
        inside_one = wrap.frame.function is not None
        names = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*(?!\w*\s*=)", f".{suffix}"))
        if suffix == moved or "#" in moved + wrapped or event.kept not in ("", wrap.kept):
            return None
        if not re.fullmatch(r"[\w.]+", inside) or not all(
            name in wrap.bound or (inside_one and facts.binds(None, name)) for name in names - {"True", "False"}
        ):
            return None
        later = wrapped if event.kept else f"{wrap.kept} = {wrapped}"
        changes = (Replace(wrap.site, f"{inside}.{suffix}"), Replace(event.site, later))
    return Fix("Move the model before it is wrapped", Safety.SAFE, changes) if changes else None


def _nothing_between(wrap: ModelWrapped, move: Event) -> bool:
    """True when the wrapped model is at most given to an optimizer, or kept as an attribute, before it is moved."""
    now: Event = wrap
    while len(now.next) == 1 and now.next[0] is not move:
        now = now.next[0]
        if not isinstance(now, (OptimizerBuilt, AttributeSet)) and now.site.node is not move.site.node:
            return False
    return now.next == [move]


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters that DDP does not hear of", "parameters"
    converted: dict[int, events.ModelConverted] = {}
    told: dict[int, Measurement] = {}
    for event in trace.events:
        match event:
            case events.ModelConverted(wrapper=wrapper):
                converted[wrapper] = event
            case events.Synchronised(wrapper=wrapper, deaf=deaf, parameters=parameters) if event.through:
                move = converted.get(wrapper)
                harmed = deaf > 0 and move is not None
                if wrapper in told and not (harmed and not told[wrapper].harmed):
                    continue
                message = f"DDP listens at the nodes of all {parameters} parameters"
                if harmed and move is not None:
                    message = (
                        f"the move from {move.before} to {move.after} gave {deaf} of {parameters} parameters a node at "
                        "which DDP does not listen: their gradients stay on this process"
                    )
                place = move.place if move is not None else event.place
                told[wrapper] = Measurement(what, deaf if harmed else 0, 0, unit, harmed, place, message)
            case _:
                pass
    yield from told.values()
