"""A model is evaluated over a data set while autograd records every batch for a backward pass that never comes.

## What it finds
A model in evaluation mode that is called in a loop over data, there or in a function that evaluates, with no
`no_grad`, `inference_mode` or `set_grad_enabled(False)` around the call, in a decorator or in a caller, and
with nothing in reach that uses gradients. The finding stands at the first such call of the evaluation.

## Why it hurts
`eval()` does not switch gradients off. Each call keeps the inputs of every layer for a backward pass that
never comes: evaluation takes more memory and time than it needs. Where outputs are collected, the graphs of
all batches are kept with them, and the memory grows until the end of the data set. The results are right;
this is a matter of cost.

## Example
Wrong:

```python
import torch
from torch import nn
from torch.utils.data import DataLoader

def encode(loader: DataLoader):
    model = nn.Linear(4, 2)
    model.eval()
    codes = []
    for x in loader:
        codes.append(model(x))
    return torch.cat(codes)
```

Right:

```python
import torch
from torch import nn
from torch.utils.data import DataLoader

@torch.no_grad()
def encode(loader: DataLoader):
    model = nn.Linear(4, 2)
    model.eval()
    codes = []
    for x in loader:
        codes.append(model(x))
    return torch.cat(codes)
```

## Fix and its safety
Decorates the function with `@torch.no_grad()`, or where the function trains too and in a script, puts the
loop under `with torch.no_grad():`, spelled as the file imports torch. Unsafe: if a caller out of sight uses
the outputs for a backward pass after all, that pass would fail.

## Known limits
Quiet when something in the evaluation uses gradients (attribution, attacks, forces, `requires_grad_` on an input),
when the model is frozen, by its own constructor too, for a single prediction without a loop, under a decorator or a
context that cannot be resolved, and when training goes on in the same loop. A teacher or a target network that is
run with gradients inside a training loop is not reported.

## Proof
In a real run the outputs of the evaluation are asked for their `grad_fn`, and the bytes that autograd saved
for them are counted; healthy is 0 bytes.

## References
- torch.no_grad: https://docs.pytorch.org/docs/stable/generated/torch.no_grad.html
- torch.inference_mode: https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad_mode.inference_mode.html
- Autograd mechanics: Locally disabling gradient computation: https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import mode_after, related
from torchlint.facts import (
    Backward,
    ClassInfo,
    Event,
    Forward,
    Grad,
    GradientUsed,
    Literal,
    ModeSet,
    Module,
    Parameters,
    Root,
    Value,
    certainly,
    computed_from,
    walk,
)
from torchlint.rule import Decorate, Facts, Finding, Fix, Group, Safety, Wrap

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"eval"}, {"torch"}]
fixable = "unsafe"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        if not root.complete:
            continue
        seen: set[tuple[object, object]] = set()
        for forward in _evaluations(root):
            key = (forward.frame.function, forward.module)
            if key in seen or not _records(root, forward) or _freezes_itself(facts, forward.module):
                continue
            seen.add(key)
            model = forward.spelling or "the model"
            yield Finding(
                forward.site,
                f"`{model}` is evaluated while autograd records",
                "Every batch builds a graph that nothing uses: more memory and time, kept as long as outputs are.",
                fix=_fix(facts, root, forward),
            )


def _evaluations(root: Root) -> Iterator[Forward]:
    """Calls of a module in a loop over data, in evaluation mode on every path."""
    for forward in root.of(Forward):
        if forward.grad is not Grad.DEFAULT or not certainly(forward.module, Module) or not _over_data(root, forward):
            continue

        def after(mode: str, event: Event, forward: Forward = forward) -> str:
            return mode_after(mode, event, forward.module)

        if walk([root.entry], "unset", after).get(forward) == {"eval"}:
            yield forward


def _over_data(root: Root, forward: Forward) -> bool:
    """True when the call is repeated for data: in a loop of its function, or in a function that is for evaluating."""
    trained = list(root.of(Backward))
    loops = [
        loop
        for loop in forward.loops
        if loop.over is not None and (loop.frame is forward.frame or not any(b.inside(loop) for b in trained))
    ]
    evaluates = any(e.frame is forward.frame and e.training is False for e in root.of(ModeSet))
    varies = any(not isinstance(a, Literal) for a in [*forward.arguments, *forward.keywords.values()])
    return bool((loops and varies) or (forward.loops and evaluates))


def _records(root: Root, forward: Forward) -> bool:
    """True when autograd has something to record and nothing that can come next makes use of it."""
    given = {one for a in [*forward.arguments, *forward.keywords.values()] for one in computed_from(a)}
    for event in root.of(GradientUsed):
        if event.target is None or related(event.target, forward.module) or given & {*event.target.options()}:
            return False  # frozen, or differentiated by hand: the model, or what it was given

    def after(mode: str, event: Event) -> str | None:
        now = mode_after(mode, event, forward.module)
        return now if now == "eval" else None

    if forward not in walk(forward.next, "", lambda state, event: state):
        return False  # one pass only
    met = walk(forward.next, "eval", after)
    callers = list(forward.frame.stack())
    return not any(
        isinstance(e, Backward)
        or (isinstance(e, GradientUsed) and (e.frame in callers or set(e.loops) & set(forward.loops)))
        for e in met
    )


def _freezes_itself(facts: Facts, model: Value) -> bool:
    """True when a constructor takes the gradients of all its parameters: the model's, or that of what it is made of."""
    built = facts.constructions
    frozen = {cls.name for cls, root in built if any(_whole(e.target, cls) for e in root.of(GradientUsed))}
    for one in model.options() if frozen else ():
        cls = one.cls if isinstance(one, Module) else None
        init = cls.method("__init__") if cls is not None else None
        made_of = init.words if init is not None else frozenset()
        if cls is None or not (cls.name in frozen or (made_of & frozen and "nn" not in made_of)):
            return False
    return bool(frozen)


def _whole(target: Value | None, cls: ClassInfo) -> bool:
    """True when the target is an object of the class, or each one of its parameters."""
    if target is None:
        return False
    owners = [one for held in target.with_holders() if isinstance(held, Parameters) and held.whole for one in held.of]
    return any(isinstance(one, Module) and one.cls is cls for one in (*target.options(), *owners))


def _fix(facts: Facts, root: Root, forward: Forward) -> Fix | None:
    """No gradients for the function, or else for the largest loop around the call, that nothing is trained in."""
    no_grad = facts.spell("torch.no_grad")
    if no_grad is None:
        return None
    trained = list(root.of(Backward))
    function = forward.frame.function
    if function is not None and all(f.function is not function for b in trained for f in b.frame.stack()):
        changes = (Decorate(function.site, f"@{no_grad}()"),)
        return Fix(f"Decorate `{function.name}` with `@{no_grad}()`", Safety.UNSAFE, changes)
    for loop in forward.loops:
        if loop.frame is forward.frame and not any(b.inside(loop) for b in trained):
            return Fix(f"Run the loop under `{no_grad}()`", Safety.UNSAFE, (Wrap(loop.site, f"with {no_grad}():"),))
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm.probe import Measurement

    what, unit = "bytes kept for no backward", "bytes"
    for forward in trace.inference():
        if not forward.tracked:
            message = f"the output of {forward.kind} has no grad_fn and keeps nothing alive"
            yield Measurement(what, 0, 0, unit, False, forward.place, message)
        elif forward.saved_bytes is not None:
            message = (
                f"the output of {forward.kind} has a grad_fn and kept {forward.saved_bytes} bytes for a backward pass "
                "that never came"
            )
            yield Measurement(what, forward.saved_bytes, 0, unit, forward.saved_bytes > 0, forward.place, message)
