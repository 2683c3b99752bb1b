"""Probes are pure functions over events: what they make of runs that were never run. No torch here."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from torchlint import registry
from torchlint.confirm import events
from torchlint.confirm.events import Event, Place, Trace, decode, encode
from torchlint.confirm.probe import Measurement, Outcome, Verdict, judge
from torchlint.rule import Rule

TRAIN, EVALUATE = Place("train.py", 10, "train"), Place("train.py", 30, "evaluate")


def verdict(rule: str, *happened: Event) -> Verdict:
    probe = importlib.import_module(f"torchlint.rules.{rule.replace('-', '_')}").probe
    return judge(rule, probe, Trace(list(happened)))


def forward(number: int, place: Place = TRAIN, **values: Any) -> events.Forward:
    usual = {"module": 1, "kind": "Net", "parameters": 9, "training": True, "grad_enabled": True}
    usual |= {"tracked": True, "active": 1, "device": "cpu"}
    return events.Forward(number, place, **{**usual, **values})


def step(number: int, **values: Any) -> events.OptimizerStep:
    usual = {
        "optimizer": 2,
        "kind": "SGD",
        "step": 1,
        "gradients": 4,
        "stale": 0,
        "worth": 1,
        "ratio": 1.0,
        "backward": -1,
    }
    return events.OptimizerStep(number, TRAIN, **{**usual, **values})


def ended(number: int = 99, status: int = 0, stopped: bool = False) -> events.Ended:
    return events.Ended(number, Place(), status, stopped)


def test_an_event_survives_its_line() -> None:
    orphan = events.Orphan(parameter=3, name="Net.fc.weight", held=False, gradient=1.5, distance=0.0)
    for event in (
        forward(0, fed_by=(1, 2), difference=0.25),
        step(3, orphans=(orphan,), unheld=1),
        events.DeviceError(4, TRAIN, "two devices", ("cuda:0",), ("cpu",), inner=EVALUATE),
        events.Saved(5, TRAIN, "Net", True, None, ("__main__.Net",)),
        ended(),
    ):
        assert decode(encode(event)) == event


@pytest.mark.parametrize("line", ["", "{}", "[1]", '["Nothing", {}]', '["Ended", {"place": {}}]', '["Forward", {"nu'])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        decode(line)


def test_a_harmed_place_outweighs_all_others() -> None:
    def probe(_: Trace) -> list[Measurement]:
        fine = Measurement("m", 0, 0, "u", False, TRAIN, "fine")
        return [
            fine,
            Measurement("m", 1, 0, "u", True, TRAIN, "late harm"),
            fine,
            Measurement("m", 0, 0, "u", False, EVALUATE, ""),
        ]

    found = judge("some-rule", probe, Trace())
    assert found.outcome is Outcome.CONFIRMED
    assert found.measurement is not None
    assert found.measurement.message == "late harm"
    assert len(found.measurements) == 2, "each place once"


@pytest.mark.parametrize("rule", [one for one in registry.load() if one.probe is not None], ids=lambda one: one.name)
def test_a_run_that_did_nothing_proves_nothing(rule: Rule) -> None:
    assert rule.probe is not None
    for happened in ([], [events.Ended(0, Place(), 0)], [step(0)], [forward(0), step(1)]):
        assert judge(rule.name, rule.probe, Trace([*happened])).outcome is not Outcome.CONFIRMED


def test_stale_gradients_are_told_at_their_backward() -> None:
    first, second = events.Backward(1, TRAIN, ()), events.Backward(3, TRAIN, ())
    found = verdict(
        "missing-zero-grad", first, step(2), second, step(4, step=2, stale=4, worth=2, ratio=2.0, backward=3)
    )
    assert found.outcome is Outcome.CONFIRMED
    assert found.measurement is not None
    assert (found.measurement.value, found.measurement.expected, found.measurement.place) == (2, 1, TRAIN)
    assert verdict("missing-zero-grad", first, step(2), second, step(4, step=2)).outcome is Outcome.HARMLESS


def test_a_replaced_parameter_harms_only_while_nothing_holds_or_moves_it() -> None:
    replaced = events.ParameterReplaced(0, TRAIN, 1, "Net", "fc", 1, gained=(7,))

    def after(**values: Any) -> Outcome:
        usual = {"parameter": 7, "name": "Net.fc", "held": False, "gradient": 2.0, "distance": 0.0}
        return verdict(
            "parameter-replaced-after-optimizer", replaced, step(1, orphans=(events.Orphan(**{**usual, **values}),))
        ).outcome

    assert after() is Outcome.CONFIRMED
    assert after(held=True) is Outcome.HARMLESS
    assert after(distance=0.1) is Outcome.HARMLESS
    assert after(gradient=0.0) is Outcome.HARMLESS
    assert verdict("parameter-replaced-after-optimizer", replaced).outcome is Outcome.NOT_REACHED


def test_who_was_interrupted_tells_the_two_init_rules_apart() -> None:
    def refused(later: bool) -> Event:
        return events.AttributeRefused(0, TRAIN, 1, "Net", "cannot assign module", 0, initialises_later=later)

    assert verdict("missing-super-init", refused(False)).outcome is Outcome.CONFIRMED
    assert verdict("missing-super-init", refused(True)).outcome is Outcome.NOT_REACHED
    assert verdict("attribute-before-super-init", refused(True)).outcome is Outcome.CONFIRMED
    assert verdict("attribute-before-super-init", refused(False)).outcome is Outcome.NOT_REACHED


@pytest.mark.parametrize(
    ("difference", "moved", "outcome"),
    [
        (0.0, 0.0, Outcome.HARMLESS),
        (0.5, 0.0, Outcome.CONFIRMED),
        (0.0, 0.1, Outcome.CONFIRMED),
        (1e-9, 0.0, Outcome.HARMLESS),
    ],
)
def test_inference_harms_when_two_passes_differ(difference: float, moved: float, outcome: Outcome) -> None:
    used = forward(0, difference=0.7, moved=0.3, saved_bytes=8)
    inference = forward(2, EVALUATE, tracked=False, difference=difference, moved=moved)
    found = verdict("inference-without-eval", used, events.Backward(1, TRAIN, (0,)), inference, ended())
    assert found.outcome is outcome
    assert found.measurement is not None
    assert found.measurement.place == EVALUATE


def test_a_generator_whose_images_train_the_other_net_is_not_inference() -> None:
    generator, critic = forward(0, difference=0.5, moved=0.0, saved_bytes=8), forward(1, fed_by=(0,), module=2)
    backward = events.Backward(2, TRAIN, (1,))
    for rule in ("inference-without-eval", "inference-without-no-grad"):
        assert verdict(rule, generator, critic, backward, ended()).outcome is Outcome.NOT_REACHED


def test_a_forward_cut_off_before_its_backward_is_not_inference() -> None:
    waiting = forward(0, difference=0.5, moved=0.0, saved_bytes=64)
    assert verdict("inference-without-no-grad", waiting, ended(status=1)).outcome is Outcome.NOT_REACHED
    assert verdict("inference-without-no-grad", waiting, ended(stopped=True)).outcome is Outcome.NOT_REACHED
    assert verdict("inference-without-no-grad", waiting).outcome is Outcome.NOT_REACHED
    assert verdict("inference-without-no-grad", waiting, ended()).outcome is Outcome.CONFIRMED


def test_evaluation_mode_harms_only_what_trained_otherwise_before() -> None:
    def story(*modes: tuple[bool, int]) -> Outcome:
        happened: list[Event] = [forward(n, training=mode, active=active) for n, (mode, active) in enumerate(modes)]
        return verdict(
            "train-mode-not-restored", *happened, events.Backward(50, TRAIN, tuple(range(len(modes))))
        ).outcome

    assert story((True, 2), (False, 0)) is Outcome.CONFIRMED
    assert story((True, 2), (True, 2)) is Outcome.HARMLESS
    assert story((False, 0), (False, 0)) is Outcome.HARMLESS  # fine-tuned in evaluation mode throughout: a choice
    assert story((True, 0), (False, 0)) is Outcome.HARMLESS  # nothing in it depends on the mode


def test_a_wrapper_is_in_the_mode_of_the_layers_in_it() -> None:
    happened = [forward(n, active=active, layers=2) for n, active in enumerate((2, 0))]
    found = verdict("train-mode-not-restored", *happened, events.Backward(50, TRAIN, (0, 1)))
    assert found.outcome is Outcome.CONFIRMED
    assert found.measurement.value == 1  # type: ignore[union-attr]


def test_evaluation_mode_left_by_an_evaluation_is_no_choice() -> None:
    def story(evaluated: int) -> Outcome:
        modes = {"training": False, "active": 0, "layers": 2}
        happened = [forward(n, EVALUATE if n == evaluated else TRAIN, **modes) for n in range(3)]
        used = tuple(n for n in range(3) if n != evaluated)
        return verdict("train-mode-not-restored", *happened, events.Backward(50, TRAIN, used)).outcome

    assert story(0) is Outcome.CONFIRMED
    assert story(2) is Outcome.HARMLESS


def test_where_the_stray_tensor_was_made_tells_the_two_device_rules_apart() -> None:
    def error(parameters: tuple[str, ...], inputs: tuple[str, ...]) -> Event:
        return events.DeviceError(0, TRAIN, "two devices", parameters, inputs, inner=EVALUATE)

    brought, made = error(("cuda:0",), ("cpu",)), error(("cuda:0",), ("cuda:0",))
    assert verdict("device-mismatch", brought).measurement.place == TRAIN  # type: ignore[union-attr]
    assert verdict("device-mismatch", error((), ())).outcome is Outcome.CONFIRMED  # outside any module
    assert verdict("device-mismatch", made).outcome is Outcome.NOT_REACHED
    assert verdict("tensor-without-device", made).measurement.place == EVALUATE  # type: ignore[union-attr]
    assert verdict("tensor-without-device", brought).outcome is Outcome.NOT_REACHED
    for rule in ("device-mismatch", "tensor-without-device"):
        assert verdict(rule, forward(0, device="cuda:0")).outcome is Outcome.HARMLESS
        assert verdict(rule, forward(0, device="cpu")).outcome is Outcome.NOT_REACHED


def test_a_discarded_move_harms_only_when_it_would_have_changed_something() -> None:
    def moved(after: str, discarded: bool) -> Outcome:
        return verdict(
            "tensor-move-discarded", events.Moved(0, TRAIN, "to", "cpu torch.float32", after, discarded)
        ).outcome

    assert moved("cuda:0 torch.float32", discarded=True) is Outcome.CONFIRMED
    assert moved("cuda:0 torch.float32", discarded=False) is Outcome.HARMLESS
    assert moved("cpu torch.float32", discarded=True) is Outcome.HARMLESS


def test_a_saved_module_harms_when_it_cannot_be_loaded() -> None:
    def saved(module: bool, refusal: str | None) -> Outcome:
        return verdict("whole-model-save", events.Saved(0, TRAIN, "Net", module, refusal)).outcome

    assert saved(True, "Unsupported global") is Outcome.CONFIRMED
    assert saved(False, "") is Outcome.HARMLESS
    assert saved(True, "") is Outcome.HARMLESS  # torch before 2.6
    assert saved(True, None) is Outcome.NOT_REACHED
