"""A hand-written update replaces the leaf by a tensor that is none: its gradient is gone in the next step.

## What it finds
`w = w - lr * w.grad` in a loop with `backward()`, where `w` certainly is a tensor that was made with
`requires_grad=True`, and the next round begins with the new `w`. The finding stands at the assignment.

## Why it hurts
The assignment does not change the tensor, it makes another one. With autograd recording, that one is a step in the
graph and no leaf: `backward()` leaves no gradient in it, `w.grad` is None, and the second update raises a TypeError.
Under `no_grad` it has no graph at all, and the second `backward()` raises.

## Example
Wrong:

```python
import torch

w = torch.ones(3, requires_grad=True)
for _ in range(2):
    (w * w).sum().backward()
    w = w - 0.1 * w.grad
```

Right:

```python
import torch

w = torch.ones(3, requires_grad=True)
for _ in range(2):
    (w * w).sum().backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
    w.grad = None
```

## Fix and its safety
The new value is copied into the leaf under `torch.no_grad()`, and the gradient is cleared where nothing in the loop
clears it. Unsafe: other names for the old tensor see the new values from then on. No fix where the
new value or `torch.no_grad` cannot be written there.

## Known limits
Quiet where `requires_grad_()` or `requires_grad = True` is set on the new tensor, where `retain_grad` is used, and
about updates with what `torch.autograd.grad` returned, which is how meta-learning is written. Lists of tensors are
not looked into.

## Proof
In a real run torch's own warning that `.grad` of a non-leaf is read, and the errors that follow from it, are
counted; healthy is 0.

## References
- torch.Tensor.is_leaf: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.is_leaf.html
- torch.Tensor.grad: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.grad.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Backward, Grad, LeafReplaced, RequiresGradSet, Root, ZeroGrad, computed_from
from torchlint.rule import Change, Facts, Finding, Fix, Group, InsertAfter, InsertBefore, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"grad"}, {"backward"}, {"requires_grad", "requires_grad_"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if "retain_grad" in facts.words:
        return
    for root in facts.roots:
        for event in root.of(LeafReplaced):
            if not event.kept or event.grad is Grad.UNKNOWN or _is_made_a_leaf(root, event):
                continue
            loop = event.loops[-1]
            if not any(b.inside(loop) for b in root.of(Backward)):
                continue
            name = event.spelling
            raised = "`.grad` is None in the next round." if event.grad is not Grad.OFF else "The next backward raises."
            yield Finding(
                event.site,
                f"`{facts.text(event.site)}` replaces `{name}` by a tensor that is no leaf",
                f"The tensor that gathers the gradients is not updated, but left behind. {raised}",
                fix=_fix(facts, root, event),
            )


def _is_made_a_leaf(root: Root, event: LeafReplaced) -> bool:
    return any(event.total in computed_from(target) for e in root.of(RequiresGradSet) for target in e.targets)


def _fix(facts: Facts, root: Root, event: LeafReplaced) -> Fix | None:
    no_grad, name = facts.spell("torch.no_grad"), event.spelling
    if no_grad is None or event.value_site is None:
        return None
    copied = f"{name}.copy_({facts.text(event.value_site)})"
    changes: list[Change] = []
    if event.grad is not Grad.OFF:
        changes.append(InsertBefore(event.site, (f"with {no_grad}():",)))
        copied = f"    {copied}"
    changes.append(Replace(event.site, copied))
    if not any(z.inside(event.loops[-1]) for z in root.of(ZeroGrad)):
        changes.append(InsertAfter(event.site, (f"{name}.grad = None",)))
    return Fix("Copy the new value into the leaf", Safety.UNSAFE, tuple(changes))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients that were asked of a tensor that is no leaf", "gradients"
    for event in trace.events:
        match event:
            case events.Warned() if "not a leaf Tensor is being accessed" in event.message:
                yield Measurement(what, 1, 0, unit, True, event.place, event.message.splitlines()[0][:160])
            case events.Backward():
                yield Measurement(what, 0, 0, unit, False, event.place, "gradients were asked of leaves only")
