"""A loss that was computed without gradients is asked for them: the training step stands under `no_grad`.

## What it finds
`loss.backward()` where the forward pass certainly ran under `torch.no_grad()`, `torch.inference_mode()` or a
decorator of that kind. The finding stands at the backward pass; a second location shows where gradients are
switched off. Gradients that a statement switched off for good are the rule `grad-mode-not-restored`.

## Why it hurts
Under `no_grad` the model computes and remembers nothing, so the loss has no graph. torch stops with "element 0 of
tensors does not require grad". Nothing is trained at all.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    with torch.no_grad():
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
for x, y in batches:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
```

## Fix and its safety
Writes `torch.enable_grad()` in place of `torch.no_grad()` in a `with` statement. Unsafe: what else stands in
the block then records a graph too. A decorator gets no fix.

## Known limits
Quiet unless every part of the loss is certainly without a graph: a loss computed in another file, a model that
switches gradients on in itself, and `loss.requires_grad_()` are let pass. A backward pass under `no_grad` whose
forward pass had gradients is right, and works.

## Proof
The program is run: torch refuses the backward pass, and the last forward pass before it ran without gradients. Healthy
are backward passes that run.

## References
- torch.no_grad: https://docs.pytorch.org/docs/stable/generated/torch.no_grad.html
- Autograd mechanics: Locally disabling gradient computation: https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import asked_for_gradient, without_gradients
from torchlint.facts import Backward, Cut
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward"}, {"no_grad", "inference_mode", "set_grad_enabled"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    healthy = {b.site.node for root in facts.roots for b in root.of(Backward) if without_gradients(b.loss) is None}
    for root in facts.roots:
        for event in root.of(Backward):
            cut = without_gradients(event.loss)
            if cut is None or cut.switched is None or cut.by == "statement" or asked_for_gradient(root, event.loss):
                continue
            if event.site.node in healthy:
                continue  # another call of the same code brings a graph: which of them gets here is decided by it
            name = event.loss.name if event.loss is not None and event.loss.name else "the loss"
            yield Finding(
                event.site,
                f"`{name}` has no graph for `backward()`: it was computed where gradients are switched off",
                "torch refuses the backward pass with RuntimeError: nothing is trained.",
                related=((_where(cut), cut.switched),),
                fix=_fix(facts, cut),
            )


def _where(cut: Cut) -> str:
    return "the framework runs this hook without gradients" if cut.by == "hook" else "gradients are switched off here"


def _fix(facts: Facts, cut: Cut) -> Fix | None:
    spelled = facts.spell("torch.enable_grad")
    if cut.by != "with" or cut.switched is None or spelled is None:
        return None
    change = Replace(cut.switched, f"{spelled}()")
    return Fix("Compute the loss with gradients", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "backward passes without a graph", "passes"
    for backward in trace.of(events.Backward):
        yield Measurement(what, 0, 0, unit, False, backward.place, "the backward pass found a graph")
    forwards = [one for one in trace.of(events.Forward) if one.parameters]
    left_off = list(trace.of(events.GradSwitched))[-1:]
    for raised in trace.of(events.Raised):
        if "does not require grad" not in raised.message or not forwards or forwards[-1].grad_enabled:
            continue
        if any(not one.enabled for one in left_off):
            continue  # for good: that is another pitfall
        message = f"{forwards[-1].kind} was called without gradients, and torch said: {raised.message.splitlines()[0]}"
        yield Measurement(what, 1, 0, unit, True, raised.place, message, also=(forwards[-1].place,))
