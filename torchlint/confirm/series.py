"""A trace as numbers per step: what a person would rather look at than read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torchlint.confirm import events
from torchlint.confirm.events import Trace
from torchlint.confirm.match import Sources
from torchlint.confirm.result import Pass, ProgramRun, Series, Spot, Step, Unmoved


def run_of(
    trace: Trace,
    sources: Sources,
    *,
    name: str,
    status: int | None,
    cut: str,
    seconds: float,
    device: str,
    seed: int | None,
    others: Sequence[Trace] = (),
) -> ProgramRun:
    """The run that a trace tells of. `cut` says why torchlint ended the program, "" when it did not.

    Of the traces of its `others` processes only the error that ended one is told.
    """
    raised = next((one for each in (trace, *others) for one in each.of(events.Raised)), None)
    motion = max(trace.of(events.ParameterMotion), key=lambda one: one.number, default=None)
    return ProgramRun(
        name=name,
        status=status,
        ended=_ended(trace, status, cut),
        seconds=seconds,
        device=device,
        seed=seed,
        events=len(trace.events),
        optimizers=tuple(series(trace, sources)),
        parameters=motion.parameters if motion is not None else None,
        unmoved=tuple(_unmoved(motion)) if motion is not None else (),
        passes=tuple(_passes(trace, sources)),
        error=_error(raised) if raised is not None and not cut else "",
        error_spot=sources.place(raised.place) if raised is not None and not cut else None,
    )


def _ended(trace: Trace, status: int | None, cut: str) -> str:
    if cut:
        return cut
    if trace.end is not None and trace.end.stopped and not status:
        return "step-limit"
    if any(one.kind == "KeyboardInterrupt" for one in trace.of(events.Raised)) or status in (-2, 130):
        return "interrupted"
    if status is None or status < 0:
        return "killed"
    return "failed" if status else "itself"


def _error(raised: events.Raised) -> str:
    first = raised.message.splitlines()[0] if raised.message else ""
    return f"{raised.kind}: {first}" if first else raised.kind


def series(trace: Trace, sources: Sources) -> Iterator[Series]:
    """The steps of each optimizer, in the order of their first ones."""
    steps: dict[int, list[Step]] = {}
    first: dict[int, events.OptimizerStep] = {}
    losses: dict[int, list[float]] = {}
    pending: list[float] = []
    for event in trace.events:
        match event:
            case events.Backward() if event.accumulates and event.loss is not None:
                pending.append(event.loss)
                for waiting in losses.values():
                    waiting.append(event.loss)
            case events.OptimizerStep():
                first.setdefault(event.optimizer, event)
                taken = losses.get(event.optimizer, pending)
                loss = sum(taken) / len(taken) if taken else None
                losses[event.optimizer] = []
                steps.setdefault(event.optimizer, []).append(
                    Step(event.step, loss, event.ratio, event.worth, event.stale, event.gradients)
                )
    for order, (key, taken_steps) in enumerate(steps.items(), start=1):
        one = first[key]
        yield Series(order, one.kind, sources.place(one.place), tuple(taken_steps))


def _unmoved(motion: events.ParameterMotion) -> Iterator[Unmoved]:
    for one in motion.unmoved:
        yield Unmoved(one.name, one.elements, one.frozen, one.held, one.gradient)


def _passes(trace: Trace, sources: Sources) -> Iterator[Pass]:
    idle = {forward.number for forward in trace.inference()}
    seen: set[tuple[int, Spot, bool]] = set()
    for one in trace.of(events.Forward):
        spot = sources.place(one.place)
        if one.difference is None or spot is None:
            continue
        key = (one.module, spot, one.number in idle)
        if key not in seen:
            seen.add(key)
            yield Pass(one.kind, spot, one.training, one.number in idle, one.difference, one.scale, one.moved or 0.0)
