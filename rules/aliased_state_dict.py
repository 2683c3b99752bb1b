"""A state that is kept as a snapshot is the live weights: `state_dict()` copies nothing.

## What it finds
`best = model.state_dict()` without a copy, where training goes on afterwards and `best` is later loaded into
the same model, or was taken in one round of a loop and is saved or returned in a later one. The finding
stands where the state is taken; a second location shows where it is used.

## Why it hurts
`state_dict()` returns a dictionary of the model's own tensors. Every optimizer step changes them in place, and
so the "best" weights are always the latest. Going back to them does nothing, early stopping returns the
overfitted model, and the logged best score belongs to weights that no longer exist.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
best, best_loss = None, float("inf")
for x, y in batches:
    loss = nn.functional.mse_loss(model(x), y)
    if loss.item() < best_loss:
        best_loss = loss.item()
        best = model.state_dict()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.load_state_dict(best)
```

Right:

```python
import copy

import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
best, best_loss = None, float("inf")
for x, y in batches:
    loss = nn.functional.mse_loss(model(x), y)
    if loss.item() < best_loss:
        best_loss = loss.item()
        best = copy.deepcopy(model.state_dict())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.load_state_dict(best)
```

## Fix and its safety
Writes `copy.deepcopy(...)` around it, or a comprehension that clones each tensor where `copy` is not imported.
Safe: the numbers at that moment are the same, and they stay what they are.

## Known limits
Right, and not reported: a copy (`copy.deepcopy`, `{k: v.clone() ...}`, `.cpu()` of tensors that may lie
elsewhere), a state that is saved in the same round, entries that are changed before the state is loaded again
(`state.update(pretrained)`), a model that is moved to another device in between. Quiet when the state is
handed to code of another file, and when no optimizer step in sight concerns the model.

## Proof
In a real run each state is compared, where it is loaded or saved, with a sample of its numbers when it was
taken. The pitfall is a distance above 0; healthy is 0.

## References
- Saving and Loading Models, the warning on `best_model_state`: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html
- torch.nn.Module.state_dict: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.state_dict
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_update
from torchlint.facts import (
    Collection,
    Duty,
    Event,
    Join,
    Loaded,
    Mapping,
    Module,
    Moved,
    OptimizerBuilt,
    Root,
    Saved,
    StateDict,
    StateReturned,
    StateTaken,
    Value,
    may_be_same,
    only,
    same,
    states_in,
    walk,
)
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"state_dict"}, {"load_state_dict", "save", "return"}, {"step", "train", "fit"}]
fixable = "safe"


def check(facts: Facts) -> Iterator[Finding]:
    if facts.relieved(Duty.STATE_COPIES):
        return
    for root in facts.roots:
        for taken in root.of(StateTaken):
            model = only(taken.state.of)
            if taken.state.edited or not root.complete or not isinstance(model, Module):
                continue
            use = _stale_use(root, taken, model)
            if use is None:
                continue
            name = taken.state.name or facts.text(taken.site)
            again = "loaded back" if isinstance(use, Loaded) else "used"
            owner = taken.spelling or model.name
            yield Finding(
                taken.site,
                f"`{name}` holds the live weights of `{owner}`, which is trained on before it is {again}",
                "Every optimizer step changes it: the weights of this moment are lost.",
                related=(("it is used here, after more steps", use.site),),
                fix=Fix("Copy the state", Safety.SAFE, (_copy(facts, taken),)),
            )


def _copy(facts: Facts, taken: StateTaken) -> Around:
    deepcopy = facts.spell("copy.deepcopy")
    if deepcopy is not None:
        return Around(taken.site, f"{deepcopy}(", ")")
    return Around(taken.site, "{key: value.clone() for key, value in ", ".items()}")


def _stale_use(root: Root, taken: StateTaken, model: Module) -> Event | None:
    """Where the state is used as a snapshot after a step that changed it."""
    places = {m.device.kind if m.device is not None else "" for m in root.of(Moved) if may_be_same(m.target, model)}
    moved = len(places) > 1 or "" in places
    rounds = {loop.site.node: loop for loop in taken.loops}
    anew = {
        loop.site.node
        for built in root.of(OptimizerBuilt)
        if may_update(root, built, model)
        for loop in built.loops
        if loop.site.node in rounds
    }

    def step(state: str, event: Event) -> str | None:
        if event is taken or (moved and isinstance(event, Moved) and may_be_same(event.target, model)):
            return None
        if isinstance(event, Join) and event.label == "loop" and event.site.node in rounds:
            if event.site.node in anew:
                return None  # with another model of the same making
            return "again" if state == "fresh" else state
        if may_update(root, event, model) and not isinstance(event, OptimizerBuilt):
            return {"fresh": "passed", "again": "stale"}.get(state, state)
        return state

    for event, states in walk(taken.next, "fresh", step).items():
        match event:
            case Loaded(state=state) if state is not None and same(event.target, model):
                if states & {"passed", "stale"} and _is(state, taken):
                    return event
            case Saved(value=value, tests=tests) | StateReturned(value=value, tests=tests):
                if "stale" not in states or taken.site.one_round or not _is(value, taken):
                    continue
                # Under the same tests it is the state of this round, and so it is where other branches take theirs.
                if not _implies(tests, taken.tests) and not _taken_elsewhere(root, taken, event, value):
                    return event
    return None


def _is(value: Value, taken: StateTaken) -> bool:
    return any(state is taken.state for state in states_in(value))


def _implies(these: tuple[frozenset[str], ...], those: tuple[frozenset[str], ...]) -> bool:
    """True when what runs under these tests seems to run only where those hold, as far as their words tell."""
    return all(any(one <= other and ("else" in one) == ("else" in other) for other in these) for one in those)


def _taken_elsewhere(root: Root, taken: StateTaken, use: Event, value: Value) -> bool:
    """True when each way to a use that does not lead past `taken` in that round leads past another that it may be."""
    others = list(_alternatives(value, taken))
    if not others:
        return False
    again = [t for t in root.of(StateTaken) if t is taken or any(t.state is state for state in others)]

    def step(state: str, event: Event) -> str | None:
        return None if event in again else state

    heads = [e for e in root.of(Join) if e.label == "loop" and any(e.site.node is one.site.node for one in taken.loops)]
    return not any(use in walk(head.next, "", step) for head in heads)


def _alternatives(value: Value, taken: StateTaken, depth: int = 0) -> Iterator[StateDict]:
    """The states that may stand where the state of `taken` may stand in `value`."""
    for one in value.options():
        if not _is(one, taken):
            yield from states_in(one)
        elif depth < 4 and isinstance(one, (Collection, Mapping)):
            for part in one.items if isinstance(one, Collection) else one.entries.values():
                if _is(part, taken):
                    yield from _alternatives(part, taken, depth + 1)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "distance of a kept state from the weights it was taken of", ""
    used = list(trace.of(events.StateUsed))
    for one in used:
        snapshot = one.before > 0 or one.own
        harmed = snapshot and one.distance > 0
        message = "the state is what it was when it was taken"
        if harmed:
            message = f"{one.steps} optimizer steps later it had moved by {one.distance:.3g}"
        yield Measurement(what, one.distance if harmed else 0, 0, unit, harmed, one.taken, message)
    if not used:
        for loaded in trace.of(events.StateLoaded):
            if not loaded.optimizer and not loaded.error:
                yield Measurement(what, 0, 0, unit, False, loaded.place, "no live state was loaded")
