"""Runs a user's program live: its input, output and signals are the terminal's own, its events go to a file.

The program has a process group to itself, which is the terminal's foreground group while it runs, as under a shell: it
can read from the terminal, Ctrl-C and Ctrl-Z reach it, and at the time limit it can be killed with all it started.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from torchlint.confirm import launch
from torchlint.confirm.events import OptimizerStep, TorchImported, Trace, decode
from torchlint.confirm.harness import ConfirmError
from torchlint.confirm.solo import Errand

GRACE = 5.0  # seconds that a program has to tidy up after it was interrupted
LIMIT_REACHED, INTERRUPTED = "time-limit", "interrupted"
_POSIX = hasattr(os, "fork")


@dataclass(slots=True, frozen=True)
class Ran:
    """What became of a program."""

    trace: Trace
    status: int | None  # negative: the signal that ended it
    cut: str  # LIMIT_REACHED or INTERRUPTED when it did not end by itself, else ""
    seconds: float
    others: tuple[Trace, ...] = ()  # of a program of several processes; `trace` is that of rank 0, or of the first
    names: tuple[str, ...] = ("",)  # of all of them

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Of all processes."""
        return (self.trace, *self.others)


def run(
    errand: Errand,
    scratch: Path,
    timeout: float,
    progress: Callable[[int], None],
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Ran:
    """Runs the program in `cwd` and brings back its events. `progress` is called with the number of steps so far.

    `scratch` is a folder for the trace. Never raises for what the program does; ConfirmError when it cannot start.
    """
    trace = scratch / "trace"
    started = time.monotonic()
    with trace.open("w+", encoding="utf-8", errors="replace") as events:  # held open: a program may delete it
        errand = replace(errand, trace=str(trace))
        terminal = _Terminal()
        try:
            child = _start(errand, cwd, environment, terminal)
        except OSError as error:
            raise ConfirmError(f"the program cannot be started: {error.strerror or error}") from error
        counter = _Counter(events, progress)
        cut, status = "", None
        with terminal, _ended_with_us(child):
            try:
                status = _wait(child, started + timeout, counter, terminal)
            except subprocess.TimeoutExpired:
                cut = LIMIT_REACHED
            except KeyboardInterrupt:
                cut = INTERRUPTED
            if cut:
                status = _end(child, cut, counter, terminal)
        events.seek(0)
        found = [Trace(list(_decoded(events)))]
    names = [""]
    if ranks := launch.ranks(scratch):
        found = [Trace(list(_decoded(_lines(path)))) for path in ranks]
        names = [f"rank {number}" if number else "" for number in range(len(found))]
    elif processes := launch.ranks(scratch, "process"):
        started_by_it = [Trace(list(_decoded(_lines(path)))) for path in processes]
        started_by_it = [one for one in started_by_it if any(one.of(TorchImported))]  # else a manager, or the like
        names = [f"process {number}" for number in range(len(started_by_it))]
        if any(found[0].of(OptimizerStep)) or not any(any(one.of(OptimizerStep)) for one in started_by_it):
            found, names = [*found, *started_by_it], ["", *names]
        else:
            found, names = [*started_by_it, *found], ["", *names[1:], "the first process"]
    return Ran(found[0], status, cut, time.monotonic() - started, tuple(found[1:]), tuple(names))


def _start(
    errand: Errand, cwd: Path | None, environment: dict[str, str] | None, terminal: _Terminal
) -> subprocess.Popen[bytes]:
    variables = {**os.environ, **(environment or {})}
    if errand.device in ("cpu", "pretend-cuda"):
        variables["CUDA_VISIBLE_DEVICES"] = ""
    boot = str(Path(__file__).resolve().parent / "boot.py")
    return subprocess.Popen(
        [sys.executable, boot, errand.line()],
        cwd=cwd,
        env=variables,
        preexec_fn=functools.partial(_own_group, terminal.ours) if _POSIX else None,
    )


def _own_group(in_front: bool) -> None:
    os.setpgid(0, 0)
    if in_front:
        _give_terminal_to(os.getpgrp())


def _in_front() -> bool:
    """Whether this process has a terminal and is in its foreground group."""
    if not _POSIX:
        return False
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _give_terminal_to(group: int) -> None:
    """Makes a group the terminal's foreground group, where there is a terminal."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, group)
    signal.signal(signal.SIGTTOU, before)


class _Terminal:
    """The terminal, which the program gets when it is ours, and which is taken back at the end."""

    def __init__(self) -> None:
        self.ours = _in_front()

    def give(self, group: int) -> None:
        """Makes `group` the one that reads from the terminal and hears Ctrl-C."""
        if self.ours:
            _give_terminal_to(group)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.give(os.getpgrp())


@contextlib.contextmanager
def _ended_with_us(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """When torchlint itself is told to end, the program does not stay behind."""

    def leave(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread, where there are no handlers to set
        before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    except BaseException:
        _kill(child)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(child: subprocess.Popen[bytes], limit: float, counter: _Counter, terminal: _Terminal) -> int:
    """The exit status. Raises TimeoutExpired at the time `limit`."""
    pause = 0.005
    while True:
        status = _poll(child, terminal)
        if status is not None:
            return status
        if time.monotonic() >= limit:
            raise subprocess.TimeoutExpired("the program", limit)
        counter.look()
        time.sleep(pause)
        pause = min(0.1, pause * 1.3)


def _poll(child: subprocess.Popen[bytes], terminal: _Terminal) -> int | None:
    """The exit status, None while it runs. A program that Ctrl-Z stopped stops us, and goes on when we do."""
    if not _POSIX:
        return child.poll()
    if child.returncode is not None:
        return child.returncode
    ended, raw = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)
    if not ended:
        return None
    if os.WIFSTOPPED(raw):
        if os.WSTOPSIG(raw) == signal.SIGTSTP:
            terminal.give(os.getpgrp())
            os.kill(os.getpid(), signal.SIGSTOP)
        terminal.give(child.pid)
        os.killpg(child.pid, signal.SIGCONT)
        return None
    child.returncode = os.waitstatus_to_exitcode(raw)
    return child.returncode


def _end(child: subprocess.Popen[bytes], cut: str, counter: _Counter, terminal: _Terminal) -> int | None:
    """Interrupts a program, so that its `finally` blocks run, and kills its whole group when that does not help."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGINT)
    status = None
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C kills at once
        status = _wait(child, time.monotonic() + GRACE, counter, terminal)
    _kill(child)
    return status if cut == INTERRUPTED else None


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kills the program and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if _POSIX:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    if child.returncode is None:
        with contextlib.suppress(ChildProcessError):
            child.wait()


class _Counter:
    """Counts steps in the trace as it grows."""

    def __init__(self, events: IO[str], progress: Callable[[int], None]) -> None:
        self._handle, self._progress = events.fileno(), progress
        self._at, self._steps, self._next = 0, 0, 0.0

    def look(self) -> None:
        """Reads what has come, a few times a second."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.3
        while True:
            block = os.pread(self._handle, 1 << 20, self._at) if hasattr(os, "pread") else b""
            if not block:
                break
            self._at += len(block)
            self._steps += block.count(b'["OptimizerStep",')
        self._progress(self._steps)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def _decoded(lines: Iterable[str]) -> Iterator[Any]:
    for line in lines:
        try:
            yield decode(line)
        except ValueError:  # the last line of a program that was killed while writing it
            return


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where a run keeps its trace."""
    return tempfile.TemporaryDirectory(prefix="torchlint-confirm-", ignore_cleanup_errors=True)
