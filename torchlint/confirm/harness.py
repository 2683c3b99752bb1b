"""Runs programs under the trace, each in a process of its own, and brings back what happened.

No torch here: it is imported in the child only, so that a missing or broken one is a sentence and not a crash.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchlint.confirm.child import Job, worst
from torchlint.confirm.events import Trace, decode

DEVICES = ("auto", "cpu", "cuda", "mps", "pretend-cuda")
OUTPUT_KEPT = 20_000  # characters of a program's output


class ConfirmError(Exception):
    """The proof cannot be run: the message says why, and what to do."""


@dataclass(slots=True, frozen=True)
class Program:
    """What to run. `accelerator` says that it is pointless without one, so that one is pretended where none is.

    Of more than one of `processes`, each runs the script, as under torchrun; the trace has the events of all of them,
    one process after the other.
    """

    script: Path
    argv: tuple[str, ...] = ()
    cwd: Path | None = None  # None: a new empty folder, thrown away afterwards
    seed: int | None = None
    accelerator: bool = False
    processes: int = 1
    max_steps: int | None = None
    timeout: float = 60.0


@dataclass(slots=True, frozen=True)
class Run:
    """What became of one program."""

    program: Program
    trace: Trace
    status: int | None  # None: killed at the time limit
    output: str
    seconds: float
    device: str

    @property
    def ended_well(self) -> bool:
        return self.status == 0


@dataclass(slots=True, frozen=True)
class Machine:
    """Where the programs run."""

    torch: str
    device: str  # "cpu" or the name of the GPU


class _Server:
    """One warm process that forks for each program."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "torchlint.confirm.child", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the parent, which then stops this one
        )
        self.hello = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ConfirmError(f"the process that runs programs ended with status {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, job: Job) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            print(job.line(), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise ConfirmError(
                f"the process that runs programs ended with status {self._process.wait()}; see above"
            ) from None
        return self._answer()

    def close(self) -> None:
        """Ends the process, and the program that it may be running."""
        self._process.terminate()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


class _Single:
    """A fresh process for each program, where processes cannot fork."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = environment, folder
        asked = subprocess.run(
            [sys.executable, "-c", "import json, torchlint.confirm.child as c; print(json.dumps(c.hello()))"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
        )
        if asked.returncode:
            raise ConfirmError(f"torch cannot be imported: {asked.stderr.strip().splitlines()[-1:]}")
        self.hello: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])

    def run(self, job: Job) -> dict[str, Any]:
        started = time.monotonic()
        with Path(job.output).open("wb") as out:
            processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "torchlint.confirm.child", "once", one.line()],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._folder,
                )
                for one in job.ranks()
            ]
            statuses: list[int | None] = []
            for process in processes:
                try:
                    statuses.append(process.wait(max(0.0, started + job.timeout - time.monotonic())))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    statuses.append(None)
        return {"status": worst(statuses), "seconds": time.monotonic() - started}

    def close(self) -> None:
        """Nothing is left running."""


def site_packages() -> set[Path]:
    """Where packages are installed for this Python."""
    return {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")}


class Harness:
    """Processes ready to run programs on one device; a context manager.

    `device` is one of `DEVICES`. Raises ConfirmError when torch is missing, or the device is.
    """

    def __init__(self, device: str = "auto", processes: int | None = None) -> None:
        if device not in DEVICES:
            raise ConfirmError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
        self._asked = device
        self._count = processes or min(4, os.cpu_count() or 1)
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Harness:
        server = _Server if hasattr(os, "fork") else _Single
        try:
            self._scratch = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="torchlint-")))
            # Python looks for modules where it is started: in an empty folder it finds no random.py of the user's.
            start = self._scratch / "start"
            start.mkdir()
            self._free: queue.Queue[_Server | _Single] = queue.Queue()
            with ThreadPoolExecutor(self._count) as pool:
                for one in pool.map(lambda _: server(self._environment(), start), range(self._count)):
                    self._undo.callback(one.close)
                    self._free.put(one)
                    hello = one.hello
            if "error" in hello:
                raise ConfirmError(
                    f"{hello['error']}: the proof trains real programs. Remedy: pip install 'torchlint[confirm]'"
                )
            self._cuda = self._asked in ("auto", "cuda") and bool(hello["cuda"])
            if self._asked == "cuda" and not self._cuda:
                raise ConfirmError(
                    f"torch {hello['torch']} finds no CUDA device here. "
                    "Remedy: --device cpu, which pretends one where a rule needs it"
                )
            if self._asked == "mps" and not hello["mps"]:
                raise ConfirmError(f"torch {hello['torch']} finds no MPS device here. Remedy: --device cpu")
            self.machine = Machine(hello["torch"], "cuda" if self._cuda else "mps" if self._asked == "mps" else "cpu")
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _environment(self) -> dict[str, str]:
        ours = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        ours |= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        if self._asked in ("cpu", "pretend-cuda"):
            ours["CUDA_VISIBLE_DEVICES"] = ""
        home = Path(__file__).resolve().parents[2]
        if home not in site_packages():  # a checkout that is not installed
            ours["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(home)]))
        return {**os.environ, **ours}

    def run_all(self, programs: Iterable[Program]) -> Iterator[Run]:
        """Runs programs side by side and yields each result, in the order given."""
        with ThreadPoolExecutor(self._count) as pool:
            try:
                yield from pool.map(self.run, programs)
            except BaseException:
                self._undo.close()  # ends what is running, for which the pool would wait
                raise

    def run(self, program: Program) -> Run:
        """Runs one program to its end or its limit."""
        pretend = self._asked == "pretend-cuda" or (program.accelerator and not self._cuda)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            work = Path(folder, "work")
            work.mkdir()
            job = Job(
                script=str(program.script.resolve()),
                trace=str(Path(folder, "trace")),
                argv=program.argv,
                cwd=str(program.cwd or work),
                output=str(Path(folder, "output")),
                seed=program.seed,
                pretend=pretend,
                max_steps=program.max_steps,
                timeout=program.timeout,
                processes=program.processes,
            )
            server = self._free.get()
            try:
                answer = server.run(job)
            finally:
                self._free.put(server)
            output = _read(Path(job.output))
            trace = Trace([event for file in job.traces for event in _events(Path(file))])
            device = trace.end.device if trace.end is not None else "pretend-cuda" if pretend else self.machine.device
            return Run(program, trace, answer["status"], output[-OUTPUT_KEPT:], answer["seconds"], device)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _events(path: Path) -> Iterator[Any]:
    for line in _read(path).splitlines():
        try:
            yield decode(line)
        except ValueError:  # the last line of a program that was killed while writing it
            return
