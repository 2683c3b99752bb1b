"""Programs in processes of their own: what comes back, whatever they do."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchlint.confirm import events
from torchlint.confirm.harness import ConfirmError, Harness, Program, Run

pytest.importorskip("torch")
pytestmark = pytest.mark.training

TRAINING = """
    import sys, torch
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
"""


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness("cpu", processes=1) as ready:
        yield ready


@pytest.fixture
def run(harness: Harness, tmp_path: Path):  # type: ignore[no-untyped-def]
    def start(text: str, **options: object) -> Run:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(text), encoding="utf-8")
        return harness.run(Program(script, **options))  # type: ignore[arg-type]

    return start


def test_a_program_runs_as_python_would_run_it(run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "beside.py").write_text("HERE = 'a module beside the program'", encoding="utf-8")
    result = run(
        """
        import beside, os, sys, __main__
        print(sys.argv[1:], __name__, os.path.basename(__file__), __main__.beside.HERE, os.listdir())
        """,
        argv=("--epochs", "2"),
    )
    assert result.output == "['--epochs', '2'] __main__ program.py a module beside the program []\n"
    assert result.status == 0
    assert result.trace.end == events.Ended(0, events.Place(), 0, False, "cpu", result.trace.end.torch)


def test_modules_of_the_users_folder_do_not_shadow_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise ImportError('not the one')", encoding="utf-8")
    (tmp_path / "program.py").write_text("print('fine')", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/program.py").write_text("import sys; print(sys.path[0])", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with Harness("cpu", processes=1) as ready:
        assert ready.run(Program(Path("program.py"))).output == "fine\n"
        assert ready.run(Program(Path("elsewhere/program.py"))).output == f"{tmp_path / 'elsewhere'}\n"


def test_its_events_come_back(run) -> None:  # type: ignore[no-untyped-def]
    result = run(TRAINING)
    assert [one.step for one in result.trace.of(events.OptimizerStep)] == [1, 2, 3, 4, 5, 6]
    assert {one.place.file for one in result.trace.of(events.Backward)} == {str(result.program.script)}


def test_the_step_limit_ends_it_cleanly(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        "try:\n" + textwrap.indent(textwrap.dedent(TRAINING), "    ") + "finally: print('tidied')", max_steps=4
    )
    assert len(list(result.trace.of(events.OptimizerStep))) == 4
    assert (result.status, result.output) == (0, "tidied\n")
    assert result.trace.end.stopped


@pytest.mark.parametrize(
    ("text", "status", "output"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no data')", 1, "no data\n"),
        ("raise SystemExit", 0, ""),
        ("import os; os._exit(7)", 7, ""),
        ("import atexit; atexit.register(print, 'bye')", 0, "bye\n"),
        ("raise KeyboardInterrupt", 130, None),
    ],
)
def test_its_exit_status_is_its_own(run, text: str, status: int, output: str | None) -> None:  # type: ignore[no-untyped-def]
    result = run(text)
    assert result.status == status
    assert output is None or result.output == output


def test_its_failure_is_its_own_and_names_no_line_of_ours(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
        import torch
        def main():
            torch.nn.Linear(2, 2)(torch.zeros(1, 3))
        main()
        """
    )
    assert result.status == 1
    assert "mat1 and mat2 shapes cannot be multiplied" in result.output
    assert "program.py" in result.output
    assert str(Path("torchlint", "confirm")) not in result.output
    (raised,) = result.trace.of(events.Raised)
    assert (raised.kind, raised.place.line, raised.place.function) == ("RuntimeError", 4, "main")


def test_a_program_that_does_not_parse_says_where(run) -> None:  # type: ignore[no-untyped-def]
    result = run("def broken(:\n    pass\n")
    assert result.status == 1
    assert "program.py" in result.output
    assert "SyntaxError" in result.output


def test_a_hanging_program_is_killed_with_all_that_it_started(run) -> None:  # type: ignore[no-untyped-def]
    started = time.monotonic()
    result = run(
        """
        import subprocess, sys, time, torch
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        torch.nn.Linear(2, 2)(torch.zeros(1, 2))
        time.sleep(600)
        """,
        timeout=3.0,
    )
    assert result.status is None
    assert time.monotonic() - started < 30
    assert len(list(result.trace.of(events.Forward))) == 1, "what was known by then is kept"
    assert result.trace.end is None
    assert _gone(int(result.output))


def test_what_a_program_leaves_running_goes_with_it(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
        import subprocess, sys
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
        """
    )
    assert result.status == 0
    assert _gone(int(result.output))


def _gone(pid: int) -> bool:
    for _ in range(50):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_programs_know_nothing_of_each_other(run) -> None:  # type: ignore[no-untyped-def]
    run("import torch, builtins; builtins.left = 1; torch.manual_seed(5); torch.set_default_dtype(torch.float64)")
    result = run("import torch, builtins; print(hasattr(builtins, 'left'), torch.get_default_dtype())")
    assert result.output == "False torch.float32\n"


def test_seeds_are_set_before_the_program_begins(run) -> None:  # type: ignore[no-untyped-def]
    text = "import random, torch; print(random.random(), torch.rand(1).item())"
    one, again, other = run(text, seed=1), run(text, seed=1), run(text, seed=2)
    assert one.output == again.output != other.output


def test_loader_workers_write_no_events(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
        import torch
        class Rows(torch.utils.data.Dataset):
            def __init__(self): self.net = torch.nn.Linear(2, 2)
            def __len__(self): return 6
            def __getitem__(self, i): return self.net(torch.ones(2)).detach()
        for rows in torch.utils.data.DataLoader(Rows(), num_workers=2, batch_size=3): pass
        print(rows.shape)
        """
    )
    assert (result.status, result.output) == (0, "torch.Size([3, 2])\n")
    assert list(result.trace.of(events.Forward)) == []
    assert [one.batches for one in result.trace.of(events.Iterated)] == [2]


def test_an_accelerator_is_pretended_for_programs_that_need_one(run) -> None:  # type: ignore[no-untyped-def]
    text = "import torch; print(torch.cuda.is_available(), torch.nn.Linear(1, 1).cuda().weight.device)"
    result = run(text, accelerator=True)
    assert (result.output, result.device) == ("True cuda:0\n", "pretend-cuda")
    assert run(text).status == 1


def test_a_device_that_is_not_there_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfirmError, match="unknown device 'tpu': choose one of auto, cpu"), Harness("tpu"):
        pass
    import torch

    if not torch.cuda.is_available():
        with (
            pytest.raises(ConfirmError, match=r"no CUDA device here\. Remedy: --device cpu"),
            Harness("cuda", processes=1),
        ):
            pass


def test_a_python_without_torch_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfirmError, match=r"pip install 'torchlint\[confirm\]'"), Harness("cpu", processes=1):
        pass


def test_once_is_serve_without_a_fork(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Where processes cannot fork, each program gets a fresh one; it must tell the same."""
    from torchlint.confirm.harness import _Single

    forked = run(TRAINING)
    os_environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    single = _Single(os_environment, tmp_path)
    assert single.hello["torch"] == forked.trace.end.torch
    from torchlint.confirm.child import Job

    trace, output = tmp_path / "trace", tmp_path / "output"
    answer = single.run(Job(str(tmp_path / "program.py"), str(trace), cwd=str(tmp_path), output=str(output)))
    assert answer["status"] == 0
    names = [json.loads(line)[0] for line in trace.read_text().splitlines()]
    assert names == [type(one).__name__ for one in forked.trace.events]
