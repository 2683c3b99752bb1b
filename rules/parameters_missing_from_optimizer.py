"""A module is part of what is trained, and no optimizer has its parameters.

## What it finds
A module with parameters, made in the file, that is called in a training loop and reached by its `backward()`, where no
optimizer of the program holds it: a second network, an embedding, a loss with weights of its own. The finding stands
at the call that builds the optimizer that steps in this loop; a second location shows where the module is called.

## Why it hurts
Its gradients are computed and added up in every round, and nothing ever uses them: the module stays at its random
start. The rest of the network adapts to it, so the loss falls, only not as far.

## Example
Wrong:

```python
import torch
from torch import nn

encoder, head = nn.Linear(8, 16), nn.Linear(16, 1)
optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
for inputs, targets in batches:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(head(encoder(inputs)), targets)
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn

encoder, head = nn.Linear(8, 16), nn.Linear(16, 1)
optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
for inputs, targets in batches:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(head(encoder(inputs)), targets)
    loss.backward()
    optimizer.step()
```

Right too, where it is not to be trained: `head.requires_grad_(False)`, which says so and saves the work.

## Fix and its safety
The module's parameters are added to the argument, where that is written out as `model.parameters()` and the module has
a name there; elsewhere there is no fix. Unsafe: the module is trained from then on.

## Known limits
Quiet where the module may be left alone on purpose: it is frozen (in part or in whole), in evaluation mode, loaded,
called without gradients, its parameters are changed by hand, its name says so (`target`, `teacher`, `frozen`); where it
is handed to code out of sight; and where some optimizer may hold more than can be seen.

## Proof
In a real run the parameters with a gradient are counted of modules in training of which no optimizer holds any,
and that nothing else has written to; healthy is 0.

## References
- torch.optim: How to use an optimizer: https://docs.pytorch.org/docs/stable/optim.html
- Autograd mechanics: Setting requires_grad: https://docs.pytorch.org/docs/stable/notes/autograd.html#setting-requires-grad
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import doubly_held, left_out, repeated_together
from torchlint.facts import Event, Forward, Module, OptimizerBuilt, OptimizerStep, Root, may_be_same
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"optim", "Adam", "AdamW", "SGD", "RMSprop", "Adagrad"}, {"backward"}, {"step"}]
fixable = "sometimes"

_LEFT_ALONE = ("target", "teacher", "frozen", "fixed", "ema", "random", "prior", "oracle", "reference", "pretrained")


def check(facts: Facts) -> Iterator[Finding]:
    everything = facts.everything
    if any(doubly_held(everything)) or not all(root.complete for root in facts.roots):
        return
    told: set[tuple[object, object]] = set()
    for root in facts.roots:
        for module, forward in left_out(facts.has_parameters, everything, root):
            built = _optimizer_of(everything, root, forward)
            name = module.name or forward.spelling
            if built is None or not name or any(word in name.lower() for word in _LEFT_ALONE):
                continue
            if (built.site.node, module.site and module.site.node) in told:
                continue
            told.add((built.site.node, module.site and module.site.node))
            optimizer = f"`{built.optimizer.name}`" if built.optimizer.name else "this optimizer"
            yield Finding(
                built.site,
                f"`{name}` is part of what is trained, and neither {optimizer} nor another holds its parameters",
                f"It gets gradients and never moves: `{name}` stays as it was made.",
                related=((f"`{name}` is called here", forward.site),),
                fix=_fix(facts, built, module),
            )


def _optimizer_of(everything: list[Event], root: Root, forward: Forward) -> OptimizerBuilt | None:
    """The optimizer that was built last of those that are stepped together with a call."""
    steps = [step for step in root.of(OptimizerStep) if repeated_together(step, forward)]
    found = None
    for built in everything:
        if isinstance(built, OptimizerBuilt) and any(may_be_same(step.optimizer, built.optimizer) for step in steps):
            found = built
    return found


def _fix(facts: Facts, built: OptimizerBuilt, module: Module) -> Fix | None:
    text = facts.text(built.argument) if built.argument is not None else ""
    if not text.endswith(".parameters()") or text.count("(") != 1 or module.name not in built.bound:
        return None
    assert built.argument is not None
    change = Replace(built.argument, f"[*{text}, *{module.name}.parameters()]")
    return Fix(f"Give the parameters of `{module.name}` to it too", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters with a gradient and no optimizer", "parameters"
    last: dict[int, events.Holdings] = {}
    for one in trace.of(events.Holdings):
        last[one.optimizer] = one
    for one in last.values():
        lost = one.left_out if not one.shared else 0
        message = "every module in training is in an optimizer"
        if lost:
            message = (
                f"{lost} parameters of {one.of} have a gradient of norm {one.norm:.3g}, no optimizer, and never move"
            )
        yield Measurement(what, lost, 0, unit, lost > 0, one.place, message)
