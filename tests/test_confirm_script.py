"""`torchlint confirm SCRIPT`: real programs, each in a process of its own, whatever they do."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.training

HERE = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
COMMAND = [sys.executable, "-m", "torchlint", "confirm"]

TRAIN = """
    import torch

    def train(steps):
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for number in range(steps):
            loss = model(torch.ones(2, 3)).square().sum()
            loss.backward()
            optimizer.step()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def confirm(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "env": ENVIRONMENT, **options},
    )


def report(*arguments: str, **options: Any) -> dict[str, Any]:
    """The JSON report of a run, with its exit status and what it wrote besides."""
    done = confirm("--output-format", "json", "--output-file", "report.json", *arguments, **options)
    assert Path("report.json").is_file(), done.stderr
    found: dict[str, Any] = json.loads(Path("report.json").read_text(encoding="utf-8"))
    Path("report.json").unlink()
    assert found["exit_status"] == done.returncode
    return {**found, "status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, int, str, float]]:
    return [(v["filename"], v["code"], v["location"]["row"], v["verdict"], v["value"]) for v in found["verdicts"]]


# ------------------------------------------------------------------------------------------------------------ verdicts


def test_a_program_of_two_files_gets_a_verdict_on_each_finding() -> None:
    write("lib/steps.py", TRAIN)
    write(
        "train.py",
        """
        import sys, torch
        sys.path.append("lib")
        import steps

        def never(model, optimizer, loader):
            for x in loader:
                loss = model(x).sum()
                loss.backward()
                optimizer.step()

        steps.train(int(sys.argv[1]))
        net = torch.nn.Linear(1, 1)
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        for again in range(2):
            net(torch.ones(1, 1)).sum().backward()
            sgd.step()
            break
        never(net, sgd, [])
        print("trained", flush=True)
        """,
    )
    found = report("train.py", "5")
    assert verdicts(found)[0] == ("lib/steps.py", "missing-zero-grad", 9, "confirmed", 2)
    assert [one[3] for one in verdicts(found)[1:]] in (["not-reached"], ["not-reached", "harmless"])
    assert (found["status"], found["stdout"]) == (1, "trained\n")
    assert sorted(found["files"]) == ["lib/steps.py", "train.py"]
    run = found["runs"][0]
    assert (run["ended"], run["steps"], run["status"]) == ("itself", 6, 0)
    first = run["optimizers"][0]
    assert first["worth"] == [1, 2, 3, 4, 5]
    assert len(first["loss"]) == 5
    assert all(isinstance(loss, float) for loss in first["loss"])
    assert run["unmoved"] == []
    assert run["parameters"] == 4


def test_a_clean_program_is_clean() -> None:
    write("train.py", TRAIN.replace("loss.back", "optimizer.zero_grad(); loss.back") + "\n    train(5)\n")
    found = report("train.py")
    assert (found["status"], found["verdicts"], found["runtime_only"]) == (0, [], [])


def test_what_only_the_run_shows_is_told_with_its_line() -> None:
    write(
        "train.py",
        """
        import importlib, torch
        model = torch.nn.Linear(3, 1)
        optimizer = getattr(torch.optim, "SGD")(model.parameters(), lr=0.01)
        clear = getattr(optimizer, "zero" + "_grad") if False else lambda: None
        for number in range(4):
            clear()
            getattr(model(torch.ones(2, 3)).sum(), "backward")()
            getattr(optimizer, "step")()
        """,
    )
    found = report("train.py")
    assert found["verdicts"] == []
    [only] = found["runtime_only"]
    assert (only["code"], only["filename"], only["location"]["row"], only["value"]) == (
        "missing-zero-grad", "train.py", 8, 2,
    )  # fmt: skip
    assert only["source"].startswith("getattr(model(")
    assert found["status"] == 1


def test_it_runs_as_python_would(folder: Path) -> None:
    write("src/beside.py", "WORD = 'beside'")
    script = write(
        "src/main.py",
        """
        import os, pickle, sys, inspect, beside
        class Thing:
            pass
        assert pickle.loads(pickle.dumps(Thing())).__class__ is Thing
        assert inspect.getsource(Thing).startswith("class Thing")
        print(sys.argv, __name__, __file__, os.getcwd(), beside.WORD, sys.stdin.read(), os.environ["OMP_NUM_THREADS"])
        print([path for path in sys.path if "torchlint" not in path], globals().get("__spec__"), __doc__)
        print("torch" in sys.modules, [name for name in ("click", "rich", "libcst") if name in sys.modules])
        """,
    )
    arguments = [str(script), "--lr", "0.1", "-m", "--", "x"]
    plain = subprocess.run([sys.executable, *arguments], input="typed", capture_output=True, text=True, env=ENVIRONMENT)
    assert plain.returncode == 0, plain.stderr
    traced = confirm("--output-file", "report.txt", *arguments, input="typed", stdin=None)
    assert (traced.stdout, traced.stderr, traced.returncode) == (plain.stdout, "", 0)
    assert "never imported torch" in Path("report.txt").read_text(encoding="utf-8")


def test_the_trace_changes_nothing(folder: Path) -> None:
    """Same seed, same losses, weights and generators, bit for bit, with and without it."""
    write(
        "train.py",
        """
        import os
        os.environ["OMP_NUM_THREADS"] = "2"  # before torch is imported
        import hashlib, random
        import numpy, torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        random.seed(1); numpy.random.seed(1); torch.manual_seed(1)
        data = TensorDataset(torch.randn(96, 6), torch.randint(0, 3, (96,)))
        model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for epoch in range(3):
            for x, y in DataLoader(data, batch_size=16, shuffle=True, num_workers=epoch):
                loss = nn.functional.cross_entropy(model(x + 0.1 * random.random()), y)
                loss.backward()
                optimizer.step()
                print(loss.item().hex())
            print(model(data.tensors[0]).sum().item().hex())
        state = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
        print(hashlib.sha256(state).hexdigest(), torch.get_num_threads(), torch.rand(1).item().hex())
        print(random.random(), numpy.random.rand(), torch.initial_seed())
        """,
    )
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "OMP_NUM_THREADS"}
    plain = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, env=environment)
    assert plain.returncode == 0, plain.stderr
    found = report("--max-steps", "0", "train.py", env=environment)
    assert found["stdout"] == plain.stdout
    assert {one[1] for one in verdicts(found) if one[3] == "confirmed"} >= {"missing-zero-grad"}


# -------------------------------------------------------------------------------------------------------------- bounds


def test_the_step_limit_still_shows_what_follows_an_epoch() -> None:
    write(
        "train.py",
        """
        import atexit, torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset
        atexit.register(print, "at exit")
        x = torch.randn(800, 4)
        loader = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=8)
        model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def accuracy(model):
            with torch.no_grad():
                return sum((model(x).argmax(1) == y).sum().item() for x, y in loader)

        try:
            for epoch in range(100):
                for batch, (x, y) in enumerate(loader):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
                print("epoch", epoch, batch)
                accuracy(model)
        finally:
            print("tidied")
        """,
    )
    found = report("--max-steps", "10", "train.py")
    assert found["stdout"] == "epoch 0 4\ntidied\nat exit\n"
    assert (found["runs"][0]["steps"], found["runs"][0]["ended"]) == (10, "step-limit")
    assert [(code, verdict) for _, code, _, verdict, _ in verdicts(found)] == [("inference-without-eval", "confirmed")]
    assert any("--max-steps" in note for note in found["notes"])


def test_a_program_that_swallows_the_limit_still_ends() -> None:
    write(
        "train.py",
        TRAIN
        + """
    while True:
        try:
            train(3)
        except BaseException:
            print("swallowed", flush=True)
""",
    )
    found = report("--max-steps", "4", "--timeout", "60", "train.py")
    assert found["runs"][0]["ended"] == "step-limit"
    assert 1 <= found["stdout"].count("swallowed") <= 5


def test_the_time_limit_kills_the_whole_group() -> None:
    write(
        "slow.py",
        """
        import os, subprocess, sys, time
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
        print(left.pid, flush=True)
        try:
            time.sleep(100)
        finally:
            print("tidied", flush=True)
        """,
    )
    started = time.monotonic()
    found = report("--timeout", "6", "slow.py")
    assert time.monotonic() - started < 40
    child, tidied = found["stdout"].split()
    assert tidied == "tidied"
    assert found["runs"][0]["ended"] == "time-limit"
    assert found["status"] == 0
    assert not running(int(child))


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


WAITS = (
    TRAIN
    + """
    import sys, time
    print("terminal" if sys.stdin.isatty() else "no terminal", sys.stdin.readline().strip(), flush=True)
    train(3)
    try:
        print("trained", flush=True)
        time.sleep(100)
    finally:
        print("tidied", flush=True)
"""
)


def test_an_interrupt_reports_what_is_known() -> None:
    write("train.py", WAITS)
    running = subprocess.Popen(
        [*COMMAND, "train.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert running.stdin is not None
    assert running.stdout is not None
    print("hello", file=running.stdin, flush=True)
    assert running.stdout.readline() == "no terminal hello\n"
    assert running.stdout.readline() == "trained\n"
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert out.startswith("tidied\n")
    assert "missing-zero-grad   confirmed" in out
    assert "interrupted; this is what was known" in out
    assert running.returncode == 1


def test_on_a_terminal_the_program_has_it_and_ctrl_c_reaches_it() -> None:
    write("train.py", WAITS)
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [*COMMAND, "train.py"], ENVIRONMENT)
    seen, answers = b"", [(b"torchlint: runs train.py", b"hello\n"), (b"trained", b"\x03")]
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
        if answers and answers[0][0] in seen:
            os.write(terminal, answers.pop(0)[1])
    text = seen.decode()
    assert "terminal hello" in text, text
    assert "no terminal" not in text
    assert "tidied" in text
    assert "KeyboardInterrupt" in text
    assert "interrupted; this is what was known" in text
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1


# ---------------------------------------------------------------------------------------- modules, devices, comparison


def test_a_module_and_a_test_suite() -> None:
    write("package/__init__.py", "")
    write("package/__main__.py", TRAIN + "\n    import sys\n    print(sys.argv[1:], __package__)\n    train(3)\n")
    found = report("-m", "package", "a", "-b")
    assert found["stdout"] == "['a', '-b'] package\n"
    assert verdicts(found) == [("package/__main__.py", "missing-zero-grad", 9, "confirmed", 2)]
    assert found["program"] == ["-m", "package", "a", "-b"]

    write(
        "tests/test_training.py",
        TRAIN + "\n    def test_one():\n        train(3)\n\n    def test_two():\n        assert 0\n",
    )
    found = report("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "1 failed, 1 passed" in found["stdout"]
    assert verdicts(found) == [("tests/test_training.py", "missing-zero-grad", 9, "confirmed", 2)]


def test_scaled_losses_are_told_as_the_program_computed_them() -> None:
    write(
        "train.py",
        """
        import torch
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for number in range(8):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(torch.ones(2, 3)).float().square().mean() / 2
            scaler.scale(loss).backward()
            print(loss.item())
            if number % 2:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
        """,
    )
    found = report("train.py")
    losses = [float(line) for line in found["stdout"].split()]
    assert found["runs"][0]["optimizers"][0]["loss"] == pytest.approx(
        [sum(losses[n : n + 2]) / 2 for n in (0, 2, 4, 6)]
    )
    assert (found["status"], found["verdicts"], found["runtime_only"]) == (0, [], [])


def test_a_pretended_gpu() -> None:
    write(
        "train.py",
        """
        import torch
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = torch.nn.Linear(3, 1).to(device)
        print(next(model.parameters()).device, flush=True)
        x = torch.ones(2, 3)
        model(x)
        """,
    )
    found = report("--device", "pretend-cuda", "train.py")
    assert found["stdout"] == "cuda:0\n"
    assert found["device"] == "pretend-cuda"
    assert [one[1:4] for one in verdicts(found)] == [("device-mismatch", 7, "confirmed")]
    assert "on the same device" in found["stderr"]
    assert found["runs"][0]["error"].startswith("RuntimeError: Expected all tensors to be on the same device")


def test_both_runs_of_compare_fix_and_the_users_files(folder: Path) -> None:
    script = write(
        "project/train.py",
        TRAIN + "\n    torch.save(torch.zeros(1), 'written.pt')\n    train(4)\n    print(open('data.txt').read())\n",
    )
    write("project/data.txt", "some data")
    write("project/pyproject.toml", "")
    before = script.read_bytes()
    done = confirm("--compare-fix", "--output-format", "json", "train.py", cwd=folder / "project")
    found = json.loads(done.stdout[done.stdout.index("{") :])
    [verdict] = found["verdicts"]
    assert (verdict["verdict"], verdict["value"], verdict["fixed"]["verdict"], verdict["fixed"]["value"]) == (
        "confirmed", 2, "harmless", 1,
    )  # fmt: skip
    assert verdict["filename"] == "train.py"
    assert [run["name"] for run in found["runs"]] == ["as is", "fixed"]
    first, second = (run["optimizers"][0]["loss"] for run in found["runs"])
    assert first[:2] == second[:2], "the same seed, and nothing stale before the second step is over"
    assert first[2:] != second[2:]
    assert script.read_bytes() == before
    assert sorted(path.name for path in (folder / "project").iterdir()) == ["data.txt", "pyproject.toml", "train.py"]


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.py"], "nothing.py: there is no such script"),
        (["."], ". is a folder"),
        (["some.ipynb"], "is a notebook"),
        (["--rule", "missing-zerograd", "x.py"], "unknown rule 'missing-zerograd'; did you mean"),
        (["--timeout", "0", "x.py"], "must be positive"),
        (["--seeds", "2", "x.py"], "--seeds is for the rules' own proof"),
        (["-m"], "-m needs the name of a module"),
        (["--compare-fix"], "are for a script"),
        (["--devise", "cpu", "x.py"], "No such option"),
    ],
)
def test_wrong_use_is_a_sentence(arguments: list[str], message: str) -> None:
    write("x.py", "print('ran')")
    write("some.ipynb", "{}")
    done = confirm(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "status", "sentence"),
    [
        ("raise ValueError('out of data')", 1, "failed with status 1: ValueError: out of data at x.py:1."),
        ("x = (", 1, "failed with status 1: SyntaxError"),
        ("import sys; sys.exit(3)", 3, "failed with status 3."),
        ("import os; print('said', flush=True); os._exit(7)", 7, "failed with status 7."),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by signal 9"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", 0, "started another process at x.py:1"),
        (
            "import sys; sys.modules['torch'] = None; import torch",
            2,
            "the program needs torch, and this Python has none",
        ),
        ("import os; os.closerange(3, 200); print('said')", 0, "never imported torch"),
    ],
)
def test_whatever_a_program_does(text: str, status: int, sentence: str) -> None:
    write("x.py", text)
    done = confirm("x.py")
    assert done.returncode == status
    assert sentence in done.stdout + done.stderr
    assert ("said" in done.stdout) == ("said" in text)


def test_a_program_that_prints_megabytes_moves_away_and_deletes_itself() -> None:
    write("steps.py", TRAIN)
    write(
        "train.py",
        """
        import os, sys, tempfile
        import steps
        sys.stdout.write("x" * 3_000_000)
        os.remove(steps.__file__)
        os.remove(__file__)
        os.chdir(tempfile.gettempdir())
        steps.train(3)
        """,
    )
    found = report("train.py")
    assert found["stdout"] == "x" * 3_000_000
    assert verdicts(found) == [("steps.py", "missing-zero-grad", 9, "confirmed", 2)]
    assert found["verdicts"][0]["source"] == "loss.backward()"
