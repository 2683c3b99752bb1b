"""An optimizer that remembers is built anew in each round of the training loop, so it starts from nothing each time.

## What it finds
`optimizer = Adam(model.parameters())` inside the loop over epochs or batches, in each round, over a model that
was made before the loop: directly in the loop, or in a function that the loop calls. Only optimizers that keep
something from step to step count: Adam and its kin, RMSprop, Adagrad, SGD with momentum. The finding stands at the
call that builds the optimizer; a second location shows the loop.

## Why it hurts
Adam divides by a running mean of squared gradients, momentum adds up past gradients. A new optimizer has neither:
the first step of Adam moves every parameter by the whole learning rate, whatever its gradient, and momentum never
builds up. A learning rate that a scheduler has lowered is back at its first value too.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
for epoch in range(10):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(10):
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
```

## Fix and its safety
The statement is moved before the loop, where it stands directly in the loop's body. Unsafe: the program computes
something else from its second round on, and the statement may need names that the loop binds. Where it stands in a
function that the loop calls, there is no fix.

## Known limits
Quiet where a new optimizer is meant: the model is made, loaded, copied or reset in the loop, something is frozen or
replaced in it, the optimizer's settings depend on the round, each round is a training of its own (a loop over epochs in
it), or the round is not one of a count (`for client in clients`). Quiet too when the optimizer is built under a
condition.

## Proof
In a real run the parameters for which an optimizer holds moments are counted when another is built over the same
weights in its place, at the same line; healthy is none lost.

## References
- torch.optim.Adam: https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html
- torch.optim: Constructing it: https://docs.pytorch.org/docs/stable/optim.html#constructing-it
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import always_in, known_before
from torchlint.facts import (
    AttributeSet,
    Collection,
    Literal,
    Loaded,
    Loader,
    Loop,
    Module,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    RequiresGradSet,
    Root,
    Site,
    Unknown,
    Value,
    only,
    same,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertBefore, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"optim", "Adam", "AdamW", "SGD", "RMSprop", "Adagrad"}, {"step"}, {"for", "while"}]
fixable = "sometimes"

_REMEMBERING = {"Adam", "AdamW", "SparseAdam", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta"}
# A round that does one of these begins a training of its own.
_STARTING_OVER = frozenset(
    """
    reset_parameters init_weights weights_init _init_weights load_state_dict deepcopy reset apply copy_ clone
    state_dict set_weights load_weights initialize reset_weights weight_reset init_params
    """.split()
)


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for built in root.of(OptimizerBuilt):
            loop = next((one for one in reversed(built.loops) if not one.once), None)
            if loop is None or not root.complete or not _remembers(built) or _starts_over(facts, built, loop):
                continue
            steps = [e for e in root.of(OptimizerStep) if same(e.optimizer, built.optimizer) and e.inside(loop)]
            if not steps or not all(_of_one_round(loop, step) for step in steps):
                continue
            if not _same_model(built, loop) or not _same_settings(built, loop) or _changes(root, loop):
                continue
            if not always_in(root, loop, built, steps):
                continue
            name = f"`{built.optimizer.name}`" if built.optimizer.name else "the optimizer"
            yield Finding(
                built.site,
                f"{name} is built anew in each round of the loop, over the same model",
                "What it remembers of past gradients is thrown away each time, so every round starts from nothing.",
                related=(("this loop", loop.site),),
                fix=_fix(facts, built, loop, name),
            )


def _remembers(built: OptimizerBuilt) -> bool:
    one = only(built.optimizer)
    kind = one.api.rsplit(".", 1)[-1] if isinstance(one, Optimizer) and one.api.startswith("torch.optim.") else ""
    if kind == "SGD":
        momentum = only(built.settings.get("momentum"))
        return momentum is not None and not (isinstance(momentum, Literal) and not momentum.value)
    return kind in _REMEMBERING


def _starts_over(facts: Facts, built: OptimizerBuilt, loop: Loop) -> bool:
    functions = {built.site.function, loop.frame.function if loop.frame is not None else None}
    words = frozenset().union(*(facts.words if one is None else one.words for one in functions))
    return bool(words & _STARTING_OVER) or not (loop.counter or loop.over is None)


def _of_one_round(loop: Loop, step: OptimizerStep) -> bool:
    """True when the step is taken once in a round, or for each batch of one pass over the same data."""
    inner = [one for one in step.loops[step.loops.index(loop) + 1 :] if not one.once]
    return not inner or (len(inner) == 1 and inner[0].over is not None and _batches(inner[0].over, loop, step))


def _batches(over: Value, loop: Loop, step: OptimizerStep) -> bool:
    one = only(over)
    match one:
        case Collection(kind="enumerate", items=[inner, *_]):
            return _batches(inner, loop, step)
        case Loader():
            return known_before(one, loop, step)
        case Unknown(name=name):
            return "loader" in name.lower() and "[" not in name and name.partition(".")[0] not in loop.binds
    return False


def _same_model(built: OptimizerBuilt, loop: Loop) -> bool:
    """True when all that the optimizer holds are models that were there before the loop."""
    one = only(built.optimizer)
    parameters = one.parameters if isinstance(one, Optimizer) else None
    if parameters is None or parameters.open or not parameters.of or not parameters.whole:
        return False
    return all(isinstance(h, Module) and known_before(h, loop, built) for h in parameters.of)


def _same_settings(built: OptimizerBuilt, loop: Loop) -> bool:
    return all(isinstance(v, Literal) or known_before(v, loop, built) for v in built.settings.values())


def _changes(root: Root, loop: Loop) -> bool:
    """True when parts of a model are frozen, replaced or loaded in the loop."""
    return any(
        event.inside(loop) and (not isinstance(event, AttributeSet) or isinstance(only(event.value), Module))
        for kind in (RequiresGradSet, AttributeSet, Loaded)
        for event in root.of(kind)
    )


def _fix(facts: Facts, built: OptimizerBuilt, loop: Loop, name: str) -> Fix | None:
    statement = f"{built.optimizer.name} = {facts.text(built.site)}"
    written, _, _ = facts.text(Site(built.site.statement, None, None)).partition(" #")
    if built.site.suite is not loop.body or written.strip() != statement:
        return None
    moved = (InsertBefore(loop.site, (statement,)), Remove(built.site))
    return Fix(f"Build {name} once, before the loop", Safety.UNSAFE, moved)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters whose moments were thrown away", "parameters"
    places: dict[int, events.Place] = {}  # where each optimizer was built
    steps: dict[int, int] = {}
    begun = 0  # passes over data so far
    first: dict[int, int] = {}  # how many there were when each optimizer was built,
    last: dict[int, int] = {}  # and when it stepped last
    for event in trace.events:
        match event:
            case events.Iterated():
                begun += 1
            case events.OptimizerStep(optimizer=key):
                steps[key] = steps.get(key, 0) + 1
                last[key] = begun
            case events.OptimizerBuilt(optimizer=key, continues=before):
                again = bool(before) and places.get(before) == event.place
                short = steps.get(before, 0) == 1 or last.get(before, 0) - first.get(before, 0) == 1
                places[key], first[key] = event.place, begun
                lost = event.lost if again and short else 0
                message = f"{event.kind} is new to its {event.parameters} parameters"
                if lost:
                    message = (
                        f"another {event.kind} had taken {steps[before]} steps with these {event.parameters} "
                        f"parameters; what it remembered of {lost} of them is gone"
                    )
                yield Measurement(what, lost, 0, unit, lost > 0, event.place, message)
