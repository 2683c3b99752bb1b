"""Which measurement speaks of which finding, what is told of a run alone, and the numbers per step. No torch here."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from torchlint import registry
from torchlint.confirm import events
from torchlint.confirm.events import Event, Place, Trace
from torchlint.confirm.match import Sources, assess
from torchlint.confirm.probe import Outcome
from torchlint.confirm.result import AS_IS, Result
from torchlint.confirm.series import run_of
from torchlint.diagnostic import Diagnostic, Related, Severity, Span

FILE = "/home/me/train.py"
TEXT = """\
def train():
    for batch in loader:
        loss.backward()
        optimizer.step()


def helper():
    loss.backward()


def other():
    helper()
    sgd.step()


def evaluate():
    with torch.no_grad():
        for batch in loader:
            model(batch)


def meant():  # torchlint: ignore[missing-zero-grad] on purpose
    loss.backward()
"""
SOURCES = Sources({FILE: TEXT}, lambda file: file.rpartition("/")[2])
RULES = registry.load()
ENDED = events.Ended(10_000, Place(), 0)


def finding(code: str, row: int, *related: int) -> Diagnostic:
    span = Span(row, 5, row, 20)
    others = tuple(Related("here", FILE, Span(other, 1, other, 2)) for other in related)
    return Diagnostic(
        code, "correctness", Severity.ERROR, "wrong", FILE, span, "It hurts.", related=others,
        statement_row=row, statement_end_row=row,
    )  # fmt: skip


def place(row: int, *callers: int) -> Place:
    return Place(FILE, row, "f", tuple((FILE, caller) for caller in callers))


def stale(number: int, at: Place, worth: int = 2) -> list[Event]:
    """A backward pass, and a step that finds `worth` steps' gradients."""
    return [
        events.Backward(number, at, (), 0.5),
        events.OptimizerStep(
            number + 1, at, 1, "SGD", number + 1, 2, 2 * (worth > 1), worth, float(worth), number if worth > 1 else -1
        ),
    ]


def outcomes(happened: list[Event], *findings: Diagnostic) -> tuple[list[Outcome], list[tuple[str, int]]]:
    found = assess(Trace([*happened, ENDED]), findings, RULES, SOURCES)
    return [one.outcome for one in found.verdicts], [(one.code, one.spot.row) for one in found.runtime_only]


@pytest.mark.parametrize(
    ("at", "row", "related"),
    [
        (place(3), 3, ()),
        (place(3), 4, ()),  # in the same function
        (place(8, 12), 12, ()),  # on the line that called
        (place(8, 12), 13, ()),  # in the function that called
        (place(3), 12, (3,)),
    ],
)
def test_harm_confirms_the_finding_that_it_stands_at(at: Place, row: int, related: tuple[int, ...]) -> None:
    assert outcomes(stale(0, at), finding("missing-zero-grad", row, *related)) == ([Outcome.CONFIRMED], [])


def test_harm_elsewhere_confirms_nothing_and_is_told_by_itself() -> None:
    assert outcomes(stale(0, place(3)), finding("missing-zero-grad", 12)) == (
        [Outcome.NOT_REACHED],
        [("missing-zero-grad", 3)],
    )


def test_a_finding_is_not_confirmed_by_what_is_nearer_to_another() -> None:
    happened = [*stale(0, place(3)), *stale(2, place(4), worth=1)]
    found = outcomes(happened, finding("missing-zero-grad", 3), finding("missing-zero-grad", 4))
    assert found == ([Outcome.CONFIRMED, Outcome.HARMLESS], [])


def test_where_nothing_hurt_a_finding_is_harmless_and_where_nothing_ran_not_reached() -> None:
    happened = stale(0, place(3), worth=1)
    assert outcomes(happened, finding("missing-zero-grad", 3)) == ([Outcome.HARMLESS], [])
    assert outcomes([], finding("missing-zero-grad", 3)) == ([Outcome.NOT_REACHED], [])


def test_other_files_and_excused_lines_are_not_told() -> None:
    library = Place("/usr/lib/python3/site-packages/trainer.py", 3, "f")
    assert outcomes(stale(0, library)) == ([], [])
    assert outcomes(stale(0, place(22))) == ([], [])
    assert outcomes(stale(0, place(23))) == ([], [])


def forward(number: int, at: Place, **values: Any) -> events.Forward:
    usual = {"module": 1, "kind": "Net", "parameters": 9, "training": True, "grad_enabled": True, "tracked": True}
    usual |= {"active": 1, "device": "cpu", "given": (number,)}
    return events.Forward(number, at, **{**usual, **values})


PREDICTS = {"grad_enabled": False, "tracked": False, "difference": 0.5, "moved": 0.0}


def test_batch_after_batch_without_gradients_in_training_mode_is_told() -> None:
    happened = [forward(n, place(19), **PREDICTS) for n in range(3)]
    assert outcomes(happened)[1] == [("inference-without-eval", 19)]


@pytest.mark.parametrize(
    "happened",
    [
        # samples of a GAN: each is followed by a step
        [e for n in (0, 10, 20) for e in (forward(n, place(19), **PREDICTS), *stale(n + 1, place(3), worth=1))],
        # Monte Carlo dropout, or an update of the statistics: the mode was asked for
        [events.ModeSet(0, place(18), 1, "Net", True), *(forward(n, place(19), **PREDICTS) for n in (1, 2, 3))],
        # the same batch again and again
        [forward(n, place(19), **PREDICTS, given=(7,)) for n in range(3)],
        # one look at one batch
        [forward(0, place(19), **PREDICTS)],
        # with gradients nobody says that it is inference
        [forward(n, place(19), difference=0.5, moved=0.0, saved_bytes=100) for n in range(3)],
    ],
    ids=["samples", "asked for", "same batch", "once", "with gradients"],
)
def test_what_may_be_meant_is_not_told(happened: list[Event]) -> None:
    assert outcomes(happened)[1] == []


@pytest.mark.parametrize(("modes", "told"), [((True, False, False), True), ((True, False, True, False), False)])
def test_a_phase_in_evaluation_mode_is_not_told_where_it_alternates(modes: tuple[bool, ...], told: bool) -> None:
    happened: list[Event] = []
    for n, training in enumerate(modes):
        happened.append(forward(2 * n, place(3), training=training))
        happened.append(events.Backward(2 * n + 1, place(3), (2 * n,)))
    assert outcomes(happened)[1] == ([("train-mode-not-restored", 3)] if told else [])


def test_a_device_error_that_a_confirmed_finding_leads_to_is_not_told_twice() -> None:
    error = events.DeviceError(1, place(19), "cpu and cuda:0", ("cuda:0",), ("cpu",), place(19))
    moved = events.Moved(0, place(3), "to", "cpu float", "cuda:0 float", True)
    assert outcomes([error])[1] == [("device-mismatch", 19)]
    assert outcomes([moved, error], finding("tensor-move-discarded", 3)) == ([Outcome.CONFIRMED], [])


# ------------------------------------------------------------------------------------------------------------- numbers


def step(number: int, optimizer: int, count: int) -> events.OptimizerStep:
    return events.OptimizerStep(number, place(4), optimizer, "SGD", count, 1, 0, 1, 1.0, -1)


def run(*happened: Event, **values: Any):  # type: ignore[no-untyped-def]
    usual: dict[str, Any] = {"name": AS_IS, "status": 0, "cut": "", "seconds": 1.0, "device": "cpu", "seed": None}
    return run_of(Trace(list(happened)), SOURCES, **{**usual, **values})


def test_the_loss_of_a_step_is_the_mean_of_those_since_the_last_one() -> None:
    losses = [events.Backward(n, place(3), (), float(n)) for n in range(8)]
    found = run(losses[0], losses[1], step(10, 7, 1), losses[2], step(11, 7, 2), step(12, 7, 3))
    assert [one.losses for one in found.optimizers] == [[0.5, 2.0, None]]
    pair = run(losses[1], step(10, 7, 1), losses[5], step(11, 8, 1), losses[3], step(12, 7, 2))
    assert [(one.optimizer, one.losses) for one in pair.optimizers] == [(1, [1.0, 4.0]), (2, [3.0])]


@pytest.mark.parametrize(
    ("values", "happened", "ended"),
    [
        ({}, [ENDED], "itself"),
        ({"status": 3}, [events.Ended(0, Place(), 3)], "failed"),
        ({}, [events.Ended(0, Place(), 0, True)], "step-limit"),
        ({"status": -11}, [], "killed"),
        ({"status": None, "cut": "time-limit"}, [], "time-limit"),
        ({"status": 130}, [events.Raised(0, place(3), "KeyboardInterrupt", "")], "interrupted"),
    ],
)
def test_how_a_run_ended(values: dict[str, Any], happened: list[Event], ended: str) -> None:
    assert run(*happened, **values).ended == ended


@pytest.mark.parametrize(
    ("values", "happened", "status"),
    [
        ({}, [ENDED], 0),
        ({"status": 3}, [events.Ended(0, Place(), 3)], 3),
        ({"status": -9}, [], 137),
        ({"status": None, "cut": "time-limit"}, [], 0),
        ({"status": -2, "cut": "interrupted"}, [], 130),
    ],
)
def test_the_exit_status_where_nothing_is_confirmed(values: dict[str, Any], happened: list[Event], status: int) -> None:
    result = Result("2.13", "cpu", ("train.py",), (), (), (run(*happened, **values),))
    assert result.exit_status == status


def test_what_is_confirmed_outweighs_how_the_program_ended() -> None:
    trace = Trace([*stale(0, place(3)), ENDED])
    found = assess(trace, [finding("missing-zero-grad", 3)], RULES, SOURCES)
    result = Result("2.13", "cpu", ("train.py",), found.verdicts, (), (run(status=3),))
    assert result.exit_status == 1
    written = json.loads(result.to_json())
    [verdict] = written["verdicts"]
    assert (verdict["filename"], verdict["location"], verdict["source"]) == (
        "train.py", {"row": 3, "column": 5}, "loss.backward()",
    )  # fmt: skip
    assert (verdict["verdict"], verdict["value"], verdict["expected"], verdict["unit"]) == (
        "confirmed", 2, 1, "steps' worth",
    )  # fmt: skip


def test_numbers_that_json_lacks_are_words() -> None:
    result = Result("", "cpu", ("x.py",), (), (), (run(events.Backward(0, place(3), (), math.nan), step(1, 1, 1)),))
    assert json.loads(result.to_json())["runs"][0]["optimizers"][0]["loss"] == ["nan"]
