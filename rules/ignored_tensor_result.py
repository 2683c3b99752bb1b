"""A tensor operation whose result is thrown away: tensors are not changed by it.

## What it finds
`x.clamp(0, 1)`, `x.view(-1, 8)`, `x.unsqueeze(0)`, `torch.clamp(x, 0, 1)` and the like as a statement of its own, and
`x.requires_grad_` or `x.zero_` without a call. The finding stands at the statement. Moves and conversions
(`x.to(device)`) are the rule `tensor-move-discarded`.

## Why it hurts
These operations return a new tensor, or a new view, and leave the old one as it is. The statement does
nothing: values stay out of range, the shape stays what it was and broadcasting makes something else of the next
operation, the mask is never applied. Nothing fails, so nothing is noticed.

## Example
Wrong:

```python
import torch

for step in range(10):
    x = torch.randn(8, 4)
    x.clamp(0, 1)
    train(x)
```

Right:

```python
import torch

for step in range(10):
    x = torch.randn(8, 4)
    x = x.clamp(0, 1)
    train(x)
```

## Fix and its safety
Assigns the result to the name it was called on, or calls the method. Unsafe: the values that follow change, as they
were meant to. Other statements (`self.layer(x).view(-1)`) get no fix.

## Known limits
Quiet unless it is certainly a tensor; `unsqueeze`, `permute`, `masked_fill` and `view` with numbers are enough to say
so. Quiet in a `try` and under `pytest.raises`, where only the error matters, in functions that measure time
or test, with `out=`, for the last line of a notebook cell, and in the straight code of a script that only shows
what operations do (no model is given the tensor). Reductions and matrix products as a statement (`a @ b` to warm
up) are not looked at.

## Proof
In a real run the tensor is compared with the result that nothing kept: shape, layout and values. The pitfall shows
a result that differs and is lost; healthy is 0. Functions of torch and methods that are not called cannot be watched.

## References
- torch.Tensor: In-place and out-of-place operations: https://docs.pytorch.org/docs/stable/tensors.html
- torch.Tensor.clamp: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.clamp.html
- Tensor views: https://docs.pytorch.org/docs/stable/tensor_view.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Discarded, Forward, Root, Tensor, may_be_same
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {"torch"},
    {"clamp", "clip", "view", "reshape", "squeeze", "transpose", "permute", "softmax", "masked_fill", "requires_grad_"}
    | {
        "flatten",
        "expand",
        "repeat",
        "relu",
        "sigmoid",
        "tanh",
        "add",
        "mul",
        "sub",
        "div",
        "abs",
        "normalize",
        "round",
    },
]
fixable = "sometimes"

_MEASURING = ("bench", "test", "warm", "profil", "time", "check", "assert", "valid")


def check(facts: Facts) -> Iterator[Finding]:
    for root in [*facts.roots, *(one for _, one in facts.forwards)]:
        for event in root.of(Discarded):
            if not event.pure or event.tried or not _certain(event) or _measures(event) or _shown(root, event):
                continue
            name = event.receiver_text
            if not event.called:
                yield Finding(
                    event.site,
                    f"`{name}.{event.method}` is not called",
                    f"Without parentheses the statement does nothing: `{name}` is what it was before.",
                    fix=Fix("Call it", Safety.UNSAFE, (Around(event.site, after="()"),))
                    if event.method in ("requires_grad_", "zero_", "detach_")
                    else None,
                )
                continue
            call = facts.text(event.site).partition("(")[0] if event.function else f"{name}.{event.method}"
            yield Finding(
                event.site,
                f"the result of `{call}()` is thrown away",
                f"Tensors are not changed by it: `{name}` is what it was before.",
                fix=Fix(f"Assign the result to `{name}`", Safety.UNSAFE, (Around(event.site, before=f"{name} = "),))
                if event.alone
                else None,
            )


def _certain(event: Discarded) -> bool:
    """True when it is certainly a tensor; of what is not known, the method must say it."""
    if not event.receiver_text:
        return False
    return event.evident or all(isinstance(o, Tensor) and o.certain for o in event.receiver.options())


def _shown(root: Root, event: Discarded) -> bool:
    """True for a line of a script that shows what the operation is; a line that prepares a model's input is none."""
    if event.frame.function is not None or event.loops:
        return False
    given = [a for f in root.of(Forward) for a in [*f.arguments, *f.keywords.values()]]
    return not any(may_be_same(event.receiver, one) for one in given)


def _measures(event: Discarded) -> bool:
    names = " ".join(frame.name for frame in event.frame.stack()).lower()
    return any(word in names for word in _MEASURING)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "results thrown away", "tensors"
    for one in trace.of(events.Computed):
        lost = one.discarded and one.differs
        message = f"the result of .{one.method}() was kept, or is what the tensor was before"
        if lost:
            message = f"the result of .{one.method}() differs from the tensor, and nothing kept it"
        yield Measurement(what, int(lost), 0, unit, lost, one.place, message)
