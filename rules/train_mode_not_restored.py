"""After an evaluation between two rounds of training, the model stays in evaluation mode.

## What it finds
`model.eval()` in reach of a training loop, with a training pass of the same model in the next round and no
`model.train()` on any path in between. The finding stands at the `eval()` that is not undone; a second
location shows the training pass. Typical forms: `train()` once before the loop and a helper that validates
after each epoch; `train()` at the head of the epoch and `eval()` every few steps inside it; a second `eval()`
where `train()` was meant; a hook of a LightningModule or of a Callback that puts the module in evaluation mode, which
the trainer leaves as it is.

## Why it hurts
The first epoch trains as it should. From the second on, dropout is off and batch norm neither uses nor
updates batch statistics: the model overfits, or learns with statistics from its first minutes. The training
loss even looks better than before.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model.train()
for epoch in range(10):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(x_valid).mean())
```

Right:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    model.train()
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(x_valid).mean())
```

## Fix and its safety
Writes `model.train()`, with the program's own name for the model, at the head of the loop or function that
trains. Unsafe: it changes what is trained, and layers that were put into evaluation mode on purpose are
switched back too. No fix is offered where the model has no name at that place.

## Known limits
Quiet about a model in which nothing depends on the mode, about a model that is trained in evaluation mode
from its first batch on (a linear probe, frozen batch norm), about copies, teachers and parts of a model, and
when the mode is set from a variable (`model.train(was_training)`), in a context manager, or possibly by code
of another file. A mode that is restored on some paths only is not reported.

## Proof
In a real run, `training` is read at each training pass. Passes in evaluation mode after the first in training
mode, or after an evaluation, are counted, if the model has layers that depend on it; healthy is 0.

## References
- torch.nn.Module.train: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.train
- torch.nn.Module.eval: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import mode_after, part_of, shared_loop, training_forwards
from torchlint.facts import Event, Forward, Grad, Loop, ModeSet, Module, Root, certainly, only, same, walk
from torchlint.mends import train_first
from torchlint.rule import Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"eval", "train"}, {"backward", "Callback"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        if root.resumes is not None:
            yield from _left_by_hook(root, root.resumes)
        for off in root.of(ModeSet):
            if (
                off.training is not False
                or off.site.one_round
                or not root.complete
                or off.site.node in seen
                or not certainly(off.module, Module)
            ):
                continue
            for forward in training_forwards(root, off.module):
                loop = shared_loop(off, forward)
                if (
                    loop is None
                    or facts.depends_on_mode(forward.module) is False
                    or not _stays_off(root, off, forward, loop)
                ):
                    continue
                seen.add(off.site.node)
                model = forward.spelling or off.spelling or "the model"
                yield Finding(
                    off.site,
                    f"`{off.spelling or model}` is put in evaluation mode and still is when training goes on",
                    "From the second round on, training runs without dropout and with frozen batch statistics.",
                    related=(
                        (f"`{model}` is trained here, in evaluation mode from the second round on", forward.site),
                    ),
                    fix=_fix(forward, loop),
                )
                break


def _left_by_hook(root: Root, end: Event) -> Iterator[Finding]:
    """A callback of a trainer puts the module that it is handed in evaluation mode, and leaves it so on every path."""
    hook = root.frame.function
    module = hook.parameters[2] if hook is not None and len(hook.parameters) > 2 else ""
    others = hook.owner.methods.values() if hook is not None and hook.owner is not None else ()
    if not root.complete or any("train" in one.words for one in others if one is not hook):
        return  # another hook may put it back
    for off in root.of(ModeSet):
        one = only(off.module)
        if off.training is not False or off.site.one_round or not isinstance(one, Module) or one.name != module:
            continue
        met = walk(off.next, "eval", lambda mode, event, one=one: mode_after(mode, event, one))  # type: ignore[misc]
        if met.get(end) == {"eval"}:
            yield Finding(
                off.site,
                f"`{off.spelling or module}` is put in evaluation mode and still is when training goes on",
                "From then on, training runs without dropout and with frozen batch statistics: the trainer leaves the "
                "mode as it is.",
                related=(("the trainer calls this hook and goes on training", end.site),),
            )
            return


def _stays_off(root: Root, off: ModeSet, forward: Forward, loop: Loop) -> bool:
    """True when every way from `off` to the training forward leaves the mode as it is, and `off` was for evaluating."""

    def after(mode: str, event: Event) -> str:
        if (
            isinstance(event, ModeSet)
            and event is not off
            and event.training is False
            and same(event.module, off.module)
        ):
            return "off elsewhere"
        return mode_after(mode, event, forward.module)

    if walk(off.next, "eval", after, lambda event: event.inside(loop)).get(forward) != {"eval"}:
        return False
    met = walk([root.entry], "train", lambda mode, event: mode_after(mode, event, forward.module))
    if "train" not in met.get(forward, ()):
        return False  # a model that is trained in evaluation mode throughout is meant so
    return off.frame is not forward.frame or any(
        "eval" in met.get(other, ()) and (other.grad is Grad.OFF or other.frame is not forward.frame)
        for other in root.of(Forward)
        if other is not forward and other.inside(loop) and part_of(other.module, off.module)
    )


def _fix(forward: Forward, loop: Loop) -> Fix | None:
    change = train_first(forward, loop)
    return Fix(f"Set training mode again with `{change.lines[0]}`", Safety.UNSAFE, (change,)) if change else None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "batches trained in eval mode", "batches"
    used = trace.used_for_gradients()
    modules: dict[int, list[events.Forward]] = {}
    evaluated: dict[int, int] = {}
    for forward in trace.of(events.Forward):
        if forward.number in used and forward.parameters:
            modules.setdefault(forward.module, []).append(forward)
        elif not forward.trains:
            evaluated.setdefault(forward.module, forward.number)
    for module, forwards in modules.items():
        trained = next((n for n, one in enumerate(forwards) if one.trains), len(forwards))
        if evaluated.get(module, forwards[0].number) < forwards[0].number:
            trained = 0  # an evaluation came first, so that the mode is a leftover and no choice
        frozen = [one for one in forwards[trained:] if not one.trains]
        layers = max(max(one.active, one.layers) for one in forwards)
        place = (frozen or forwards)[0].place
        message = f"{forwards[0].kind} was in training mode in all of its {len(forwards)} training batches"
        if frozen:
            message = (
                f"{frozen[0].kind} was in evaluation mode in {len(frozen)} of {len(forwards)} training batches: "
                f"{layers} of its layers (dropout, normalisation) then do not train"
            )
        switched = [s.place for s in trace.of(events.ModeSet) if not s.training and s.module == module]
        harmed = bool(frozen and layers)
        yield Measurement(what, len(frozen), 0, unit, harmed, place, message, tuple(dict.fromkeys(switched)))
