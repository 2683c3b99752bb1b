"""The result of moving or converting a tensor is thrown away.

## What it finds
`x.to(device)`, `.cuda()`, `.cpu()`, `.float()`, `.half()`, `.double()`, `.long()`, `.detach()` and the like
as a statement of their own, on what is certainly a tensor. The finding stands at the statement.

## Why it hurts
`Module.to` changes the module; `Tensor.to` returns a new tensor and leaves the old one as it is. The
statement does nothing: the batch stays on the CPU and the next line fails on a GPU, the dtype stays what it
was, the graph is not cut and the next backward pass runs through it a second time.

## Example
Wrong:

```python
import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
x = torch.randn(8, 4)
x.to(device)
```

Right:

```python
import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
x = torch.randn(8, 4)
x = x.to(device)
```

## Fix and its safety
Assigns the result to the name it was called on. Safe: the statement has no effect as it is, and what follows
was written as if it had one. There is no fix where several calls share one statement.

## Known limits
Quiet unless the receiver is certainly a tensor: modules, graphs, batches of text and storages of other
libraries move in place, and a function parameter could be any of them. Quiet about tensors made only to wake
the device (`torch.zeros(1).to(device)`), and about methods with an underscore. Other methods whose result is
thrown away (`x.clamp(0, 1)`, `x.view(...)`) are not this rule's.

## Proof
In a real run, or on a pretended accelerator, a move or conversion that made another tensor which nothing kept
is counted; healthy is 0. Where the tensor has the right device and dtype already, nothing is lost and the run
says *harmless here*.

## References
- torch.Tensor.to: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.to.html
- torch.Tensor.detach: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html
- torch.nn.Module.to: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Discarded, Tensor
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {".to(", ".cuda(", ".cpu(", ".float(", ".half(", ".double(", ".detach(", ".long(", ".int(", ".bool(", ".type("},
    {"torch"},
]
fixable = "sometimes"
accelerator = True  # its proof needs one, or the pretence of one


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for event in root.of(Discarded):
            if (
                event.pure
                or not event.receiver_text
                or not all(isinstance(o, Tensor) and o.certain for o in event.receiver.options())
            ):
                continue
            name = event.receiver_text
            yield Finding(
                event.site,
                f"the result of `{name}.{event.method}()` is thrown away",
                f"Tensors are not changed in place by it: `{name}` is what it was before.",
                fix=Fix(f"Assign the result to `{name}`", Safety.SAFE, (Around(event.site, before=f"{name} = "),))
                if event.alone
                else None,
            )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "conversions thrown away", "tensors"
    for move in trace.of(events.Moved):
        lost = move.discarded and move.before != move.after
        message = f"the result of .{move.method}() was kept, or changed nothing"
        if lost:
            message = (
                f"the tensor is still {move.before}: .{move.method}() made another, {move.after}, which was thrown away"
            )
        yield Measurement(what, int(lost), 0, unit, lost, move.place, message)
