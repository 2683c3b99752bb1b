"""Programs that train in threads, or under a launcher of their own, and what the notes say of limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.training

HERE = Path(__file__).resolve().parent.parent

TRAIN = """
import threading

import torch
from torch.utils.data import DataLoader, TensorDataset

def train(steps):
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for number in range(steps):
        loss = model(torch.ones(2, 3)).square().sum()
        loss.backward()
        optimizer.step()
"""


def report(folder: Path, text: str, *options: str, **variables: str) -> tuple[dict[str, Any], Any]:
    (folder / "train.py").write_text(TRAIN + textwrap.dedent(text), encoding="utf-8")
    command = [sys.executable, "-m", "torchlint", "confirm", "--output-format", "json", "--output-file", "report.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), **variables}
    done = subprocess.run(
        [*command, *options, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    written = folder / "report.json"
    return json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}, done


def test_training_in_a_thread_is_traced_and_said(tmp_path: Path) -> None:
    found, done = report(
        tmp_path,
        """
        thread = threading.Thread(target=train, args=(9,), name="trainer")
        thread.start()
        thread.join()
        print("and on")
        """,
        "--max-steps",
        "4",
    )
    assert [(one["code"], one["verdict"], one["value"]) for one in found["verdicts"]] == [
        ("missing-zero-grad", "confirmed", 2)
    ]
    assert found["runs"][0]["steps"] == 4
    assert "It trains in the thread trainer, which was traced in place of the main one." in found["notes"]
    assert (done.stdout, done.stderr) == ("and on\n", ""), "the limit ends the thread without a word"


def test_steps_in_other_threads_are_counted_and_said(tmp_path: Path) -> None:
    found, _ = report(
        tmp_path,
        """
        train(2)
        threads = [threading.Thread(target=train, args=(3,)) for _ in range(2)]
        for one in threads:
            one.start()
            one.join()
        """,
    )
    assert found["runs"][0]["steps"] == 2
    assert "6 optimizer steps were taken in other threads, in which nothing is traced." in found["notes"]


def test_a_thread_that_only_prepares_data_is_not_mistaken_for_the_one_that_trains(tmp_path: Path) -> None:
    found, _ = report(
        tmp_path,
        """
        prepare = torch.nn.Sequential(torch.nn.LayerNorm(3, elementwise_affine=False))
        thread = threading.Thread(target=lambda: prepare(torch.ones(2, 3).double()))
        thread.start()
        thread.join()
        frozen = torch.nn.Linear(3, 3)
        look = threading.Thread(target=lambda: frozen(torch.ones(2, 3)))
        look.start()
        look.join()
        train(3)
        """,
    )
    assert found["runs"][0]["steps"] == 3
    assert [one["verdict"] for one in found["verdicts"]] == ["confirmed"]
    assert not [note for note in found["notes"] if "thread" in note]


def test_each_loop_that_was_cut_is_named(tmp_path: Path) -> None:
    found, _ = report(
        tmp_path,
        """
        loader = DataLoader(TensorDataset(torch.ones(80, 3)), batch_size=2)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(2):
            for (x,) in loader:
                optimizer.zero_grad()
                model(x).sum().backward()
                optimizer.step()
            with torch.no_grad():
                for (x,) in loader:
                    model(x)
        """,
        "--max-steps",
        "2",
    )
    (note,) = [one for one in found["notes"] if "over the data" in one]
    assert note == (
        "To stay in the limit, 2 loops over the data were ended early: train.py:19 after 1 batch; "
        "train.py:24 after 20 batches."
    )


def test_under_torchrun_the_right_command_is_told(tmp_path: Path) -> None:
    found, done = report(tmp_path, "train(2)", TORCHELASTIC_RUN_ID="none", WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    assert (found, done.returncode) == ({}, 2)
    assert "torchlint confirm -m torch.distributed.run [torchrun's options] train.py" in done.stderr


def test_compare_fix_says_what_it_compares_of_many_processes(tmp_path: Path) -> None:
    found, _ = report(
        tmp_path,
        """
        def run(rank):
            train(3 if rank else 2)

        if __name__ == "__main__":
            torch.multiprocessing.spawn(run, nprocs=2)
        """,
        "--compare-fix",
    )
    (verdict,) = found["verdicts"]
    assert (verdict["verdict"], verdict["fixed"]["verdict"]) == ("confirmed", "harmless")
    assert any("with 3 and 3 processes: a verdict is the worst of all processes" in note for note in found["notes"])
