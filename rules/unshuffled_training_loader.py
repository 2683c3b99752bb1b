"""A model is trained on a loader that gives the samples in the same order in every epoch.

## What it finds
A DataLoader over a dataset that is read by index, without `shuffle=True` and without a sampler, that a loop with
backward pass and optimizer step iterates in several epochs. The finding stands where the loader is made.

## Why it hurts
The batches are the same in each epoch, in the order of the dataset. Where that is sorted (by class, by date, by
file) a batch holds one class only, each step undoes the last, and batch normalisation sees statistics of no
whole. Even where it is not, gradients of the same groups follow each other in the same order, and the model learns
the order along.

## Example
Wrong:

```python
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST

loader = DataLoader(MNIST("data", train=True), batch_size=64)
model = nn.Linear(784, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
```

Right:

```python
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST

loader = DataLoader(MNIST("data", train=True), batch_size=64, shuffle=True)
model = nn.Linear(784, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
```

## Fix and its safety
Gives `shuffle=True`. Unsafe: the batches are others then, which may matter where the order is meant.

## Known limits
Quiet about iterable datasets, datasets that draw at random themselves, tensors made in the same file, batches
that hold the whole dataset, and data whose order has a meaning by its name (sequences, time series, text, a
curriculum). Quiet where the loader comes from a parameter, or the dataset is of a class in another file.

## Proof
In a real run the first batches of each epoch that trains are compared with those of the first epoch. The pitfall
shows epochs that begin with the very same batches; healthy is 0.

## References
- torch.utils.data.DataLoader: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
- Datasets and DataLoaders: https://docs.pytorch.org/tutorials/beginner/basics/data_tutorial.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import fixed_order, loaders_in
from torchlint.facts import Backward, Iterated, LoaderBuilt, Loop, OptimizerStep, Root
from torchlint.rule import Around, Change, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"DataLoader"}, {"backward"}, {"step"}]
fixable = "unsafe"

_ORDERED = ("seq", "time", "series", "text", "stream", "window", "curricul", "ordered", "sorted", "temporal", "video")


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        builds = {built.loader: built for built in root.of(LoaderBuilt)}
        for begun in root.of(Iterated):
            if begun.loop is None or not _trains(root, begun.loop) or not _again(begun):
                continue
            for loader in loaders_in(begun.over):
                built = builds.get(loader)
                if built is None or not fixed_order(built) or _meant(facts, built):
                    continue
                if set(built.loops) & set(begun.loops):
                    continue  # made anew in each round, perhaps over other data
                name = loader.name or "the loader"
                yield Finding(
                    built.site,
                    f"`{name}` gives the same order in every epoch: it is trained on without shuffling",
                    "Every epoch sees the same batches one after the other, as the dataset happens to be sorted.",
                    related=(("it is trained on here", begun.site),),
                    fix=_fix(built),
                )


def _trains(root: Root, loop: Loop) -> bool:
    return all(any(event.inside(loop) for event in root.of(kind)) for kind in (Backward, OptimizerStep))


def _again(begun: Iterated) -> bool:
    """True when the loop over the loader is itself repeated: there are several epochs."""
    return any(loop is not begun.loop and not loop.once for loop in begun.loops)


def _meant(facts: Facts, built: LoaderBuilt) -> bool:
    """True when the order is said to matter, or a batch is the whole dataset."""
    size = facts.text(built.sites["batch_size"]) if "batch_size" in built.sites else ""
    data = facts.text(built.sites["dataset"]) if "dataset" in built.sites else ""
    said = f"{built.loader.name} {data} {facts.remarks(built.site)}".lower()
    return "len(" in size or ".shape" in size or any(word in said for word in _ORDERED)


def _fix(built: LoaderBuilt) -> Fix | None:
    change: Change
    if "shuffle" in built.sites:
        change = Replace(built.sites["shuffle"], "True")
    elif built.last_argument is not None:
        change = Around(built.last_argument, after=", shuffle=True")
    else:
        return None
    return Fix("Shuffle the training data", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "epochs that began with the batches of the first", "epochs"
    for built in trace.of(events.LoaderBuilt):
        epochs = [one for one in trace.epochs(built.loader) if one.trained and len(one.batches) > 1]
        if len(epochs) < 2 or len(set(epochs[0].batches)) < 2:
            continue
        same = sum(one.batches == epochs[0].batches for one in epochs[1:])
        message = f"the order changed in {len(epochs) - 1 - same} of {len(epochs) - 1} later epochs"
        if same:
            message = f"{same} of {len(epochs) - 1} later epochs began with the very same batches as the first"
        yield Measurement(what, same, 0, unit, same > 0, built.place, message)
