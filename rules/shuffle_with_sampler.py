"""A DataLoader is given `shuffle=True` and a sampler, which exclude each other.

## What it finds
`DataLoader(..., shuffle=True, sampler=...)`, and a `batch_sampler` together with `shuffle=True`, a `sampler`, a
`batch_size` or `drop_last=True`. The finding stands at the call.

## Why it hurts
A sampler says in which order the data comes, and so does `shuffle`. torch refuses both: the program ends with
ValueError where the loader is made, often hours after it was started, when evaluation begins.

## Example
Wrong:

```python
from torch.utils.data import DataLoader, WeightedRandomSampler

sampler = WeightedRandomSampler(weights, len(weights))
loader = DataLoader(dataset, batch_size=32, shuffle=True, sampler=sampler)
```

Right:

```python
from torch.utils.data import DataLoader, WeightedRandomSampler

sampler = WeightedRandomSampler(weights, len(weights))
loader = DataLoader(dataset, batch_size=32, sampler=sampler)
```

## Fix and its safety
Writes `shuffle=False`: the sampler decides. Safe: as it is, the call cannot succeed. Other combinations with a
`batch_sampler` get no fix.

## Known limits
Quiet unless `shuffle` is the constant `True` and the sampler is certainly one: a name that can be None on some path
says nothing.

## Proof
The program is run: torch refuses the loader with ValueError. Healthy is an iteration over every loader.

## References
- torch.utils.data.DataLoader: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
- Data loading order and Sampler: https://docs.pytorch.org/docs/stable/data.html#data-loading-order-and-sampler
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Collection, Instance, Literal, LoaderBuilt, Sampler, Unknown, Value
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"DataLoader"}, {"sampler", "batch_sampler"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for built in root.of(LoaderBuilt):
            for one, other in _pairs(built):
                both = f"`{one}` and `{other}`"
                fix = None
                if one == "shuffle" and other == "sampler":
                    fix = Fix("Let the sampler decide", Safety.SAFE, (Replace(built.sites["shuffle"], "False"),))
                yield Finding(
                    built.site,
                    f"{both} are both given, and exclude each other",
                    "torch refuses to make the loader: ValueError.",
                    fix=fix if "shuffle" in built.sites else None,
                )
                break


def _pairs(built: LoaderBuilt) -> Iterator[tuple[str, str]]:
    given = built.given
    if _is_sampler(given.get("sampler")) and _is(given.get("shuffle"), True):
        yield "shuffle", "sampler"
    if _is_sampler(given.get("batch_sampler")):
        if _is(given.get("shuffle"), True):
            yield "shuffle", "batch_sampler"
        if _is_sampler(given.get("sampler")):
            yield "sampler", "batch_sampler"
        size = given.get("batch_size")
        if type(size) is Literal and size.value not in (1, None):
            yield "batch_size", "batch_sampler"
        if _is(given.get("drop_last"), True):
            yield "drop_last", "batch_sampler"


def _is(value: Value | None, constant: object) -> bool:
    return type(value) is Literal and value.value is constant


def _is_sampler(value: Value | None) -> bool:
    return value is not None and all(
        isinstance(one, (Sampler, Instance, Collection)) or (isinstance(one, Unknown) and one.origin == "library")
        for one in value.options()
    )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "loaders that torch refused", "loaders"
    for raised in trace.of(events.Raised):
        if raised.kind == "ValueError" and "mutually exclusive" in raised.message:
            yield Measurement(what, 1, 0, unit, True, raised.place, raised.message.splitlines()[0])
    for built in trace.of(events.LoaderBuilt):
        yield Measurement(what, 0, 0, unit, False, built.place, "torch made the loader")
