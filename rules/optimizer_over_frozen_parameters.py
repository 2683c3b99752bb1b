"""Everything that an optimizer holds is frozen, so none of its steps changes anything.

## What it finds
An optimizer over models whose parameters all have `requires_grad = False` by then: set in a loop over
`model.parameters()`, by `model.requires_grad_(False)`, or by a helper of the file such as `freeze(model)`; or over
tensors that were made without `requires_grad=True`. The finding stands at the call that builds the optimizer; a second
location shows where they were frozen.

## Why it hurts
A parameter that requires no gradient gets none, and an optimizer passes over what has none. Where nothing else in the
loss requires gradients `backward()` raises; where something does, the training runs to its end and moves nothing. The
usual way there: a pretrained network is frozen as a whole, and the new head that was to be trained is frozen with it.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
for parameter in model.parameters():
    parameter.requires_grad = False
optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
for inputs, labels in batches:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
for parameter in model[0].parameters():
    parameter.requires_grad = False
optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
for inputs, labels in batches:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
```

## Fix and its safety
No fix: what is to be trained is for the author to say.

## Known limits
Quiet where the freezing depends on a condition or reaches a part only, where a part of the model was exchanged after
it, where anything is unfrozen or a group is added later, where gradients are written by hand (`w.grad = ...`),
where there is no backward pass (a schedule that is drawn), and where code out of sight is handed the model or
the optimizer.

## Proof
In a real run the parameters that require gradients are counted when the optimizer is built; the harm is that there are
none, and that no step of it finds a gradient.

## References
- Autograd mechanics: Setting requires_grad: https://docs.pytorch.org/docs/stable/notes/autograd.html#setting-requires-grad
- torch.optim: Constructing it: https://docs.pytorch.org/docs/stable/optim.html#constructing-it
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import holdings, related, set_by_loops, trainable_after, trainable_at_first
from torchlint.facts import (
    Backward,
    Evidence,
    Module,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    ParamGroupAdded,
    RequiresGradSet,
    Root,
    Tensor,
    UnknownCall,
    Value,
    ZeroGrad,
    may_be_same,
    only,
    walk,
)
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"optim", "Adam", "AdamW", "SGD", "RMSprop", "Adagrad"}, {"step"}, {"torch"}]


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for built in root.of(OptimizerBuilt):
            one = only(built.optimizer)
            if not isinstance(one, Optimizer) or one.evidence is not Evidence.MADE or not root.complete:
                continue
            held = holdings(built.optimizer)
            if not held or not all(_frozen(root, built, value) for value in held) or not _goes_on(root, built, held):
                continue
            where = [e for e in root.of(RequiresGradSet) if any(related(t, h) for t in e.targets for h in held)]
            names = ", ".join(dict.fromkeys(f"`{value.name}`" for value in held if value.name))
            name = f"`{built.optimizer.name}`" if built.optimizer.name else "the optimizer"
            why = "is frozen" if where else "was made without `requires_grad=True`"
            yield Finding(
                built.site,
                f"all that {name} holds of {names or 'its model'} {why}",
                "Nothing that it holds gets a gradient, so none of its steps changes anything.",
                related=tuple(("frozen here", event.site) for event in where[-1:]),
            )


def _frozen(root: Root, built: OptimizerBuilt, held: Value) -> bool:
    """True when on every way to the optimizer all of `held` certainly requires no gradients."""
    first = trainable_at_first(held)
    if first == "unknown" and not isinstance(only(held), (Module, Tensor)):
        return False
    if first != "frozen" and not any(e.whole and e.to is False for e in root.of(RequiresGradSet)):
        return False
    loops = set_by_loops(root)
    met = walk([root.entry], first, lambda state, event: trainable_after(state, event, held, loops))
    return met.get(built) == {"frozen"}


def _goes_on(root: Root, built: OptimizerBuilt, held: list[Value]) -> bool:
    """True when the optimizer is stepped after a backward pass, and nothing can give it something to train."""
    met = walk(built.next, "", lambda state, event: state)
    for event in met:
        match event:
            case RequiresGradSet(to=to, targets=targets):
                if to is not False and any(related(t, h) for t in targets for h in held):
                    return False
            case ParamGroupAdded():
                return False
            case UnknownCall():
                if event.touches(built.optimizer, *held):
                    return False
            case ZeroGrad(target=target):  # `w.grad = ...`: gradients that are written by hand
                one_by_one = not any(isinstance(o, (Module, Optimizer)) for o in target.options())
                if one_by_one and any(related(target, h) for h in held):
                    return False
    passes = [event for event in met if isinstance(event, Backward)]
    steps = (e for e in met if isinstance(e, OptimizerStep) and may_be_same(e.optimizer, built.optimizer))
    return any(_together(step, one) for step in steps for one in passes)


def _together(step: OptimizerStep, one: Backward) -> bool:
    return bool(set(step.loops) & set(one.loops)) if step.loops else step.frame is one.frame


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters of the optimizer that require gradients", "parameters"
    refused = [one for one in trace.of(events.Raised) if "does not require grad" in one.message]
    for built in trace.of(events.OptimizerBuilt):
        steps = [one for one in trace.of(events.OptimizerStep) if one.optimizer == built.optimizer]
        idle = built.parameters > 0 and not built.trainable and not any(one.gradients for one in steps)
        tried = any(one.number > built.number for one in trace.of(events.Backward)) or refused
        if not (steps or (idle and refused)) or not tried:
            continue
        message = f"{built.trainable} of its {built.parameters} parameters require gradients"
        if idle:
            message += f"; {len(steps)} steps found no gradient" if steps else f"; torch: {refused[0].message}"
        yield Measurement(what, max(built.trainable, 0), built.parameters, unit, idle, built.place, message)
