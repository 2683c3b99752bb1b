"""Saving moves the model to the CPU: `.cpu()` of a module works in place, and training goes on elsewhere.

## What it finds
`torch.save(model.cpu().state_dict(), ...)`, `model.cpu()` or `model.to("cpu")` before a save, in a loop that goes on to
call the model with inputs on an accelerator, where nothing moves it back. The finding stands at the move.

## Why it hurts
`.cpu()` of a tensor makes a copy; of a module it moves the module itself. After the first save the weights lie on
the CPU, and the next batch, which does not, raises a device error. With inputs that follow the model, training
goes on, on the CPU, a hundred times slower.

## Example
Wrong:

```python
import torch
from torch import nn

device = torch.device("cuda")
model = nn.Linear(4, 1).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    for x in batches:
        optimizer.zero_grad()
        model(x.to(device)).mean().backward()
        optimizer.step()
    torch.save(model.cpu().state_dict(), "model.pt")
```

Right:

```python
import torch
from torch import nn

device = torch.device("cuda")
model = nn.Linear(4, 1).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    for x in batches:
        optimizer.zero_grad()
        model(x.to(device)).mean().backward()
        optimizer.step()
    torch.save({key: value.cpu() for key, value in model.state_dict().items()}, "model.pt")
```

## Fix and its safety
Copies the entries of the state to the CPU instead of moving the model. Safe: what is saved is the same. No fix
where the move is a statement of its own: `model.to(device)` is then missing after the save.

## Known limits
Quiet unless the model was seen to be moved to an accelerator before, and the inputs of its next call as well; where
code of another file is handed the model in between; and where the save is the last thing that happens.

## Proof
In a real run, with an accelerator or the pretence of one, the device of the module's parameters is compared before
and after. The pitfall is a module that a save has left on the CPU when its next batch is elsewhere; healthy is 0.

## References
- torch.nn.Module.cpu: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.cpu
- Saving and Loading Models across devices: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html#saving-loading-model-across-devices
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import shared_loop
from torchlint.facts import (
    Event,
    Forward,
    Module,
    Moved,
    Root,
    Saved,
    StateTaken,
    Tensor,
    Unknown,
    UnknownCall,
    Value,
    may_be_same,
    only,
    same,
    states_in,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"cpu"}, {"save"}, {"torch"}]
fixable = "sometimes"
accelerator = True  # its proof needs one, or the pretence of one


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        moves = [m for m in root.of(Moved) if isinstance(only(m.target), Module)]
        for move in moves:
            if move.device is None or move.device.kind != "cpu" or not move.loops or not root.complete:
                continue
            if not _was_elsewhere(root, moves, move):
                continue
            used = _used_next(root, move)
            if used is None:
                continue
            name = move.spelling or only(move.target).name  # type: ignore[union-attr]
            yield Finding(
                move.site,
                f"`{facts.text(move.site)}` moves `{name}` itself to the CPU, to save it, and training goes on",
                f"The next call of `{name}` meets inputs on another device: it raises.",
                related=((f"`{name}` is called here with inputs that are elsewhere", used.site),),
                fix=_fix(facts, root, move),
            )


def _was_elsewhere(root: Root, moves: list[Moved], move: Moved) -> bool:
    """True when the module had been moved to an accelerator."""
    mine = {m for m in moves if same(m.target, move.target)}

    def step(state: str, event: Event) -> str:
        if isinstance(event, Moved) and event in mine:
            return "elsewhere" if event.device is not None and event.device.accelerator else "unknown"
        return state

    return "elsewhere" in walk([root.entry], "unknown", step).get(move, set())


def _used_next(root: Root, move: Moved) -> Forward | None:
    """The next call of the module in the loop, after a save and with inputs on an accelerator."""

    def step(state: str, event: Event) -> str | None:
        match event:
            case Moved(target=target) if may_be_same(target, move.target):
                return None
            case UnknownCall() if event.touches(move.target):
                return None
            case Forward(module=module) if may_be_same(module, move.target):
                return None
            case Saved(value=value) if _has(value, move.target):
                return "saved"
        return state

    for event, states in walk(move.next, "moved", step).items():
        if not isinstance(event, Forward) or "saved" not in states or not same(event.module, move.target):
            continue
        if shared_loop(event, move) is not None and any(_elsewhere(a) for a in event.arguments):
            return event
    return None


def _has(value: Value, module: Value) -> bool:
    return may_be_same(value, module) or any(may_be_same(state.of, module) for state in states_in(value))


def _elsewhere(value: Value) -> bool:
    """True for what certainly lies on a device that the program has chosen."""
    return all(
        isinstance(o, (Tensor, Unknown)) and o.device is not None and o.device.accelerator for o in value.options()
    )


def _fix(facts: Facts, root: Root, move: Moved) -> Fix | None:
    for taken in root.of(StateTaken):
        inline = facts.text(taken.site) == f"{facts.text(move.site)}.state_dict()"
        if inline and taken.site.statement is move.site.statement and move.spelling:
            copied = f"{{key: value.cpu() for key, value in {move.spelling}.state_dict().items()}}"
            return Fix("Copy the state, and leave the model where it is", Safety.SAFE, (Replace(taken.site, copied),))
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "models that a save leaves on the CPU", "models"
    moves = list(trace.of(events.ModuleMoved))
    errors = [e for e in trace.of(events.DeviceError) if e.parameters == ("cpu",)]
    saves = list(trace.of(events.Saved))
    for move in moves:
        if move.after != "cpu" or move.before == "cpu":
            continue
        back = min((m.number for m in moves if m.module == move.module and m.number > move.number), default=10**9)
        error = next((e for e in errors if move.number < e.number < back), None)
        saved = error is not None and any(move.number < s.number < error.number for s in saves)
        message = "the model was moved back, or was not needed any more"
        if error is not None and saved:
            message = (
                f"the {move.kind} was moved from {move.before} to the CPU and saved; its next call: {error.message}"
            )
        yield Measurement(what, int(saved), 0, unit, saved, move.place, message)
    for save in saves:
        yield Measurement(what, 0, 0, unit, False, save.place, "the model stays where it is")
