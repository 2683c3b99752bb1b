"""Distributed programs: each process that torchrun starts is traced, and the report speaks for all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from torchlint.confirm import launch
from torchlint.confirm.match import Assessment
from torchlint.confirm.probe import Outcome
from torchlint.confirm.result import Number, RuntimeOnly, Spot, Verdict
from torchlint.confirm.solo import Errand

HERE = Path(__file__).parent.parent
ERRAND = Errand("torch.distributed.run", "/scratch/trace", ("/project",), ("ddp.py",), module=True, max_steps=9)


@pytest.mark.parametrize(
    ("arguments", "module", "target", "argv"),
    [
        (("-u", "ddp.py", "--lr", "0.1"), False, "ddp.py", ("--lr", "0.1")),
        (("-u", "-m", "project.train", "-u"), True, "project.train", ("-u",)),
    ],
)
def test_a_rank_is_started_with_the_launchers_errand(
    arguments: tuple[str, ...], module: bool, target: str, argv: tuple[str, ...]
) -> None:
    unbuffered, boot, line = launch.rerouted(ERRAND, sys.executable, arguments)
    assert (unbuffered, Path(boot).name) == ("-u", "boot.py")
    rank = Errand.read(line)
    assert (rank.module, rank.target, rank.argv, rank.rank) == (module, target, argv, True)
    assert (rank.trace, rank.roots, rank.max_steps) == (ERRAND.trace, ERRAND.roots, 9)


@pytest.mark.parametrize(
    ("command", "arguments"), [("/bin/sh", ("-u", "x")), (sys.executable, ("x.py",)), (print, (1,))]
)
def test_what_is_no_python_script_is_started_as_it_is(command: object, arguments: tuple[object, ...]) -> None:
    assert launch.rerouted(ERRAND, command, arguments) == arguments


def answer(outcome: Outcome, *shown: int) -> Assessment:
    def number(spot: Spot) -> Number:
        return Number("stale", 2.0, 1.0, "steps' worth", f"measured at {spot}")

    spot = Spot("ddp.py", 3)
    measured = None if outcome is Outcome.NOT_REACHED else number(spot)
    verdict = Verdict("missing-zero-grad", spot, "claim", "consequence", outcome, measured)
    only = (RuntimeOnly("inference-without-eval", Spot("ddp.py", row), number(Spot("ddp.py", row))) for row in shown)
    return Assessment((verdict,), tuple(only))


@pytest.mark.parametrize(
    ("ranks", "outcome", "message"),
    [
        ((Outcome.HARMLESS, Outcome.CONFIRMED), Outcome.CONFIRMED, "measured at ddp.py:3 (rank 1)"),
        ((Outcome.CONFIRMED, Outcome.CONFIRMED), Outcome.CONFIRMED, "measured at ddp.py:3"),
        ((Outcome.NOT_REACHED, Outcome.HARMLESS), Outcome.HARMLESS, "measured at ddp.py:3 (rank 1)"),
        ((Outcome.NOT_REACHED, Outcome.NOT_REACHED), Outcome.NOT_REACHED, "the run never measured anything here"),
    ],
)
def test_harm_on_any_rank_is_harm(ranks: tuple[Outcome, ...], outcome: Outcome, message: str) -> None:
    (verdict,) = launch.together([answer(one) for one in ranks]).verdicts
    assert (verdict.outcome, verdict.message) == (outcome, message)


def test_what_several_ranks_show_is_told_once() -> None:
    shown = launch.together([answer(Outcome.HARMLESS, 7), answer(Outcome.HARMLESS, 7, 8)]).runtime_only
    assert [(one.spot.row, one.number.message) for one in shown] == [
        (7, "measured at ddp.py:7"),
        (8, "measured at ddp.py:8 (rank 1)"),
    ]


PROGRAM = """
import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("gloo")
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(20):
    if dist.get_rank() == 0:
        optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 2, (8,)))
    loss.backward()
    optimizer.step()
    if step % 2 == 0:
        torch.save(model.module.state_dict(), "model.pt")
"""


@pytest.mark.training
def test_under_torchrun_each_rank_is_traced(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    (tmp_path / "ddp.py").write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torchlint", "confirm", "--max-steps", "4", "--output-format", "json"]
    command += ["--output-file", "report.json", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), "ddp.py"]
    usual = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **usual}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    harmed = [*(one for one in report["verdicts"] if one["verdict"] == "confirmed"), *report["runtime_only"]]
    assert {(one["code"], one["value"]) for one in harmed} == {
        ("missing-zero-grad", 2.0),
        ("checkpoint-on-every-rank", 2.0),
    }
    assert all("(rank 1)" in one["message"] for one in harmed if one["code"] == "missing-zero-grad")
    assert report["runs"][0]["steps"] == 4
    assert any("2 processes were traced" in note for note in report["notes"])
    assert report["files"] == ["ddp.py"]


SPAWNING = """
import sys

import torch
import torch.multiprocessing as mp
from torch import nn

def run(rank, steps):
    torch.manual_seed(rank)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(steps):
        if rank == 0:
            optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 2, (8,)))
        loss.backward()
        optimizer.step()
    if rank == 1 and "fail" in sys.argv:
        raise ValueError("no more")

if __name__ == "__main__":
    mp.spawn(run, args=(int(sys.argv[1]),), nprocs=2)
    print("both are done", sys.argv[1:])
"""


def confirm(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, object]]:
    command = [sys.executable, "-m", "torchlint", "confirm", "--output-format", "json"]
    command += ["--output-file", "report.json", *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=240, check=False)
    report = folder / "report.json"
    return done, json.loads(report.read_text()) if report.exists() else {}


@pytest.mark.training
def test_processes_of_torch_multiprocessing_spawn_are_traced(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "train.py").write_text(SPAWNING)
    done, report = confirm(tmp_path, "--max-steps", "4", "train.py", "20", "more")
    assert done.returncode == 1, done.stderr
    assert "both are done ['20', 'more']" in done.stdout, "the program goes on after the limit ended its processes"
    assert "Traceback" not in done.stderr
    (shown,) = report["runtime_only"]
    assert (shown["code"], shown["location"]["row"], shown["value"]) == ("missing-zero-grad", 16, 2.0)
    assert shown["message"].endswith("(process 1)")
    assert (report["runs"][0]["steps"], report["runs"][0]["ended"]) == (4, "step-limit")
    assert any("3 processes were traced; steps and curves are those of process 0" in note for note in report["notes"])
    assert not any("nothing is traced" in note for note in report["notes"])
    assert report["files"] == ["train.py"]


@pytest.mark.training
def test_a_process_that_fails_fails_as_without_the_trace(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "train.py").write_text(SPAWNING)
    done, report = confirm(tmp_path, "--rule", "whole-model-save", "train.py", "2", "fail")
    assert done.returncode == 1
    assert "ValueError: no more" in done.stderr
    assert report["runs"][0]["status"] == 1
    assert (report["runs"][0]["error"], report["runs"][0]["error_at"]["location"]["row"]) == ("ValueError: no more", 19)


SHARDED = """
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

def run(rank, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = nn.Linear(8, 2)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 8)), torch.randint(0, 2, (8,))).backward()
        optimizer.step()
    dist.destroy_process_group()

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, args=(folder + "/store",), nprocs=2)
"""


@pytest.mark.training
def test_what_lies_in_other_processes_is_not_looked_at(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.distributed.is_available() or tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        pytest.skip("this torch has no fully_shard")
    (tmp_path / "train.py").write_text(SHARDED)
    done, report = confirm(tmp_path, "train.py")
    assert (done.returncode, report["runs"][0]["steps"]) == (0, 3), done.stderr
    assert not [note for note in report["notes"] if "could not look" in note], "the trace takes part in no collective"
