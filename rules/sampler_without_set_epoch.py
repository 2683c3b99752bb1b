"""A DistributedSampler is never told the epoch, so that every epoch has the order of the first one.

## What it finds
A training loop over a `DataLoader` whose sampler is a shuffling `DistributedSampler`, inside a loop over epochs, in a
file that never calls `set_epoch`, where no file of the project that it imports from does either. The finding stands
at the loop over the epochs; a second location shows the sampler.

## Why it hurts
The sampler shuffles with a generator that it seeds with `seed + epoch`, and the epoch stays 0 until `set_epoch` is
called. Each process then meets the same samples in the same order, in the same batches, in every epoch: the data are
shuffled once, and no batch of one process ever mixes with those of another. Nothing fails, the model only learns less
well.

## Example
Wrong:

```python
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

sampler = DistributedSampler(dataset)
loader = DataLoader(dataset, batch_size=32, sampler=sampler)
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

Right:

```python
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

sampler = DistributedSampler(dataset)
loader = DataLoader(dataset, batch_size=32, sampler=sampler)
for epoch in range(10):
    sampler.set_epoch(epoch)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

## Fix and its safety
Writes `sampler.set_epoch(epoch)`, or the same through `loader.sampler`, at the top of the loop over the epochs, where
that loop counts with a name and the sampler has one there. Unsafe: the data come in another order from the second
epoch on. No fix where the sampler may be None, or the loop counts nothing.

## Known limits
Quiet where the word `set_epoch` stands anywhere in the file or in a file of the project that it imports from, where
the loader is prepared by a framework that calls it itself (Accelerate, Fabric, Lightning, Ignite), with
`shuffle=False` or a `shuffle` that is not known, in classes with a base class out of sight, and where the loop over the
data stands in another file than the loop over the epochs.

## Proof
In a real run the order that the sampler gives is written down at each pass over the data. The pitfall shows training
passes whose order is, sample by sample, that of the pass before; healthy is 0.

## References
- torch.utils.data.distributed.DistributedSampler: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.distributed.DistributedSampler
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from torchlint.effects import samplers_in
from torchlint.facts import (
    AttributeSet,
    Backward,
    Duty,
    Iterated,
    Loader,
    Loop,
    OptimizerBuilt,
    Root,
    Sampler,
    SamplerBuilt,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"DistributedSampler", "distributed"}, {"for"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if "set_epoch" in facts.words or facts.relieved(Duty.SET_EPOCH) or facts.elsewhere("set_epoch"):
        return
    made = [e.sampler for root in facts.roots for e in root.of(SamplerBuilt) if isinstance(e.sampler, Sampler)]
    told: set[object] = set()
    for root in facts.roots:
        for passing in root.of(Iterated):
            epochs = _epochs(root, passing)
            if epochs is None:
                continue
            for sampler in samplers_in(passing.over, made):
                if sampler.shuffles is not True or sampler.site is None or epochs.site.node in told:
                    continue
                if any(e.sampler is sampler and e.inside(epochs) for e in root.of(SamplerBuilt)):
                    continue  # made anew for each round, which may be no epoch
                if any(e.owner is sampler and e.attribute == "epoch" for e in root.of(AttributeSet)):
                    continue
                told.add(epochs.site.node)
                name = f"`{sampler.name or passing.spelling or 'DistributedSampler'}`"
                yield Finding(
                    epochs.site,
                    f"{name} is never told the epoch: no `set_epoch` in this loop over the epochs",
                    "Every epoch gives each process the same samples in the same order as the first.",
                    related=((f"{name} is made here", sampler.site),),
                    fix=_fix(facts, root, passing, epochs, sampler),
                )


def _epochs(root: Root, passing: Iterated) -> Loop | None:
    """The loop that repeats a pass over the data in which one model is trained."""
    own = passing.loop
    epochs = next((loop for loop in reversed(passing.loops) if loop is not own and not loop.once), None)
    if own is None or epochs is None or not any(b.inside(own) for b in root.of(Backward)):
        return None
    if any(built.inside(epochs) for built in root.of(OptimizerBuilt)):
        return None  # each round trains another model: folds, or a search
    owners = [frame.function.owner for frame in passing.frame.stack() if frame.function is not None]
    return epochs if all(owner is None or owner.closed for owner in owners) else None


def _fix(facts: Facts, root: Root, passing: Iterated, epochs: Loop, sampler: Sampler) -> Fix | None:
    inside = epochs.frame.function if epochs.frame is not None else None
    same_name = [e for e in root.of(SamplerBuilt) if e.sampler.name == sampler.name]
    if not epochs.counter:
        return None
    if sampler.name.isidentifier() and len(same_name) == 1 and same_name[0].frame is epochs.frame:
        target = sampler.name
    elif (
        _certain(passing, sampler)
        and passing.spelling
        and (passing.frame is epochs.frame or (passing.spelling.startswith("self.") and _one_class(passing, epochs)))
    ):
        target = f"{passing.spelling}.sampler"
    else:
        return None
    if not facts.binds(inside, target.partition(".")[0]):
        return None
    line = f"{target}.set_epoch({epochs.counter})"
    return Fix("Tell the sampler the epoch", Safety.UNSAFE, (InsertFirst(epochs.site, (line,)),))


def _certain(passing: Iterated, sampler: Sampler) -> bool:
    """True when what is iterated is certainly a loader that has this sampler as its `sampler`."""
    leaves = passing.over.options()
    while len(leaves) == 1 and (items := getattr(leaves[0], "items", None)) and not isinstance(leaves[0], Loader):
        leaves = items[0].options()
    return all(isinstance(one, Loader) and one.keywords.get("sampler") is sampler for one in leaves)


def _one_class(passing: Iterated, epochs: Loop) -> bool:
    one, other = passing.frame.function, epochs.frame.function if epochs.frame is not None else None
    return one is not None and other is not None and one.owner is not None and one.owner is other.owner


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm.probe import Measurement

    what, unit = "epochs in the first one's order", "epochs"
    for passes in trace.training_passes():
        if len(passes) < 2:
            continue
        same = [one for before, one in pairwise(passes) if one.order == before.order]
        place = same[0].place if same else passes[-1].place
        message = f"{len(passes)} passes over the data came in different orders"
        if same:
            message = (
                f"{len(same)} of {len(passes) - 1} later passes over the data had the order of the pass before, "
                f"sample by sample: the sampler was at epoch {same[0].epoch} each time"
            )
        yield Measurement(what, len(same), 0, unit, bool(same), place, message)
