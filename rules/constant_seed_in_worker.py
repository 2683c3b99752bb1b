"""Every worker of a DataLoader, or every sample, seeds its random generator with the same number.

## What it finds
`np.random.seed(0)`, `random.seed(SEED)` or `torch.manual_seed(0)` in a `worker_init_fn` that does not use the worker's
number, or in the `__getitem__` of a dataset. The finding stands at the call.

## Why it hurts
torch gives each worker a seed of its own, for NumPy and `random` too. A constant undoes that: all workers draw the
same augmentations one after the other, again in each epoch. In `__getitem__` it is worse: every sample gets the
same crop, the same noise, the same flip. Augmentation that is meant to multiply the data does next to
nothing.

## Example
Wrong:

```python
import numpy as np
from torch.utils.data import DataLoader


def seed_worker(worker_id):
    np.random.seed(42)


loader = DataLoader(dataset, num_workers=4, worker_init_fn=seed_worker)
```

Right:

```python
import numpy as np
from torch.utils.data import DataLoader


def seed_worker(worker_id):
    np.random.seed(42 + worker_id)


loader = DataLoader(dataset, num_workers=4, worker_init_fn=seed_worker)
```

Right, and simplest: no `worker_init_fn`. `torch.manual_seed` before training makes all of it repeatable.

## Fix and its safety
Adds the worker's number to the seed, where the function has a parameter for it. Unsafe: other random numbers
are drawn. In `__getitem__` there is no fix.

## Known limits
Quiet where the seed is computed from anything, in a branch of `__getitem__`, and in datasets that say by name that
they are for validation or test: there the same draws for all are meant.

## Proof
In a real run the seeds are written down that workers and samples set at each line. The pitfall shows several workers,
or several samples, with one seed; healthy is a seed for each.

## References
- torch.utils.data: Randomness in multi-process data loading: https://docs.pytorch.org/docs/stable/notes/faq.html#my-data-loader-workers-return-identical-random-numbers
- Reproducibility: DataLoader: https://docs.pytorch.org/docs/stable/notes/randomness.html#dataloader
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Frame, Function, FunctionInfo, Literal, LoaderBuilt, Seeded, only
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"seed", "manual_seed"}, {"__getitem__", "worker_init_fn", "worker"}]
fixable = "sometimes"

_REPEATABLE = ("val", "test", "eval", "fixed", "determin")


def check(facts: Facts) -> Iterator[Finding]:
    starters = _starters(facts)
    for root in facts.roots:
        for event in root.of(Seeded):
            if type(event.seed) is not Literal or type(event.seed.value) is not int:
                continue
            call = facts.text(event.site).partition("(")[0]
            frame = next((f for f in event.frame.stack() if f.function in starters or f.name == "__getitem__"), None)
            if frame is None or frame.function is None:
                continue
            if frame.name == "__getitem__" and frame.function not in starters:
                if _one_for_all(facts, event, frame):
                    yield Finding(
                        event.site,
                        f"`{call}` seeds every sample with {event.seed.value}",
                        "Each sample draws the same random numbers: all are cropped, flipped and disturbed alike.",
                    )
            elif not frame.function.words & {*frame.function.parameters[:1], "get_worker_info", "initial_seed"}:
                yield Finding(
                    event.site,
                    f"`{call}` seeds every worker with {event.seed.value}",
                    "All workers draw the same random numbers, one after the other, in each epoch again.",
                    fix=_fix(event, frame.function),
                )


def _starters(facts: Facts) -> set[FunctionInfo]:
    """The functions that workers begin with: given as `worker_init_fn`, or called so."""
    found = {
        f for f in facts.functions if f.owner is None and "worker" in f.name and len(f.required) == 1 and f.parameters
    }
    for root in facts.roots:
        for built in root.of(LoaderBuilt):
            given = only(built.given["worker_init_fn"]) if "worker_init_fn" in built.given else None
            if isinstance(given, Function) and given.info is not None:
                found.add(given.info)
    return found


def _one_for_all(facts: Facts, event: Seeded, frame: Frame) -> bool:
    """True where each sample comes here, and nothing says that they are to be alike."""
    owner = frame.function.owner if frame.function is not None else None
    said = f"{owner.name if owner is not None else 'val'} {facts.remarks(event.site)}".lower()
    straight = event.site.suite is getattr(getattr(event.site.function, "node", None), "body", None)
    return straight and not event.loops and not any(word in said for word in _REPEATABLE)


def _fix(event: Seeded, function: FunctionInfo) -> Fix | None:
    seed = event.argument
    name = function.parameters[0] if function.parameters else "_"
    if seed is None or name.startswith("_") or event.site.function is not function:
        return None
    return Fix("Add the worker's number to the seed", Safety.UNSAFE, (Around(seed, after=f" + {name}"),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what = "draws from one seed"
    seeds: dict[tuple[events.Place, bool], list[events.Seeded]] = {}
    for one in trace.of(events.Seeded):
        seeds.setdefault((one.place, one.sampling), []).append(one)
    for (place, sampling), found in seeds.items():
        distinct = len({one.seed for one in found})
        if sampling:
            alike = len(found) > 1 and distinct == 1
            message = f"{distinct} seeds were set for {len(found)} samples"
            yield Measurement(what, len(found) if alike else 1, 1, "samples", alike, place, message)
            continue
        workers = {one.worker for one in found}
        alike = len(workers) > 1 and distinct == 1
        message = f"{distinct} seeds were set in {len(workers)} workers"
        yield Measurement(what, len(workers) if alike else 1, 1, "workers", alike, place, message)
