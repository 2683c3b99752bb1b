"""A parameter is changed in place while autograd records, which torch refuses.

## What it finds
`w -= lr * w.grad`, `p.add_(p.grad, alpha=-lr)`, `self.weight.uniform_(-1, 1)`, `w[0] = 0`, `torch.add(a, b, out=w)`
outside of `torch.no_grad()`, where `w` certainly is an `nn.Parameter`, an item of `model.parameters()`, or a tensor
made with `requires_grad=True`. The finding stands at the statement.

## Why it hurts
A leaf that requires grad must not change while a graph may hold on to it: torch raises a RuntimeError. In a
constructor no object can be built; in a training loop the first update ends the program.

## Example
Wrong:

```python
import torch

w = torch.ones(3, requires_grad=True)
(w * w).sum().backward()
w -= 0.1 * w.grad
```

Right:

```python
import torch

w = torch.ones(3, requires_grad=True)
(w * w).sum().backward()
with torch.no_grad():
    w -= 0.1 * w.grad
```

## Fix and its safety
The statement is put under `torch.no_grad()`. Safe: the program stops there as it is.

## Known limits
Right, and not reported: updates under `no_grad` of this function or of one that calls it, through `.data`, by
`nn.init`, and of parameters that were frozen before. Quiet in functions that only code out of sight calls, unless
they also call `backward()`: the caller may have switched recording off.

## Proof
In a real run torch's refusal is counted; healthy is 0.

## References
- torch.no_grad: https://docs.pytorch.org/docs/stable/generated/torch.no_grad.html
- Autograd mechanics: In-place operations with autograd: https://docs.pytorch.org/docs/stable/notes/autograd.html#in-place-operations-with-autograd
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import related
from torchlint.facts import Backward, Grad, LeafChanged, RequiresGradSet, Root, Tensor, UnknownCall
from torchlint.rule import Facts, Finding, Fix, Group, Safety, Wrap

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {"Parameter", "parameters", "named_parameters", "requires_grad", "requires_grad_", "weight", "bias"},
    {"torch"},
]
fixable = "safe"


def check(facts: Facts) -> Iterator[Finding]:
    no_grad = facts.spell("torch.no_grad")
    for root in [*facts.roots, *(root for _, root in facts.constructions)]:
        built = root not in facts.roots
        for event in root.of(LeafChanged):
            if event.grad not in (Grad.DEFAULT, Grad.ON) or not _records(root, event, built):
                continue
            fix = None
            if no_grad is not None:
                header = f"with {no_grad}():"
                fix = Fix(f"Do it under `{no_grad}()`", Safety.SAFE, (Wrap(event.site, header),))
            yield Finding(
                event.site,
                f"`{facts.text(event.site)}` changes `{event.spelling}` in place while autograd records",
                "torch raises a RuntimeError: a leaf that requires grad must not change while a graph may need it.",
                fix=fix,
            )


def _records(root: Root, event: LeafChanged, built: bool) -> bool:
    """True when autograd certainly records there, and the leaf has not been frozen."""
    trained = any(root.of(Backward))
    if not (built or trained or root.frame.function is None):
        return False  # its callers are out of sight
    if not isinstance(event.target, Tensor) and built:
        return False
    if any(e.to is not True and any(related(t, event.target) for t in e.targets) for e in root.of(RequiresGradSet)):
        return False
    return event.by_gradient or not any(e.touches(event.target) for e in root.of(UnknownCall))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "changes in place that torch refused", "changes"
    refusals = (
        "a leaf Variable that requires grad is being used in an in-place",
        "functions with out=... arguments don't",
    )
    for event in trace.events:
        match event:
            case events.Raised(kind="RuntimeError") if any(text in event.message for text in refusals):
                yield Measurement(what, 1, 0, unit, True, event.place, event.message.splitlines()[0])
            case events.Backward():
                yield Measurement(what, 0, 0, unit, False, event.place, "torch refused nothing")
