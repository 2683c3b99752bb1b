"""Harm that was measured where no finding is: is it meant?

What a probe measures, a program may well intend: a GAN samples its generator in training mode, Monte Carlo dropout
wants two answers to one batch, an attack needs gradients of a model in evaluation mode. The linter sees such reasons in
the code. Of a run alone, only what has no other reading is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from torchlint.confirm import events
from torchlint.confirm.events import Forward, Trace
from torchlint.confirm.probe import Measurement

LEAST_BYTES = 1_000_000  # kept for no backward; less is not worth a word


def unmeant(code: str, one: Measurement, trace: Trace, texts: Mapping[str, str]) -> bool:
    """Whether harm at a place of the project, where the linter saw nothing, is surely not intended."""
    text = texts.get(one.place.file)
    if text is None or _excused(code, text, one.place.line):
        return False
    match code:
        case "inference-without-eval":
            return any(map(_says_inference(trace), _at(trace, one)))
        case "inference-without-no-grad":
            forwards = list(_at(trace, one))
            evaluated = [f for f in forwards if f.tracked and not f.training and _in_a_row(trace, f)]
            return len(evaluated) == len(forwards) and one.value >= LEAST_BYTES
        case "train-mode-not-restored":
            return _stays_frozen(trace, one)
        case "ignored-tensor-result":
            return False  # to measure its time, or to see whether it works: the code says so, the run does not
        case "frozen-norm-unfrozen-by-train":
            return False  # to train them again may be what is wanted
        case "dropout-ignores-eval":
            return not re.search("training|always|monte|bayes", text.splitlines()[one.place.line - 1], re.IGNORECASE)
        case "unscaled-accumulation":  # some add up on purpose, and chose their learning rate for it
            return False
        case "tensor-move-discarded":
            return any(trace.of(events.DeviceError))
        case "repeated-module-instance":
            return False  # weights can be shared on purpose, and only the code has names that say so
        case _:
            return True


def _at(trace: Trace, one: Measurement) -> Iterator[Forward]:
    return (forward for forward in trace.inference() if forward.place == one.place)


def _says_inference(trace: Trace) -> Callable[[Forward], bool]:
    """The program itself says that it is inference (no gradients), over several batches, and never asked for the mode.

    Samples of a GAN alternate with steps; an `update_bn` or Monte Carlo dropout calls `.train()` before it predicts, or
    gives the same batch again.
    """
    asked: set[int] = set()  # numbers of the forwards between a `.train()` and the gradients that it was for
    waiting: set[int] = set()
    for event in trace.events:
        match event:
            case events.ModeSet():
                (waiting.add if event.training else waiting.discard)(event.module)
            case events.Backward():
                waiting.clear()
            case Forward() if event.module in waiting:
                asked.add(event.number)

    def says(forward: Forward) -> bool:
        meant = forward.grad_enabled or not forward.training or forward.number in asked
        return not meant and _in_a_row(trace, forward)

    return says


def _in_a_row(trace: Trace, forward: Forward) -> bool:
    """Another batch goes through the same module at the same line before any gradient is computed or used."""
    for event in trace.events:
        if event.number <= forward.number:
            continue
        match event:
            case Forward() if event.module == forward.module and event.place == forward.place:
                return event.given != forward.given
            case events.Backward() | events.OptimizerStep():
                return False
    return False


def _stays_frozen(trace: Trace, one: Measurement) -> bool:
    """From there on the model is never seen in training mode again: no attack, no phase that alternates."""
    used = trace.used_for_gradients()
    modules = {f.module for f in trace.of(Forward) if f.place == one.place and f.number in used and not f.trains}
    for module in modules:
        forwards = [f for f in trace.of(Forward) if f.module == module and f.number in used]
        trained = next((n for n, f in enumerate(forwards) if f.trains), len(forwards))
        later = [f.trains for f in forwards[trained:]]
        if False in later and not any(later[later.index(False) :]):
            return True
    return False


_IGNORED = re.compile(r"#.*?(?:torchlint:\s*ignore(?:-file)?\s*\[|noqa:)(?P<names>[^\]#]*)")


def _excused(code: str, text: str, row: int) -> bool:
    """Whether a comment of the line, or one for the whole file, says that this is meant."""
    rows = text.splitlines()
    lines = [*rows[max(0, row - 2) : row], *(line for line in rows if "ignore-file" in line)]
    return any(code in found["names"] for line in lines for found in _IGNORED.finditer(line))
