"""Gradients are switched off by a statement, never switched on again, and training goes on.

## What it finds
`torch.set_grad_enabled(False)` as a statement of its own, followed by a training step with no
`set_grad_enabled(True)` in between; and a function that leaves gradients switched off where its neighbours in the
same file switch them on again. The finding stands at the statement.

## Why it hurts
As a statement it holds for the rest of the program, not for a block. An evaluation between two epochs ends the
training: the next backward pass finds no graph and torch stops, or, where nothing asks for one, later code works
without gradients and nobody knows why.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
torch.set_grad_enabled(False)
print(model(torch.randn(4, 8)))
for x, y in batches:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with torch.no_grad():
    print(model(torch.randn(4, 8)))
for x, y in batches:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
```

## Fix and its safety
No fix: how far the part without gradients was to reach is not written anywhere.

## Known limits
Quiet where training is in code that cannot be seen, and about scripts that only predict. A function that leaves
gradients off is told of only where another one of the file switches them off and on again.

## Proof
The program is run: torch refuses a backward pass whose forward pass ran without gradients, after such a statement.
Healthy are backward passes that run after it.

## References
- torch.set_grad_enabled: https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad_mode.set_grad_enabled.html
- torch.no_grad: https://docs.pytorch.org/docs/stable/generated/torch.no_grad.html
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from torchlint.effects import asked_for_gradient, without_gradients
from torchlint.facts import Backward, FunctionInfo, Grad, GradSwitched, walk
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"set_grad_enabled"}]

_FOR_GOOD = "It holds for the rest of the program: the training that follows has no gradients."


def check(facts: Facts) -> Iterator[Finding]:
    told: set[object] = set()
    for root in facts.roots:
        for event in root.of(Backward):
            cut = without_gradients(event.loss)
            if cut is None or cut.by != "statement" or cut.switched is None or asked_for_gradient(root, event.loss):
                continue
            told.add(cut.switched.node)
            yield Finding(
                cut.switched,
                f"`{facts.text(cut.switched)}` is still in force when `backward()` is called",
                _FOR_GOOD,
                related=(("this backward pass finds no graph", event.site),),
            )
    for left in _left_off(facts):
        function = left.site.function
        if function is not None and left.site.node not in told:
            yield Finding(
                left.site,
                f"`{function.name}` leaves gradients switched off: `{facts.text(left.site)}` is never undone",
                "It holds for the rest of the program: what is trained after it has no gradients.",
            )


def _left_off(facts: Facts) -> list[GradSwitched]:
    """The statements that are never undone in their function, where other functions of the file do undo theirs."""
    undone: set[FunctionInfo] = set()
    left: dict[FunctionInfo, GradSwitched] = {}
    for root in facts.roots:
        switches = [event for event in root.of(GradSwitched) if event.site.function is not None]
        for event in switches:
            function = event.site.function
            if function is None or event.mode is not Grad.OFF:
                continue
            later = walk(event.next, "off", lambda state, _: state)
            if any(other in later and other.site.function is function for other in switches if other is not event):
                undone.add(function)
            else:
                left[function] = event
    return [event for function, event in left.items() if function not in undone] if undone else []


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "backward passes without a graph", "passes"
    switches = list(trace.of(events.GradSwitched))
    refused = [one for one in trace.of(events.Raised) if "does not require grad" in one.message]
    for place, following in zip_longest(switches, switches[1:]):
        if place.enabled:
            continue
        inside = [
            one
            for one in trace.of(events.Forward)
            if one.parameters and one.number > place.number and (following is None or one.number < following.number)
        ]
        lost = following is None and bool(refused) and bool(inside) and not inside[-1].grad_enabled
        message = "gradients were switched on again before a backward pass"
        if lost:
            message = f"gradients were still off when torch said: {refused[0].message.splitlines()[0]}"
        also = (refused[0].place,) if lost else ()
        yield Measurement(what, int(lost), 0, unit, lost, place.place, message, also=also)
