"""The process in which a program runs under the trace.

`python -m torchlint.confirm.child once JOB` runs one program, its input and output being this process's own.
`python -m torchlint.confirm.child serve` reads jobs from stdin, one JSON line each, forks for each, and answers each
with one line: importing torch costs more than most programs that it is asked to run. Only the harness calls these.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib.machinery
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from torchlint.confirm import events
from torchlint.confirm.events import Place

_HERE = str(Path(__file__).resolve().parent) + os.sep


@dataclass(slots=True, frozen=True)
class Job:
    """A program to run: where, with what, for how long, and the file its events go to."""

    script: str
    trace: str
    argv: tuple[str, ...] = ()
    cwd: str = "."
    output: str = ""  # file for what it prints; empty: this process's own
    seed: int | None = None  # None: the program's own randomness
    pretend: bool = False
    max_steps: int | None = None
    timeout: float = 60.0
    processes: int = 1  # more than one: so many of it run side by side, as under torchrun
    rank: int = 0
    port: int = 0  # where they meet

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Job:
        values = json.loads(line)
        return cls(**{**values, "argv": tuple(values["argv"])})

    @property
    def traces(self) -> list[str]:
        """The files that the events of each process go to."""
        return [self.trace, *(f"{self.trace}.{rank}" for rank in range(1, self.processes))]

    def ranks(self) -> list[Job]:
        """One job for each process."""
        if self.processes == 1:
            return [self]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [replace(self, rank=rank, trace=trace, port=port) for rank, trace in enumerate(self.traces)]

    def environment(self) -> dict[str, str]:
        """What torchrun would tell the process of this job; nothing where it is the only one."""
        if self.processes == 1:
            return {}
        rank, world = str(self.rank), str(self.processes)
        return {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world,
            "LOCAL_WORLD_SIZE": world,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.port),
        }


def run(job: Job) -> int:
    """Runs the program as `python script argv...` would and returns its exit status; its events are in `job.trace`."""
    import torch

    from torchlint.confirm.trace import EnoughSteps, Recorder

    os.chdir(job.cwd)
    os.environ.update(job.environment())
    script = Path(job.script).absolute()
    with Path(job.trace).open("w", encoding="utf-8", buffering=1) as lines:
        recorder = Recorder(lambda event: print(events.encode(event), file=lines), job.max_steps, job.pretend)
        stopped = False
        try:
            code = compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
            main = become(str(script), job.argv, script)
            sys.path[0] = str(script.parent)  # where -m had put the folder that this process was started in
            if job.seed is not None:
                _seed(job.seed)
            with recorder.installed():
                exec(code, main.__dict__)
            status = 0
        except EnoughSteps:
            status, stopped = 0, True
        except SystemExit as leaving:
            status = exit_status(leaving)
        except BaseException as error:  # the program's own failure is reported as such, whatever it is
            recorder.raised(error)
            print_as_python_would(error)
            status = 130 if isinstance(error, KeyboardInterrupt) else 1
        cuda: Any = torch.cuda
        device = "pretend-cuda" if job.pretend else cuda.get_device_name() if cuda.is_initialized() else "cpu"
        recorder.emit(events.Ended, Place(), status=status, stopped=stopped, device=device, torch=torch.__version__)
    return status


def become(called: str, argv: tuple[str, ...], script: Path | None) -> ModuleType:
    """Makes a new `__main__` for a program that was called so, with these arguments; `script` is its file, if one."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    if script is not None:
        main.__file__ = str(script)
        main.__loader__ = importlib.machinery.SourceFileLoader("__main__", str(script))
        main.__dict__["__cached__"] = None
    sys.modules["__main__"] = main
    sys.argv = [called, *argv]
    return main


def _seed(seed: int) -> None:
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)


def exit_status(leaving: SystemExit) -> int:
    """The status that `sys.exit` was given; a message goes to standard error, as Python does it."""
    match leaving.code:
        case None:
            return 0
        case int():
            return leaving.code
        case message:
            print(message, file=sys.stderr)
            return 1


def print_as_python_would(error: BaseException) -> None:
    """The traceback without the trace's own frames in it, by the program's own hook where it has one."""
    error.__traceback__ = _without_ours(error.__traceback__)  # hooks look there, whatever else they are given
    sys.excepthook(type(error), error, error.__traceback__)


def _without_ours(chain: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while chain is not None:
        if not chain.tb_frame.f_code.co_filename.startswith(_HERE):
            kept.append(chain)
        chain = chain.tb_next
    result: TracebackType | None = None
    for one in reversed(kept):
        result = TracebackType(result, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return result


# ------------------------------------------------------------------------------------------------------ many programs


def hello() -> dict[str, Any]:
    """What this Python can run; `error` in place of all else when it has no torch."""
    try:
        import torch
    except ImportError as error:
        return {"error": str(error)}
    return {
        "torch": torch.__version__,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }


def serve() -> None:
    """Answers jobs until stdin ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    greeting = hello()
    print(json.dumps(greeting), file=answers)
    if "error" in greeting:
        return
    _warm_up()
    try:
        for line in sys.stdin:
            print(json.dumps(_fork(Job.read(line))), file=answers)
    except SystemExit:  # told to end; a program that was running is dead by now
        pass
    os._exit(0)  # torch takes a second to tidy up what nobody needs any more


def _warm_up() -> None:
    """Imports what nearly every program would import, and starts no thread: forks must find none."""
    import torch
    import torch._dynamo
    import torch.utils.data

    import torchlint.confirm.trace  # noqa: F401 - every run needs it

    torch.set_num_threads(1)


def _fork(job: Job) -> dict[str, Any]:
    started = time.monotonic()
    if job.output:
        Path(job.output).write_bytes(b"")
    children: list[int] = []
    try:
        for one in job.ranks():
            child = os.fork()
            if child == 0:
                _run_forked(one)
            children.append(child)
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it was quicker, with this or altogether
                os.setpgid(child, child)
        statuses = [_wait(child, started + job.timeout) for child in children]
    finally:
        for child in children:
            _kill_group(child)  # also what it left running
    return {"status": worst(statuses), "seconds": time.monotonic() - started}


def worst(statuses: Sequence[int | None]) -> int | None:
    """One status for several processes: None where one was killed, else the first that is not 0."""
    return None if None in statuses else next(filter(None, statuses), 0)


def _wait(child: int, limit: float) -> int | None:
    """The exit status of a child, None when it had to be killed at the time `limit`."""
    pause = 0.002
    while time.monotonic() < limit:
        ended, raw = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(raw)
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)
    _kill_group(child)
    os.waitpid(child, 0)
    return None


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left
        os.killpg(leader, signal.SIGKILL)


def _run_forked(job: Job) -> None:
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        if job.output:
            with Path(job.output).open("ab") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
        status = run(job)
        atexit._run_exitfuncs()
    except BaseException:  # nothing may return into the parent's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 0xFF)


def main() -> int:
    """The two ways to start this process."""
    match sys.argv[1:]:
        case ["once", job]:
            return run(Job.read(job))
        case ["serve"]:
            serve()
            return 0
        case _:
            print("usage: python -m torchlint.confirm.child once JOB | serve", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
