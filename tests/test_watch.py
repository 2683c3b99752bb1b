"""`torchlint.watch`: the trace inside a running program. What it says, what it costs, and that it leaves no mark."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import torchlint
from torchlint.confirm import events

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.training

from torch import nn  # noqa: E402

from torchlint.confirm import trace as tracing  # noqa: E402
from torchlint.confirm import watch as watching  # noqa: E402

HERE = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pieces() -> tuple[Any, Any, Any, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    return model, torch.optim.Adam(model.parameters(), lr=0.01), torch.randn(16, 4), torch.randint(0, 2, (16,))


def clear(optimizer: Any, wanted: bool) -> None:
    if wanted:
        optimizer.zero_grad()


def train(
    count: int, clears: Callable[[int], bool] = lambda step: True, things: tuple[Any, ...] | None = None
) -> list[float]:
    """Trains with an evaluation every ten steps, and returns all losses."""
    model, optimizer, x, y = things or pieces()
    losses = []
    for step in range(count):
        clear(optimizer, clears(step))
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 9:
            model.eval()
            with torch.no_grad():
                losses.append(model(x).sum().item())
            model.train()
    return [*losses, torch.rand(1).item()]


BACKWARD = 1 + next(n for n, line in enumerate(Path(__file__).read_text().splitlines()) if "  loss.backward()" in line)


def codes(report: Any) -> list[str]:
    return [one.code for one in report.confirmed]


def test_a_pitfall_is_told_once_on_the_users_line_with_its_number() -> None:
    with pytest.warns(torchlint.TorchlintWarning) as told, torchlint.watch() as report:
        train(50, lambda step: False)
    assert [(one.filename, one.lineno) for one in told] == [(__file__, BACKWARD)]
    assert str(told[0].message).startswith("missing-zero-grad: at step 2 .grad held the gradients of 2 steps")
    (found,) = report.confirmed
    assert found.number is not None
    assert (found.code, found.spot.row, found.number.value, found.number.expected) == (
        "missing-zero-grad", BACKWARD, 2, 1,
    )  # fmt: skip
    assert str(report).splitlines()[0].startswith(f"{found.spot}: missing-zero-grad: at step 2")
    assert report.steps == 50


def test_it_is_told_while_the_program_runs() -> None:
    model, optimizer, x, y = pieces()
    with pytest.warns(torchlint.TorchlintWarning) as told, torchlint.watch(model, optimizer, every=10):
        train(watching.START, lambda step: False, (model, optimizer, x, y))
        assert len(told) == 1


@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_clean_program_hears_nothing(every: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torchlint.watch(every=every) as report:
            train(150)
    assert report.confirmed == []
    assert "150 steps watched, no pitfall confirmed" in str(report)


@pytest.mark.parametrize("every", [1, 7])
def test_what_the_program_computes_does_not_change(every: int) -> None:
    plain = train(60)
    with torchlint.watch(every=every) as report:
        watched = train(60)
    assert watched == plain
    assert any(one.difference is not None for one in report.trace.of(events.Forward)), "second passes did run"


def hooked() -> list[dict[str, Any]]:
    owners = (nn.Module, torch.optim.Optimizer, torch.autograd, torch, torch.Tensor, torch.utils.data.DataLoader)
    optimizers: Any = sys.modules["torch.optim.optimizer"]
    registries = (
        optimizers._global_optimizer_post_hooks,
        optimizers._global_optimizer_pre_hooks,
        torch.nn.modules.module._global_parameter_registration_hooks,
        torch.nn.modules.module._global_module_registration_hooks,
    )
    return [
        *({name: one for name, one in vars(owner).items() if name != "__parameters__"} for owner in owners),
        *(dict(one) for one in registries),
    ]


def test_every_hook_is_gone_whatever_ends_the_block() -> None:
    def fail() -> None:
        with torchlint.watch():
            train(3)
            raise ZeroDivisionError

    def nested() -> None:
        with torchlint.watch(every=5), torchlint.watch():
            train(8)
            raise KeyboardInterrupt

    def filtered() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with torchlint.watch():
                train(watching.START + 1, lambda step: False)

    before = hooked()
    for program, error in (
        (fail, ZeroDivisionError),
        (nested, KeyboardInterrupt),
        (filtered, torchlint.TorchlintWarning),
    ):
        with pytest.raises(error):
            program()
        assert hooked() == before
        assert tracing.Recorder.active is None


def test_the_programs_own_exception_goes_before_a_warning_made_an_error() -> None:
    with warnings.catch_warnings(), pytest.raises(ZeroDivisionError):
        warnings.simplefilter("error")
        with torchlint.watch():
            train(3, lambda step: False)
            raise ZeroDivisionError


def test_blocks_nest() -> None:
    things = pieces()
    with torchlint.watch(warn=False, every=5) as outer:
        train(20, things=things)
        with torchlint.watch(warn=False) as inner:
            train(10, lambda step: False, things)
        train(5, things=things)
    assert (codes(inner), inner.steps) == (["missing-zero-grad"], 10)
    assert (codes(outer), outer.steps) == (["missing-zero-grad"], 35)


def test_what_begins_late_is_found_in_a_sample() -> None:
    with torchlint.watch(every=20, warn=False) as report:
        train(200, lambda step: step < 120)
    assert codes(report) == ["missing-zero-grad"]
    with torchlint.watch(every=20, warn=False) as report:
        train(200, lambda step: step != 50)  # once, between two samples
    assert codes(report) == []


def test_between_samples_nearly_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    original = tracing.Ledger.before_backward
    monkeypatch.setattr(tracing.Ledger, "before_backward", lambda ledger: (looked.append(1), original(ledger))[1])
    with torchlint.watch(every=100) as report:
        train(1020)
    assert len(looked) == watching.START + 10 * watching.SAMPLE
    assert len(report.trace.events) < 700


def test_memory_stays_bounded_and_nothing_false_comes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "KEPT", 300)
    monkeypatch.setattr(watching, "SHARE", 1e9)
    with torchlint.watch(every=4, warn=False) as report:
        train(500)
    assert len(report.trace.events) < 1200
    assert report.confirmed == []
    with torchlint.watch(every=4, warn=False) as report:
        train(400, lambda step: step > 10)
    assert codes(report) == ["missing-zero-grad"], "what was confirmed stays so when its events are gone"


def test_a_forward_that_waits_for_its_backward_is_no_prediction() -> None:
    things = pieces()
    model, optimizer, x, y = things
    other = nn.Linear(4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torchlint.watch(model, optimizer, every=1):
            kept = model(x)
            train(60, things=(other, torch.optim.SGD(other.parameters(), lr=0.1), x, y))
            optimizer.zero_grad()
            nn.functional.cross_entropy(kept, y).backward()
            optimizer.step()


def test_an_optimizer_built_before_is_known_by_name() -> None:
    model, optimizer, x, y = pieces()
    with torchlint.watch(model, optimizer, warn=False) as report:
        model[4] = nn.Linear(8, 2)
        train(5, things=(model, optimizer, x, y))
    assert codes(report) == ["parameter-replaced-after-optimizer"]
    never = [one.name for one in report.result.runs[0].unmoved]
    assert never == ["Sequential.4.weight", "Sequential.4.bias"]


def test_a_comment_on_the_line_excuses() -> None:
    model, optimizer, x, y = pieces()
    with torchlint.watch(every=1, warn=False) as report:
        for _ in range(4):
            clear(optimizer, False)
            nn.functional.cross_entropy(model(x), y).backward()  # torchlint: ignore[missing-zero-grad] on purpose
            optimizer.step()
    assert codes(report) == []
    with torchlint.watch(ignore=["missing-zero-grad"], warn=False) as report:
        train(4, lambda step: False)
    assert codes(report) == []


def test_a_logger_hears_instead_of_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torchlint.watch(logger=logging.getLogger("mine")):
            train(4, lambda step: False)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("mine", "WARNING")
    assert f"test_watch.py:{BACKWARD}: missing-zero-grad: at step 2" in record.getMessage()


@pytest.mark.parametrize(
    ("things", "options", "error", "said"),
    [
        (([1],), {}, TypeError, "takes models and optimizers, not list"),
        ((), {"every": 0}, ValueError, "every=0"),
        ((), {"ignore": ["missing-zero"]}, ValueError, "did you mean `missing-zero-grad`"),
    ],
)
def test_wrong_use_is_told(things: Any, options: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said), torchlint.watch(*things, **options):
        pass
    assert tracing.Recorder.active is None


def test_two_threads_cannot_be_watched() -> None:
    told: list[str] = []

    def other() -> None:
        try:
            with torchlint.watch():
                pass
        except RuntimeError as error:
            told.append(str(error))

    with torchlint.watch():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread" in told[0]


def test_the_report_is_a_result_and_a_page() -> None:
    with torchlint.watch(every=1, warn=False) as report:
        train(12, lambda step: False)
    result = report.result
    assert [one.step for one in result.runs[0].optimizers[0].steps] == list(range(1, 13))
    assert result.exit_status == 1
    assert codes(result) + [one.code for one in result.runtime_only] == ["missing-zero-grad"]
    assert "missing-zero-grad" in report.html()


# ------------------------------------------------------------------------------------------------- in a fresh process

PROGRAM = """
import os, sys, warnings
import torch, torch.distributed as dist
from torch import nn
import torchlint

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x, y = torch.randn(8, 4), torch.randint(0, 2, (8,))
def one(clears):
    print("case", clears, file=sys.stderr, flush=True)
    optimizer.zero_grad()
    with torchlint.watch(model, optimizer) as report:
        for step in range(6):
            if clears == "all" or rank == 0 and clears == "first":
                optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    print(clears, [one.code for one in report.confirmed], [rank for rank, _ in report.others])

for clears in ("none", "first", "all"):
    one(clears)
dist.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_of_two_processes_the_first_one_speaks_for_both(tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    usual = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    usual |= {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(HERE)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, **usual, "RANK": str(rank)},
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    (first, loud), (second, quiet) = [one.communicate(timeout=180) for one in started]
    assert first.splitlines() == ["none ['missing-zero-grad'] []", "first [] [1]", "all [] []"], loud
    assert second.splitlines() == ["none ['missing-zero-grad'] []", "first ['missing-zero-grad'] []", "all [] []"]
    assert "TorchlintWarning" not in quiet
    _, none, only_second, both = loud.split("case ")
    assert none.count("TorchlintWarning: missing-zero-grad") == 1
    assert "rank 1" not in none, "what all ranks do is told once"
    assert "ddp.py:" in only_second
    assert only_second.count("(rank 1)") == 1
    assert both.strip() == "all"


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_torchlint_is_light(tmp_path: Path) -> None:
    code = """
import sys, torchlint
assert not {"torch", "libcst", "click", "rich"} & set(sys.modules)
assert not hasattr(torchlint, "wach")
sys.modules["torch"] = None
try:
    torchlint.watch
except ImportError as error:
    print(error)
"""
    done = python(code, tmp_path)
    assert done.stdout == "torchlint.watch needs torch. Remedy: pip install 'torchlint[confirm]'\n", done.stderr


def test_a_notebook_cell_is_a_place(tmp_path: Path) -> None:
    code = '''
import linecache, torch, torchlint
from torch import nn
cell = """
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with torchlint.watch(model, optimizer) as report:
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
"""
linecache.cache["<ipython-input-3-abc>"] = (len(cell), None, cell.splitlines(True), "<ipython-input-3-abc>")
exec(compile(cell, "<ipython-input-3-abc>", "exec"))
print(report)
'''
    done = python(code, tmp_path)
    assert done.stdout.startswith("<ipython-input-3-abc>:6: missing-zero-grad: at step 2"), done.stderr
    assert "<ipython-input-3-abc>:6: TorchlintWarning" in done.stderr


def test_a_program_that_watches_itself_can_be_confirmed(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch, torchlint\n"
        "model = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "with torchlint.watch(model, optimizer, warn=False) as report:\n"
        "    for _ in range(5):\n"
        "        model(torch.ones(1, 2)).sum().backward()\n"
        "        optimizer.step()\n"
        "print('inside:', len(report.confirmed))\n"
    )
    done = python(f"import sys; from torchlint.cli import main; main(['confirm', {str(script)!r}])", tmp_path)
    assert "inside: 1" in done.stdout, done.stdout + done.stderr
    assert "missing-zero-grad" in done.stdout
    assert done.returncode == 1
