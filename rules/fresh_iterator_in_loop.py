"""A training loop makes a new iterator over its loader for each batch, and so trains on the first batch only.

## What it finds
`next(iter(loader))` in the body of a loop that trains, where the loader is not shuffled, or starts worker
processes. The finding stands at the call.

## Why it hurts
Each `iter(loader)` begins anew. Without shuffling the first batch of the dataset comes every time: the model is trained
on these few samples and on nothing else, and its loss falls beautifully. With `num_workers` all worker processes
are started, fill their queues and are thrown away, for one batch.

## Example
Wrong:

```python
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST

loader = DataLoader(MNIST("data"), batch_size=64)
model = nn.Linear(784, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(1000):
    x, y = next(iter(loader))
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

loader = DataLoader(MNIST("data"), batch_size=64, shuffle=True)
model = nn.Linear(784, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
```

## Fix and its safety
No fix: whether the loop becomes one over the loader, or goes on with an iterator that is made before it, is for
its author to say.

## Known limits
A shuffled loader without workers is let pass: it draws a random batch each time, at the price of a permutation of
all indices. Quiet where the loop also goes through a loader, under a test, and where the loader comes from elsewhere.

## Proof
In a real run the batches are compared that the iterators of one line gave. The pitfall shows one distinct batch
from all of them, or workers started for each; healthy are as many batches as steps.

## References
- torch.utils.data.DataLoader: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
- Single- and multi-process data loading: https://docs.pytorch.org/docs/stable/data.html#single-and-multi-process-data-loading
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import fixed_order, loaders_in
from torchlint.facts import Backward, FirstBatch, Forward, Grad, Iterated, Literal, LoaderBuilt, OptimizerStep, Root
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"DataLoader"}, {"next"}, {"iter"}, {"backward"}]


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        builds = {built.loader: built for built in root.of(LoaderBuilt)}
        for event in root.of(FirstBatch):
            built = builds.get(event.loader)
            if built is None or built.open or not _feeds_training(root, event, built):
                continue
            name = event.loader.name or "the loader"
            workers = built.given.get("num_workers")
            if fixed_order(built):
                yield Finding(
                    event.site,
                    f"`next(iter({name}))` in the training loop gives the first batch of `{name}` every time",
                    "The model is trained on this one batch, and never sees the rest of the data.",
                    related=((f"`{name}` is not shuffled", built.site),),
                )
            elif type(workers) is Literal and isinstance(workers.value, int) and workers.value > 0:
                yield Finding(
                    event.site,
                    f"`next(iter({name}))` in the training loop starts the workers of `{name}` for each batch",
                    f"In each step {workers.value} processes are started, load ahead, and are thrown away.",
                    related=((f"`{name}` has workers", built.site),),
                )


def _feeds_training(root: Root, event: FirstBatch, built: LoaderBuilt) -> bool:
    """True when the innermost loop around trains in each round, and gets its data nowhere else."""
    loop = event.loops[-1] if event.loops else None
    if loop is None or loop.once or loop in built.loops or loaders_in(loop.over):
        return False
    if event.site.suite is not loop.body:
        return False  # under a test: not in each round
    direct = [e for e in root.of(Backward, OptimizerStep) if e.loops and e.loops[-1] is loop]
    trains = all(any(isinstance(e, kind) for e in direct) for kind in (Backward, OptimizerStep))
    measured = any(f.inside(loop) and f.grad is Grad.OFF for f in root.of(Forward))
    other = any(i.inside(loop) and i.loop is not loop and loaders_in(i.over) for i in root.of(Iterated))
    return trains and not measured and not other


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "distinct batches", "batches"
    for built in trace.of(events.LoaderBuilt):
        epochs = [one for one in trace.epochs(built.loader) if one.batches and (one.trained or len(one.batches) > 1)]
        places = {one.place for one in epochs}
        for place in places:
            here = [one for one in epochs if one.place == place]
            cut = all(len(one.batches) == 1 for one in here) and built.batches != 1 and len(here) > 2
            distinct = len({one.batches[0] for one in here})
            if not cut:
                batches = max(len(one.batches) for one in here)
                yield Measurement(what, batches, batches, unit, False, place, "an iterator gave several batches")
            elif distinct == 1:
                message = f"{len(here)} iterators were made here, and each gave the same batch"
                yield Measurement(what, 1, len(here), unit, True, place, message)
            elif built.workers:
                message = (
                    f"{len(here)} iterators were made here, each for one batch: {built.workers} processes every time"
                )
                yield Measurement(
                    "worker processes started",
                    len(here) * built.workers,
                    built.workers,
                    "processes",
                    True,
                    place,
                    message,
                )
