"""A parameter or layer is replaced after an optimizer was built over the old one, so the new one is never updated.

## What it finds
`model.fc.weight = nn.Parameter(...)`, `model.fc = nn.Linear(...)`, `model[2] = nn.Linear(...)` or
`setattr(model, "fc", nn.Linear(...))` after `optimizer = SGD(model.parameters())`, when that optimizer goes
on to step and has neither been built anew nor been given the new parameters. The finding stands at the
assignment; a second location shows where the optimizer took its parameters.

## Why it hurts
An optimizer holds the parameter objects themselves, not their names. The assignment puts a new object into
the model: the forward pass uses it, the backward pass gives it a gradient, and no optimizer ever moves it.
The layer keeps its first random values while everything around it adapts, and the loss still falls. A head
that was exchanged for fine-tuning stays untrained.

## Example
Wrong:

```python
import torch
from torch import nn

net = nn.Linear(784, 512)
opt = torch.optim.SGD(net.parameters(), lr=0.01)
net.weight = nn.Parameter(torch.ones([512, 784]))
for x in batches:
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    opt.step()
```

Right:

```python
import torch
from torch import nn

net = nn.Linear(784, 512)
opt = torch.optim.SGD(net.parameters(), lr=0.01)
with torch.no_grad():
    net.weight.copy_(torch.ones([512, 784]))
for x in batches:
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    opt.step()
```

Right, and often simplest: replace first, then build the optimizer.

## Fix and its safety
A parameter: its values are copied into the one that the optimizer holds, under `torch.no_grad()`. Safe: the
forward pass computes the same, and only the updates that were lost are no longer lost. Values of another
shape would raise at that line. A layer: its parameters are added with `optimizer.add_param_group(...)`, where
the optimizer has a name there. Unsafe: the group takes the optimizer's default settings, and the old layer
stays in the optimizer. Other forms (`setattr`, a helper that has no name for the optimizer) get no fix.

## Known limits
Right, and not reported: `.data = ...`, `copy_`, `load_state_dict`, `.to(device)`, wrapping the model, weight
tying in a constructor, attributes that are no layers, layers without parameters, a replacement in a model
that the optimizer does not hold. Quiet when the optimizer was built from something other than `parameters()`
of a model in sight, when the new value is not certainly a new parameter or layer, and when model or optimizer
are handed to code of another file in between.

## Proof
In a real run the identity of every parameter is compared with those in `optimizer.param_groups`. The pitfall
shows parameters that have a gradient, are in no group and have not moved; healthy is none.

## References
- torch.optim: How to use an optimizer: https://docs.pytorch.org/docs/stable/optim.html
- torch.optim.Optimizer.add_param_group: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.add_param_group.html
- torch.nn.parameter.Parameter: https://docs.pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_mend
from torchlint.facts import (
    AttributeSet,
    Event,
    Module,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    Root,
    Tensor,
    Value,
    certainly,
    may_be_same,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, InsertBefore, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"optim", "Adam", "SGD", "optimizer"}, {"step"}, {"Parameter", "nn", "torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        helpers: set[tuple[object, Value]] = set()
        for change in root.of(AttributeSet):
            if not root.complete or not _new_and_trainable(facts, change) or change.previous is None:
                continue
            built = _left_behind(root, change)
            if built is None or (change.frame, built.optimizer) in helpers:
                continue
            if change.frame is not built.frame:
                helpers.add((change.frame, built.optimizer))  # a helper that replaces several is one mistake: its call
            optimizer = f"`{built.optimizer.name}`" if built.optimizer.name else "the optimizer"
            yield Finding(
                change.site,
                f"{_target(change)} after {optimizer} was built over the old one",
                f"The new one gets gradients but is never updated: {optimizer} holds the old one.",
                related=((f"{optimizer} takes its parameters here", built.site),),
                fix=_fix(facts, change, built),
            )


def _target(change: AttributeSet) -> str:
    if change.attribute == "*":
        return f"each parameter of `{change.owner.name}` is replaced"
    target = change.spelling or f"{change.owner.name}.{change.attribute}".replace(".[", "[")
    return f"`{target}` is replaced"


def _new_and_trainable(facts: Facts, change: AttributeSet) -> bool:
    """True when what is assigned is certainly a parameter, or a module with some, made anew."""
    for value in change.value.options():
        match value:
            case Tensor(parameter=True) if value.site is not None and value.graph:
                continue
            case Module() if value.site is not None and facts.has_parameters(value) and not _was_there(value, change):
                continue
        return False
    return certainly(change.owner, Module)


def _was_there(value: Module, change: AttributeSet) -> bool:
    """True for a part that the owner's own constructor made: put aside before, and now put back."""
    maker = value.site.function if value.site is not None else None
    return maker is not None and maker.name == "__init__" and maker is not change.site.function


def _left_behind(root: Root, change: AttributeSet) -> OptimizerBuilt | None:
    """The optimizer that certainly was built before the change, and steps after it without the new parameter."""
    for built in root.of(OptimizerBuilt):
        if not certainly(built.optimizer, Optimizer) or not _held(built.optimizer, change):
            continue

        def before(state: str, event: Event, built: OptimizerBuilt = built) -> str:
            return "built" if event is built else state

        if walk([root.entry], "none", before).get(change) != {"built"}:
            continue

        def after(state: str, event: Event, built: OptimizerBuilt = built) -> str | None:
            if isinstance(event, AttributeSet) and _same_place(event, change):
                return None  # and again: what counts is the last
            return None if may_mend(event, built.optimizer) else state

        met = walk(change.next, "stale", after)
        if any(isinstance(e, OptimizerStep) and may_be_same(e.optimizer, built.optimizer) for e in met):
            return built
    return None


def _same_place(event: AttributeSet, other: AttributeSet) -> bool:
    return event.attribute == other.attribute and may_be_same(event.owner, other.owner)


def _held(optimizer: Value, change: AttributeSet) -> bool:
    """True when the optimizer certainly held what stood there before, and does not hold the new value."""
    for one in optimizer.options():
        parameters = one.parameters if isinstance(one, Optimizer) else None
        if parameters is None or parameters.open or any(may_be_same(o, change.value) for o in parameters.of):
            return False
        whole = [
            o
            for o in parameters.of
            if parameters.whole and (may_be_same(o, change.owner) or change.owner.reached_from([o]))
        ]
        old = [o for o in parameters.of if change.previous is not None and may_be_same(o, change.previous)]
        if not whole and not old:
            return False
    return True


def _fix(facts: Facts, change: AttributeSet, built: OptimizerBuilt) -> Fix | None:
    value = change.value.options()[0]
    no_grad = facts.spell("torch.no_grad")
    if not change.spelling:
        return None
    if isinstance(value, Tensor) and value.data is not None and no_grad is not None:
        copied = f"    {change.spelling}.copy_({facts.text(value.data)})"
        return Fix(
            "Copy the values into the parameter that the optimizer holds",
            Safety.SAFE,
            (InsertBefore(change.site, (f"with {no_grad}():",)), Replace(change.site, copied)),
        )
    if isinstance(value, Module) and built.frame is change.frame and built.optimizer.name.isidentifier():
        group = f'{built.optimizer.name}.add_param_group({{"params": {change.spelling}.parameters()}})'
        return Fix("Give the new parameters to the optimizer", Safety.UNSAFE, (InsertAfter(change.site, (group,)),))
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "new weights no optimizer moves", "parameters"
    steps = list(trace.of(events.OptimizerStep))
    for replaced in trace.of(events.ParameterReplaced):
        later = [one for step in steps if step.number > replaced.number for one in step.orphans]
        last = {one.parameter: one for one in later if one.parameter in replaced.gained}
        lost = [one for one in last.values() if one.gradient and not one.held and not one.distance]
        message = "an optimizer holds what was put in its place"
        if lost:
            count = sum(one.parameter == lost[0].parameter for one in later)
            message = (
                f"{lost[0].name} has a gradient of norm {lost[0].gradient:.3g}, is in no optimizer and did not move in "
                f"{count} steps"
            )
        if last:
            yield Measurement(what, len(lost), 0, unit, bool(lost), replaced.place, message)
    if not any(trace.of(events.ParameterReplaced)):
        for step in steps:
            if step.unheld is not None:
                yield Measurement(what, 0, 0, unit, False, step.place, "no parameter of an optimizer was replaced")
