"""Batch normalisation is put in evaluation mode once, and `model.train()` puts it back at the next epoch.

## What it finds
`.eval()` of the batch normalisation layers of a model (one by one, in a loop over `modules()`, by `apply`) before the
training loop, and `.train()` of the whole model inside it, with no `.eval()` of those layers between that and the
training step. The finding stands at `.train()`; a second location shows what it undoes.

## Why it hurts
`train()` sets the mode of every layer. The statistics that were to stay as they were learned move with each batch
again, with the small batches of fine-tuning most of all, and the normalisation is no longer the one that the weights
were trained with. Nothing fails.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for layer in model.modules():
    if isinstance(layer, nn.BatchNorm1d):
        layer.eval()
for epoch in range(10):
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.eval()
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
```

Right, and surest: a `train` method of the model that calls `super().train(mode)` and then puts those layers in
evaluation mode.

## Fix and its safety
No fix: where the layers are to be frozen again is for the author to say.

## Known limits
Only batch normalisation that is put in evaluation mode itself is looked at, not a whole backbone. Quiet where the
layers are also frozen inside the loop, and where the model is handed to code that cannot be seen in between.

## Proof
In a real run the batch normalisation layers are counted that the program put in evaluation mode, and that are in
training mode when the model is trained; healthy is 0.

## References
- torch.nn.Module.train: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.train
- torch.nn.BatchNorm2d: https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Backward, Event, Forward, Grad, ModeSet, Module, Root, UnknownCall, may_be_same, walk
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "_BatchNorm"}, {"eval"}, {"train"}]


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        freezes = [event for event in root.of(ModeSet) if _freezes_norms(event)]
        backwards = list(root.of(Backward))
        for frozen in freezes:
            told = _undone(root, frozen, freezes, backwards)
            if told is not None:
                name = told.spelling or "model"
                yield Finding(
                    told.site,
                    f"`{name}.train()` puts the frozen batch normalisation back in training mode",
                    "Its statistics move with every batch from there on, as if they had not been frozen.",
                    related=(("it was put in evaluation mode here", frozen.site),),
                )
                break


def _freezes_norms(event: ModeSet) -> bool:
    """True for `.eval()` of layers that certainly are batch normalisation."""
    if event.training is not False:
        return False
    tested = any("BatchNorm" in word for word in event.under)
    return all(isinstance(o, Module) and (tested or "BatchNorm" in o.api) for o in event.module.options())


def _undone(root: Root, frozen: ModeSet, freezes: list[ModeSet], backwards: list[Backward]) -> ModeSet | None:
    """The `train()` of the whole model, in a loop, after which it is trained with these layers in training mode."""
    layers = set(freezes)
    trains: list[ModeSet] = [
        event
        for event in root.of(ModeSet)
        if event.training is True
        and (repeated := [loop for loop in event.loops if not loop.once and loop not in frozen.loops])
        and not any(other.inside(loop) for other in freezes for loop in repeated)
        and all(isinstance(o, Module) for o in event.module.options())
        and frozen.module.reached_from(event.module.options())
        and not may_be_same(frozen.module, event.module)
    ]

    def after(state: int, event: Event) -> int | None:
        if event in layers:
            return -1
        if isinstance(event, ModeSet) and event in trains:
            return trains.index(event)
        if isinstance(event, UnknownCall) and event.touches(frozen.module):
            return None
        return state

    met = walk(frozen.next, -1, after)
    for forward in root.of(Forward):
        if forward.grad is Grad.OFF or not forward.loops:
            continue
        for state in sorted(met.get(forward, ())):
            trained = any(set(b.loops) & set(forward.loops) for b in backwards)
            if state >= 0 and trained and may_be_same(forward.module, trains[state].module):
                return trains[state]
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "frozen normalisation layers that train", "layers"
    for one in trace.of(events.NormsTrained):
        message = f"{one.frozen} batch normalisation layers are in evaluation mode, as they were put"
        if one.thawed:
            message = f"{one.thawed} batch normalisation layers were put in evaluation mode, and train again"
        yield Measurement(what, one.thawed, 0, unit, one.thawed > 0, one.place, message)
