"""`--watch` in a process of its own, while files are edited, broken, deleted and added."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest
from shell import HEAD, MOVE, SAVE, environment, torchlint, write

SAID = "watching for changes; Ctrl-C ends it"


class Watch:
    """A running `torchlint --watch`, read a run at a time."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-u", "-m", "torchlint", "--watch", "-v", "--output-format", "concise", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(), text=True
        )
        self.rows: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for row in self.process.stdout:
            self.rows.put(row)

    def run(self) -> str:
        """What the next run says; it has come to its end."""
        said = ""
        while SAID not in said:
            try:
                said += self.rows.get(timeout=60)
            except Empty:
                raise AssertionError(f"nothing more was said after: {said!r}") from None
        return said

    def idle(self) -> bool:
        """Whether nothing is run for a while."""
        try:
            self.rows.get(timeout=1.5)
        except Empty:
            return True
        return False


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.chdir(tmp_path)
    write("src/a.py", HEAD, MOVE)
    write("src/b.py", HEAD)
    running = Watch("src")
    yield running
    running.process.kill()
    running.process.wait()


def codes(said: str) -> list[str]:
    return re.findall(r"^(\S+\.py:\d+):\d+: (\S+)", said, re.MULTILINE)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_a_session(watch: Watch) -> None:
    said = watch.run()
    assert codes(said) == [("src/a.py:4", "tensor-move-discarded")]
    assert "\x1b" not in said  # no terminal: nothing is cleared
    assert watch.idle()

    write("src/a.py", HEAD, SAVE)  # edited: only this file is analysed
    said = watch.run()
    assert codes(said) == [("src/a.py:4", "whole-model-save")]
    assert re.search(r"2 files in \S+ s, 1 of them from the cache", said)

    write("src/a.py", "x = (\n")  # broken
    assert codes(watch.run()) == [("src/a.py:1", "syntax-error")]

    Path("src/a.py").unlink()  # gone
    assert "All checks passed: 1 file." in watch.run()

    write("src/c.py", HEAD, MOVE)  # new
    assert codes(watch.run()) == [("src/c.py:4", "tensor-move-discarded")]

    write("pyproject.toml", "[tool.torchlint]\nselct = []\n")  # a setting that is none
    said = watch.run()
    assert "there is no key `selct`; did you mean `select`?" in said
    assert "Traceback" not in said

    write("pyproject.toml", '[tool.torchlint]\nignore = ["tensor-move-discarded"]\n')  # and one that is
    assert "All checks passed: 2 files." in watch.run()

    Path("pyproject.toml").unlink()
    assert codes(watch.run()) == [("src/c.py:4", "tensor-move-discarded")]

    watch.process.send_signal(signal.SIGINT)
    assert watch.process.wait(timeout=20) == 130
    time.sleep(0.2)
    left = "".join(iter(lambda: watch.rows.get() if not watch.rows.empty() else "", ""))
    assert "Traceback" not in left


def test_what_another_file_says_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `train.py` is linted; the helper that it calls is read for it, and so watched."""
    monkeypatch.chdir(tmp_path)
    write("helper.py", "def step(optimizer):\n    optimizer.step()\n    optimizer.zero_grad()\n")
    write(
        "train.py",
        "import torch\nfrom helper import step\n\n\ndef train(model, loader):\n"
        "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n    for points, labels in loader:\n"
        "        loss = torch.nn.functional.cross_entropy(model(points), labels)\n"
        "        loss.backward()\n        step(optimizer)\n",
    )
    watch = Watch("train.py", "--no-cache")
    try:
        assert codes(watch.run()) == []
        write("helper.py", "def step(optimizer):\n    optimizer.step()\n")
        assert codes(watch.run()) == [("train.py:9", "missing-zero-grad")]
        assert not Path(".torchlint_cache").exists()
    finally:
        watch.process.kill()
        watch.process.wait()


def test_fixes_are_made_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write("a.py", HEAD)
    watch = Watch("--fix")
    try:
        watch.run()
        write("a.py", HEAD, MOVE)
        assert "Fixed 1 finding." in watch.run()
        assert path.read_text() == f'{HEAD}x = x.to("cuda")\n'
        watch.run()  # its own edit is a change too, the last
        assert watch.idle()
    finally:
        watch.process.kill()
        watch.process.wait()


@pytest.mark.parametrize("other", ["--diff", "--add-ignore", "--write-baseline=b.json", "-"])
def test_what_cannot_be_watched(other: str, tmp_path: Path) -> None:
    done = torchlint("--watch", other, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--watch" in done.err
