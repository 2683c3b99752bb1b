"""The trace on real torch: the numbers it measures, and that it changes nothing."""

from __future__ import annotations

import contextlib
import gc
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from torchlint.confirm import events
from torchlint.confirm.events import Event, Trace

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.training

from torch import nn  # noqa: E402

from torchlint.confirm.trace import EnoughSteps, Recorder  # noqa: E402

E = TypeVar("E", bound=Event)
POINTS = 16


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def traced(program: Callable[[], Any], **options: Any) -> Trace:
    happened: list[Event] = []
    recorder = Recorder(happened.append, **options)
    with recorder.installed():
        program()
    return Trace(happened)


def steps(program: Callable[[], Any], **options: Any) -> list[events.OptimizerStep]:
    return list(traced(program, **options).of(events.OptimizerStep))


class Net(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.drop(torch.relu(self.norm(self.hidden(x)))))


def data() -> tuple[Any, Any]:
    torch.manual_seed(3)
    return torch.randn(POINTS, 4), torch.randint(0, 2, (POINTS,))


def train(
    clear: Callable[[Any, Any], None],
    *,
    count: int = 4,
    rate: float = 1e-6,
    before_step: Callable[[Any], None] = lambda model: None,
) -> Callable[[], None]:
    """A full-batch loop of a model without dropout, in which a step hardly moves, so that gradients repeat."""

    def program() -> None:
        x, y = data()
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for _ in range(count):
            clear(model, optimizer)
            nn.functional.cross_entropy(model(x), y).backward()
            before_step(model)
            optimizer.step()

    return program


def test_stale_gradients_are_one_two_three_four_times_what_was_delivered() -> None:
    found = steps(train(lambda model, optimizer: None))
    assert [one.worth for one in found] == [1, 2, 3, 4]
    assert [one.ratio for one in found] == pytest.approx([1, 2, 3, 4], abs=1e-3)
    assert [one.stale for one in found] == [0, 2, 2, 2]


@pytest.mark.parametrize(
    "clear",
    [
        lambda model, optimizer: optimizer.zero_grad(),
        lambda model, optimizer: optimizer.zero_grad(set_to_none=False),
        lambda model, optimizer: model.zero_grad(),
        lambda model, optimizer: [setattr(p, "grad", None) for p in model.parameters()],
        lambda model, optimizer: [p.grad.zero_() for p in model.parameters() if p.grad is not None],
        lambda model, optimizer: [p.grad.data.mul_(0) for p in model.parameters() if p.grad is not None],
    ],
)
def test_however_gradients_are_cleared_they_are_clean(clear: Callable[[Any, Any], None]) -> None:
    assert [(one.worth, one.stale, one.ratio) for one in steps(train(clear))] == [(1, 0, 1.0)] * 4


def test_clipping_and_unscaling_are_not_staleness() -> None:
    def clip(model: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)

    assert {one.worth for one in steps(train(lambda model, optimizer: optimizer.zero_grad(), before_step=clip))} == {1}
    found = steps(train(lambda model, optimizer: None, before_step=clip))
    assert [one.worth for one in found] == [1, 2, 3, 4], "clipped, and still mostly old"


def test_old_gradients_count_where_nothing_new_is_delivered() -> None:
    def program() -> None:
        one, other = nn.Linear(2, 1), nn.Linear(2, 1)
        optimizer = torch.optim.SGD([*one.parameters(), *other.parameters()], lr=0.1)
        one(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        other(torch.ones(1, 2)).sum().backward()
        optimizer.step()  # moves `one` by its old gradient
        optimizer.step()  # on purpose, without another backward pass

    assert [(step.stale, step.worth) for step in steps(program)] == [(0, 1), (2, 2), (0, 1)]


def test_accumulating_gradients_on_purpose_is_clean() -> None:
    def program() -> None:
        x, y = data()
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for number in range(8):
            nn.functional.cross_entropy(model(x), y).backward()
            if number % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()

    assert [one.stale for one in steps(program)] == [0, 0]


def test_a_closure_is_evaluated_many_times_in_one_step() -> None:
    def program(clears: bool) -> Callable[[], None]:
        def run() -> None:
            x, y = data()
            model = nn.Linear(4, 2)
            optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)

            def closure() -> Any:
                if clears:
                    optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                return loss

            for _ in range(2):
                optimizer.step(closure)

        return run

    assert [one.worth for one in steps(program(clears=True))] == [1, 1]
    assert steps(program(clears=False))[0].worth > 2


def test_two_players_who_clear_in_their_own_turn_are_clean() -> None:
    def program() -> None:
        maker, critic = nn.Linear(2, 2), nn.Linear(2, 1)
        making = torch.optim.Adam(maker.parameters())
        judging = torch.optim.Adam(critic.parameters())
        for _ in range(3):
            judging.zero_grad()
            (critic(torch.randn(4, 2)).mean() - critic(maker(torch.randn(4, 2)).detach()).mean()).backward()
            judging.step()
            making.zero_grad()
            critic(maker(torch.randn(4, 2))).mean().backward()  # adds to the critic's consumed gradients
            making.step()

    assert {one.stale for one in steps(program)} == {0}


def _dropout_and_norm_program() -> tuple[list[float], list[float], Any, float, list[Any]]:
    """Trains, evaluates and draws; returns everything that it computed."""
    torch.manual_seed(0)
    random.seed(0)
    x, y = torch.randn(32, 4), torch.randint(0, 2, (32,))
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses, drawn = [], []
    for epoch in range(3):
        model.train()
        for part in torch.randperm(32).split(8):
            loss = nn.functional.cross_entropy(model(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():  # without eval(): the generator and the running statistics are used
            losses.append(model(x).sum().item())
        drawn.append(random.random() + epoch)
    return losses, drawn, torch.random.get_rng_state(), float(torch.rand(1)), list(model.state_dict().values())


@pytest.mark.parametrize("pretend", [False, True])
def test_the_trace_changes_nothing_bit_for_bit(pretend: bool) -> None:
    plain = _dropout_and_norm_program()
    seen: list[Any] = []
    trace = traced(lambda: seen.append(_dropout_and_norm_program()), pretend=pretend)
    losses, drawn, generator, number, weights = seen[0]
    assert losses == plain[0]
    assert drawn == plain[1]
    assert torch.equal(generator, plain[2])
    assert number == plain[3]
    assert all(torch.equal(one, other) for one, other in zip(weights, plain[4], strict=True))
    assert any(one.difference for one in trace.of(events.Forward)), "second passes did run"
    assert [one.loss for one in trace.of(events.Backward)] == [loss for n, loss in enumerate(losses) if n % 5 != 4]


def test_every_hook_is_taken_out_again() -> None:
    owners = (
        nn.Module,
        torch.optim.Optimizer,
        torch.autograd,
        torch,
        torch.Tensor,
        torch.cuda,
        torch.utils.data.DataLoader,
        nn.functional,
        torch.jit,
    )
    before = [dict(vars(owner)) for owner in owners]
    with pytest.raises(ZeroDivisionError):
        traced(lambda: 1 // 0, pretend=True)
    for owner, names in zip(owners, before, strict=True):
        changed = {name for name in {*names, *vars(owner)} if vars(owner).get(name) is not names.get(name)}
        assert changed <= {"__parameters__", "__abstractmethods__"}, owner
    assert steps(lambda: None) == []
    assert not torch.nn.modules.module._global_parameter_registration_hooks


def test_nothing_is_kept_alive() -> None:
    references: list[Any] = []

    def program() -> None:
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        nn.functional.cross_entropy(model(data()[0]), data()[1]).backward()
        optimizer.step()
        references.extend([weakref.ref(model), weakref.ref(optimizer), weakref.ref(model.out.weight)])

    happened: list[Event] = []
    recorder = Recorder(happened.append)
    with recorder.installed():
        program()
        gc.collect()
        assert [one() for one in references] == [None, None, None]


def test_events_stand_on_the_users_line() -> None:
    trace = traced(train(lambda model, optimizer: optimizer.zero_grad(), count=1))
    lines = {type(one).__name__: one.place for one in trace.events}
    assert {place.file for place in lines.values()} == {__file__}
    assert lines["Forward"].line == lines["Backward"].line < lines["OptimizerStep"].line
    assert lines["ZeroGrad"].function == "<lambda>"


def test_modules_within_modules_are_one_forward() -> None:
    x, _ = data()
    model = Net()
    found = list(traced(lambda: model(x)).of(events.Forward))
    assert [(one.kind, one.parameters, one.active) for one in found] == [("Net", 4 * 8 + 8 + 16 + 16 + 2, 2)]


def test_two_passes_differ_only_where_something_is_random() -> None:
    x, _ = data()

    def passes(model: Any) -> events.Forward:
        with torch.no_grad():
            return next(traced(lambda: model(x)).of(events.Forward))

    training = passes(Net())
    assert training.difference is not None
    assert training.difference > 0.01
    assert training.moved is not None
    assert training.moved > 0.01
    for quiet in (Net().eval(), nn.Linear(4, 2)):
        found = passes(quiet)
        assert (found.difference, found.moved) == (0.0, 0.0)


def test_a_module_that_changes_itself_is_called_once() -> None:
    class Counting(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.layer(x) + self.calls

    model, hooked = Counting(), []
    model.register_forward_hook(lambda *_: hooked.append(1))
    traced(lambda: model(data()[0]))
    assert model.calls == 1
    assert hooked == [1]


def test_bytes_kept_for_backward_are_those_of_the_activations() -> None:
    x, _ = data()
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    found = next(traced(lambda: model(x)).of(events.Forward))
    assert found.tracked
    assert found.saved_bytes == POINTS * 4 * 4 + POINTS * 8 * 4  # the input of the layer, the output of the ReLU


def test_a_replaced_weight_has_a_gradient_and_never_moves() -> None:
    def program(where: str) -> Callable[[], None]:
        def run() -> None:
            x, y = data()
            model = Net().eval()
            if where == "before":
                model.out = nn.Linear(8, 2)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            if where == "after":
                model.out = nn.Linear(8, 2)
            if where == "in place":
                model.out.weight.data = torch.zeros(2, 8)
            for _ in range(3):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

        return run

    last = steps(program("after"))[-1]
    assert [(one.name, one.held, one.distance) for one in last.orphans] == [
        ("Net.out.weight", False, 0.0),
        ("Net.out.bias", False, 0.0),
    ]
    assert all(one.gradient > 0 for one in last.orphans)
    assert last.unheld == 2
    for harmless in ("before", "in place"):
        assert [(one.orphans, one.unheld) for one in steps(program(harmless))] == [((), 0)] * 3


def test_a_late_group_holds_the_new_weight() -> None:
    def program() -> None:
        x, y = data()
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[1] = nn.Linear(4, 2)
        optimizer.add_param_group({"params": model[1].parameters()})
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    (one,) = steps(program)
    assert [orphan.held for orphan in one.orphans] == [True, True]
    assert all(orphan.distance > 0 for orphan in one.orphans)


@pytest.mark.parametrize("register", ["module", "parameter", "buffer"])
def test_what_torch_refuses_is_told_in_its_own_words(register: str) -> None:
    class Early(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            if register == "module":
                self.layer = nn.Linear(2, 2)
            elif register == "parameter":
                self.weight = nn.Parameter(torch.zeros(1))
            else:
                self.register_buffer("mean", torch.zeros(1))
            super().__init__()

    class Never(Early):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 2)

    def program() -> None:
        for kind in (Early, Never):
            with pytest.raises(AttributeError):
                kind()

    early, never = traced(program).of(events.AttributeRefused)
    assert "before Module.__init__() call" in early.message
    assert (early.initialises_later, never.initialises_later) == (True, False)


def test_a_thrown_away_conversion_is_told_from_a_kept_one() -> None:
    x = torch.zeros(3)

    def program() -> None:
        x.half()
        y = x.half()
        x.to(torch.float32)
        y.float().sum()

    found = [(one.method, one.discarded, one.before == one.after) for one in traced(program).of(events.Moved)]
    assert found == [("half", True, False), ("half", False, False), ("to", True, True), ("float", False, False)]


def test_saving_is_read_back(tmp_path: Any) -> None:
    model = Net()
    with_place = tmp_path / "whole.pt"

    def program() -> None:
        torch.save(model, with_place)
        torch.save({"net": model, "epoch": 3}, str(with_place))
        torch.save(model.state_dict(), with_place)
        torch.save([1, 2, 3], with_place)

    whole, inside, state = traced(program).of(events.Saved)
    for saved in (whole, inside):
        assert saved.module
        assert "Unsupported" in (saved.refusal or "")
        assert f"{__name__}.Net" in saved.needs
    assert (state.module, state.refusal, state.needs) == (False, "", ())


def test_the_step_limit_ends_even_a_program_that_catches_exceptions() -> None:
    reached = []

    def program() -> None:
        x, y = data()
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for number in range(100):
            try:
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            except Exception:  # noqa: S112 - what programs do
                continue
            reached.append(number)

    with pytest.raises(EnoughSteps):
        traced(program, max_steps=5)
    assert len(reached) == 4


def test_what_the_trace_cannot_look_at_does_not_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("never seen such a module")

    monkeypatch.setattr("torchlint.confirm.trace.Twin", fail)
    monkeypatch.setattr("torchlint.confirm.ledger.Ledger.consume", fail)
    seen: list[Any] = []
    trace = traced(lambda: seen.append(_dropout_and_norm_program()))
    assert seen[0][0] == _dropout_and_norm_program()[0]
    told = {one.message for one in trace.of(events.Untraced)}
    assert len(told) == 1
    assert "LookupError: never seen such a module" in told.pop()
    assert len(list(trace.of(events.OptimizerStep))) == 12


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("transform", "seen"),
    [
        (lambda model: torch.compile(model, backend="eager"), 2),
        (torch.jit.script, 2),
        (lambda model: torch.jit.trace(model.eval(), torch.zeros(2, 4)), 0),  # called below Python: steps are seen
        (torch.fx.symbolic_trace, 2),
        (nn.DataParallel, 2),
    ],
)
def test_transformed_models_still_train(transform: Callable[[Any], Any], seen: int) -> None:
    def program() -> None:
        model = transform(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()

    trace = traced(program)
    assert [one.worth for one in trace.of(events.OptimizerStep)] == [1, 2]
    assert not list(trace.of(events.Untraced))
    used = trace.used_for_gradients()
    assert [one.parameters for one in trace.of(events.Forward) if one.number in used] == [30] * seen


def test_what_a_loss_was_given_is_measured_on_its_first_calls() -> None:
    scores, target = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True), torch.tensor([2])

    def program() -> None:
        for _ in range(20):
            nn.CrossEntropyLoss()(scores.softmax(dim=1).view(1, 3), target)
        nn.functional.nll_loss(scores.log_softmax(dim=1), target)

    of_probabilities, *_, of_logarithms = traced(program).of(events.LossComputed)
    assert of_probabilities.loss == "cross_entropy" and of_probabilities.node == "Softmax"
    assert of_probabilities.mass < 1e-6 and of_probabilities.classes == 3
    assert of_probabilities.output_tracked and not of_probabilities.target_tracked
    assert of_logarithms.loss == "nll_loss" and of_logarithms.evidence < 1e-6
    assert len(list(traced(program).of(events.LossComputed))) == 6 + 1


def test_a_loss_that_refuses_its_input_says_so() -> None:
    def program() -> None:
        with contextlib.suppress(RuntimeError):
            nn.functional.binary_cross_entropy(torch.tensor([2.0]), torch.tensor([1.0]))

    (refused,) = traced(program).of(events.LossComputed)
    assert "between 0 and 1" in refused.error and refused.value is None and refused.highest == 2


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_a_dimension_that_torch_chose_is_told_and_its_warning_stays_where_it_was(name: str) -> None:
    def program() -> None:
        getattr(nn.functional, name)(torch.zeros(2, 3, 4))

    with pytest.warns(UserWarning, match="Implicit dimension choice") as plain:
        program()
    with pytest.warns(UserWarning, match="Implicit dimension choice") as caught:
        (chosen,) = traced(program).of(events.Normalised)
    assert (chosen.dimensions, chosen.dimension, chosen.told) == (3, 0, False)
    assert (caught[0].filename, caught[0].lineno) == (plain[0].filename, plain[0].lineno)


def test_losses_can_be_scripted_while_they_are_traced() -> None:
    scores, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    made: list[Any] = []
    traced(lambda: made.append(torch.jit.script(nn.CrossEntropyLoss())))
    assert made[0](scores, target) == nn.functional.cross_entropy(scores, target)


def _half(x: torch.Tensor) -> torch.Tensor:
    return x / 2


class Halved:
    def __init__(self) -> None:
        self.value = _half(torch.tensor(1.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_classes_can_be_scripted_while_they_are_traced() -> None:
    made: list[Any] = []
    traced(lambda: made.append(torch.jit.script(Halved)))
    assert made[0]().value == 0.5


@pytest.mark.parametrize(("start", "expected"), [(0, 2), (1, 1)])
def test_samples_that_lie_behind_each_other_in_one_vector_are_counted(start: int, expected: int) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(start), nn.Linear(9 if start else 18, 3))
    (applied,) = traced(lambda: net(torch.randn(2, 1, 3, 3))).of(events.LinearApplied)
    assert applied.merged == expected and applied.dimensions == start + 1
