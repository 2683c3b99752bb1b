"""An optimizer is given a generator of parameters that was run through before, so it gets none.

## What it finds
`params = model.parameters()`, or a `filter` or `itertools.chain` over it, that is run through (counted,
printed, given to another optimizer) and then given to an optimizer; also one made before a loop that builds
an optimizer in each round. The finding stands at the call that builds the optimizer; a second location shows
where the generator was used up.

## Why it hurts
`Module.parameters()` returns a generator, which can be run through once. The second time it is empty: torch
raises `ValueError: optimizer got an empty parameter list`, or, where it stands in a group beside others, that
group is empty and its parameters are never updated, without a word.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
params = model.parameters()
print(sum(p.numel() for p in params))
optimizer = torch.optim.SGD(params, lr=0.1)
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
params = list(model.parameters())
print(sum(p.numel() for p in params))
optimizer = torch.optim.SGD(params, lr=0.1)
```

## Fix and its safety
`list(...)` around the call that makes the generator. Safe: a list of the same parameters can be run through
any number of times, and is otherwise used alike. There is no fix where the generator is also advanced by hand
(`next(params)`).

## Known limits
Quiet where it is used up on some paths only, or in code of another file, and about generator functions of the
project. Clipping with a generator that an optimizer has used up is not this rule's.

## Proof
In a real run each generator that an optimizer is given is asked whether it was run to its end before; healthy
is none.

## References
- torch.nn.Module.parameters: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.parameters
- torch.optim: Constructing it: https://docs.pytorch.org/docs/stable/optim.html#constructing-it
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import (
    Event,
    IteratorMade,
    IteratorUsedUp,
    OptimizerBuilt,
    Parameters,
    Root,
    Value,
    only,
    same,
    walk,
)
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"optim", "Adam", "AdamW", "SGD", "RMSprop", "Adagrad"}, {"parameters"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for built in root.of(OptimizerBuilt):
            for given in built.given:
                iterator = only(given.value)
                if not isinstance(iterator, Parameters) or not root.complete:
                    continue
                found = _used_up_before(root, built, iterator)
                if found is None:
                    continue
                ended, empty = found
                name = f"`{empty.name}`" if empty.name else "the generator"
                again = ended.site.node is built.site.node
                yield Finding(
                    built.site,
                    f"{name} was run through before `{built.optimizer.name or 'the optimizer'}` takes its parameters",
                    "A generator gives its parameters once: this optimizer gets none of them"
                    + (" from the second round on." if again else "."),
                    related=() if again else ((f"{name} is used up here", ended.site),),
                    fix=_fix(empty),
                )
                break


def _used_up_before(
    root: Root, built: OptimizerBuilt, iterator: Parameters
) -> tuple[IteratorUsedUp, Parameters] | None:
    """Where the iterator, or one that it draws from, certainly was run to its end before the optimizer gets it."""
    for one in _with_sources(iterator):
        ends = [e for e in root.of(IteratorUsedUp) if same(e.iterator, one)]
        if not ends:
            continue

        def after(state: str, event: Event, one: Value = one) -> str:
            if isinstance(event, IteratorMade) and same(event.iterator, one):
                return "fresh"
            return "ended" if isinstance(event, IteratorUsedUp) and same(event.iterator, one) else state

        states = walk([root.entry], "unmade", after).get(built, set())
        if states == {"ended"}:
            return next((e for e in ends if e.site.node is not built.site.node), ends[0]), one
        own = next((e for e in ends if e.site.node is built.site.node), None)
        if own is not None and "ended" in states and _goes_round(root, built, own, one):
            return own, one
    return None


def _with_sources(iterator: Parameters) -> Iterator[Parameters]:
    yield iterator
    for source in iterator.sources:
        one = only(source)
        if isinstance(one, Parameters):
            yield from _with_sources(one)


def _goes_round(root: Root, built: OptimizerBuilt, own: IteratorUsedUp, iterator: Value) -> bool:
    """True when a loop that begins after the iterator was made comes back to the optimizer."""
    made = [e for e in root.of(IteratorMade) if same(e.iterator, iterator)]
    around = [loop for loop in built.loops if not loop.once and not any(loop in e.loops for e in made)]

    def step(state: str, event: Event) -> str | None:
        return None if event is built else state

    return bool(made) and bool(around) and built in walk(own.next, "", step, lambda event: around[-1] in event.loops)


def _fix(iterator: Parameters) -> Fix | None:
    if iterator.advanced or iterator.site is None or iterator.site.node is None:
        return None
    return Fix("Make it a list", Safety.SAFE, (Around(iterator.site, "list(", ")"),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "empty generators that an optimizer was given", "generators"
    for event in trace.events:
        match event:
            case events.OptimizerBuilt(used_up=count):
                message = f"{event.kind} holds {event.parameters} parameters in {event.groups} groups"
                if count:
                    message += f"; {count} of what it was given had been run through before and gave it none"
                yield Measurement(what, count, 0, unit, count > 0, event.place, message)
            case events.OptimizerRefused(used_up=count) if count:
                message = f"{event.kind} was given a {event.given} that had been run through before: {event.message}"
                yield Measurement(what, count, 0, unit, True, event.place, message)
