"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import mode_after
from torchlint.facts import Backward, Event, Forward, Grad, Loop, ModeSet, Module, Root, Value, certainly, same, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"eval", "train"}, {"backward"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for off in root.of(ModeSet):
            if (
                off.training is not False
                or not root.complete
                or off.site.node in seen
                or not certainly(off.module, Module)
            ):
                continue
            for forward in _training_forwards(root, off.module):
                loop = _shared_loop(off, forward)
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


def _training_forwards(root: Root, module: Value) -> Iterator[Forward]:
    """Calls of the module whose output a backward pass in the same loop comes from."""
    roots = [(b, b.roots) for b in root.of(Backward) if b.roots]
    for forward in root.of(Forward):
        if not same(forward.module, module) or forward.grad is Grad.OFF or not forward.loops:
            continue
        if any(forward.module.options()[0] in reached and set(forward.loops) & set(b.loops) for b, reached in roots):
            yield forward


def _shared_loop(off: ModeSet, forward: Forward) -> Loop | None:
    """The innermost loop that repeats both."""
    return next((loop for loop in reversed(off.loops) if forward.inside(loop) and not loop.once), None)


def _stays_off(root: Root, off: ModeSet, forward: Forward, loop: Loop) -> bool:
    """True when every way from `off` to the training forward leaves the mode as it is, after an evaluation has taken place."""

    def after(state: tuple[str, bool], event: Event) -> tuple[str, bool]:
        mode, evaluated = state
        if isinstance(event, Forward) and event is not forward and same(event.module, off.module) and mode == "eval":
            evaluated = evaluated or event.grad is Grad.OFF or event.frame is not forward.frame
        return mode_after(mode, event, off.module), evaluated

    met = walk(off.next, ("eval", off.frame is not forward.frame), after, lambda event: event.inside(loop))
    if (
        not met.get(forward)
        or {mode for mode, _ in met[forward]} != {"eval"}
        or not all(done for _, done in met[forward])
    ):
        return False
    first = walk([root.entry], ("train", False), after)
    return any(
        mode == "train" for mode, _ in first.get(forward, ())
    )  # a model that is trained in eval mode throughout is meant so


def _fix(forward: Forward, loop: Loop) -> Fix | None:
    function = forward.frame.function
    if not forward.spelling:
        return None
    if forward.frame is loop.frame:
        place = loop.site
    elif function is not None and forward.spelling.partition(".")[0] in function.parameters:
        place = function.site
    else:
        return None
    line = f"{forward.spelling}.train()"
    return Fix(f"Set training mode again with `{line}`", Safety.UNSAFE, (InsertFirst(place, (line,)),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "training batches in evaluation mode", "batches"
    used = trace.used_for_gradients()
    modules: dict[int, list[events.Forward]] = {}
    for forward in trace.of(events.Forward):
        if forward.number in used and forward.parameters:
            modules.setdefault(forward.module, []).append(forward)
    for forwards in modules.values():
        trained = next((n for n, one in enumerate(forwards) if one.training), len(forwards))
        frozen = [one for one in forwards[trained:] if not one.training]
        layers = max(one.active for one in forwards)
        place = (frozen or forwards)[0].place
        message = f"{forwards[0].kind} was in training mode in all of its {len(forwards)} training batches"
        if frozen:
            message = (
                f"{frozen[0].kind} was in evaluation mode in {len(frozen)} of {len(forwards)} training batches: "
                f"{layers} of its layers (dropout, normalisation) then do not train"
            )
        yield Measurement(what, len(frozen), 0, unit, bool(frozen and layers), place, message)
