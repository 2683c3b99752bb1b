"""The process of a user's program: it runs as `python SCRIPT ARGS` would, and its events go to a file.

torch is not imported before the program does it, because a program may set the environment first (the number of
threads, the visible devices); the trace hooks in at that import.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import multiprocessing.process
import os
import random
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torchlint
from torchlint.confirm import events, launch
from torchlint.confirm.child import become, exit_status, print_as_python_would
from torchlint.confirm.events import Event, Place
from torchlint.confirm.forks import process
from torchlint.confirm.frames import innermost_user, is_users, user_place

OURS = str(Path(torchlint.__file__).resolve().parent) + os.sep
PATIENCE = 3  # times that a program may swallow the step limit


@dataclass(slots=True, frozen=True)
class Errand:
    """A program of the user's: what to run, where its events go, and its bounds."""

    target: str  # a file, or a module's name
    trace: str
    roots: tuple[str, ...]  # folders whose files are the project's
    argv: tuple[str, ...] = ()
    module: bool = False
    seed: int | None = None
    device: str = "auto"
    max_steps: int | None = None
    rank: bool = False  # one of the processes of a distributed program; its trace is called after its number
    spawned: str = ""  # what multiprocessing hands to a process that it starts, as JSON: this is one

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Errand:
        values = json.loads(line)
        return cls(**{**values, "argv": tuple(values["argv"]), "roots": tuple(values["roots"])})

    @property
    def pretends(self) -> bool:
        return self.device == "pretend-cuda"


class _Unavailable(BaseException):
    """The device that was asked for is not there."""


class _Log:
    """Writes events to the trace file, and a copy of each file of the project as soon as the program has it."""

    def __init__(self, errand: Errand) -> None:
        self._file = Path(errand.trace).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115 - open to the end
        self._copies = Path(errand.trace).with_suffix(".files")
        self._copies.mkdir()
        self._roots = tuple(os.path.join(root, "") for root in errand.roots)  # noqa: PTH118 - with a separator
        self._modules = -1
        self._known: set[str] = set()
        self._process = process()

    def __call__(self, event: Event) -> None:
        if process() != self._process:
            return
        if len(sys.modules) != self._modules:
            self.look()
        self._write(event)

    def write(self, kind: type[Event], place: Place | None = None, /, **values: Any) -> None:
        """Writes an event that is not the recorder's."""
        self(kind(-1, place or Place(), **values))

    def _write(self, event: Event) -> None:
        # A program that closes all files closes this one; it must not fail for that.
        try:  # contextlib's way takes as long as the writing
            self._file.write(events.encode(event) + "\n")
        except (OSError, ValueError):
            return

    def look(self) -> None:
        """Takes copies of the project's files that were imported since the last time."""
        self._modules = len(sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file.endswith((".py", ".pyw")):
                self.take(file)

    def take(self, file: str) -> None:
        """Takes a copy of one file, if it is the project's and was not taken yet."""
        if file in self._known or process() != self._process:
            return
        self._known.add(file)
        file = os.path.abspath(file)  # noqa: PTH100 - a symbolic link stays what the user calls it
        if not file.startswith(self._roots) or file.startswith(OURS) or not is_users(file):
            return
        copy = self._copies / f"{len(self._known)}.py"
        with contextlib.suppress(OSError):  # it is gone again, or not ours to read
            copy.write_bytes(Path(file).read_bytes())
            self._write(events.Loaded(-1, Place(), file, str(copy)))


# ------------------------------------------------------------------------------------------------- at torch's import


class _AtImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls back when one of the named packages has been imported."""

    def __init__(self, callbacks: dict[str, Callable[[], None]]) -> None:
        self._callbacks = callbacks
        self._loaders: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._callbacks or fullname in self._loaders:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is None:
                    return None
                self._loaders[fullname], spec.loader = spec.loader, self
                return spec
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loaders[spec.name].create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        loader = self._loaders[name]
        module.__loader__ = loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader
        try:
            loader.exec_module(module)
        except BaseException:
            del self._loaders[name]  # a program may try again
            raise
        self._callbacks[name]()


class _Tracing:
    """Everything that begins with torch's import and ends with the program."""

    def __init__(self, errand: Errand, log: _Log) -> None:
        self._errand, self._log = errand, log
        self._undo = contextlib.ExitStack()
        self.recorder: Any = None
        self.finish: Callable[[], None] = lambda: None

    def seed_torch(self) -> None:
        if self._errand.seed is not None:
            import torch

            torch.manual_seed(self._errand.seed)

    def seed_numpy(self) -> None:
        if self._errand.seed is not None:
            sys.modules["numpy"].random.seed(self._errand.seed % 2**32)

    def begin(self) -> None:
        """torch has just been imported."""
        import torch

        self._demand_device(torch)
        self._log.write(events.TorchImported, torch=str(torch.__version__))
        from torchlint.confirm.bounds import Epochs
        from torchlint.confirm.motion import Motion
        from torchlint.confirm.trace import Recorder

        limit = self._errand.max_steps
        self.recorder = recorder = Recorder(self._log, limit, self._errand.pretends)
        recorder.stop = self._stopping
        recorder.follows = True
        motion = Motion(recorder)
        recorder.listeners.append(motion)
        self.finish = lambda: motion.tell(recorder.steps)
        self._undo.enter_context(recorder.installed())
        if limit is not None:
            self._undo.enter_context(Epochs(recorder, limit).installed())
        self.seed_torch()

    def _demand_device(self, torch: Any) -> None:
        match self._errand.device:
            case "cuda" if not torch.cuda.is_available():
                raise _Unavailable(
                    f"torch {torch.__version__} finds no CUDA device here. Remedy: --device pretend-cuda"
                )
            case "mps" if not torch.backends.mps.is_available():
                raise _Unavailable(f"torch {torch.__version__} finds no MPS device here. Remedy: --device cpu")
            case "cpu" | "pretend-cuda":
                torch.backends.mps.is_available = lambda: False

    def _stopping(self) -> BaseException:
        from torchlint.confirm.trace import EnoughSteps

        if self._errand.module and self._errand.target in ("pytest", "py.test"):
            import pytest

            return pytest.exit.Exception("torchlint: the step limit is reached", 0)
        self._swallowed = getattr(self, "_swallowed", 0) + 1
        if self._swallowed > PATIENCE:
            import atexit

            self.ended(0)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        if self._errand.spawned or self.recorder.adopted:
            return SystemExit(0)  # what ends a process or a thread without a word
        return EnoughSteps()

    def ended(self, status: int) -> None:
        """Writes the trace's last word."""
        torch: Any = sys.modules.get("torch")
        if self.recorder is not None:
            try:
                self.finish()
            except Exception as error:  # the program is over and keeps its status, whatever cannot be looked at now
                self._log.write(events.Untraced, message=f"{type(error).__name__}: {str(error)[:200]}")
            if self.recorder.adopted or self.recorder.missed:
                self._log.write(events.Threads, traced=self.recorder.adopted, missed=self.recorder.missed)
        device = "cpu"
        if self._errand.pretends:
            device = "pretend-cuda"
        elif torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
            device = torch.cuda.get_device_name()
        self._log.write(
            events.Ended,
            status=status,
            stopped=self.recorder is not None and self.recorder.stopped,
            device=device,
            torch=getattr(torch, "__version__", "") if torch is not None else "",
        )

    def close(self) -> None:
        self._undo.close()


# ---------------------------------------------------------------------------------------------------------- the program


def main(line: str) -> int:
    """Runs the program of a job; returns its exit status."""
    errand = Errand.read(line)
    if errand.rank:
        errand = launch.become_rank(errand)
    log = _Log(errand)
    tracing = _Tracing(errand, log)
    callbacks = {"torch": tracing.begin, "numpy": tracing.seed_numpy}
    callbacks[launch.LAUNCHER] = functools.partial(launch.trace_ranks, errand)
    sys.meta_path.insert(0, _AtImport(callbacks))
    if errand.seed is not None:
        random.seed(errand.seed)
    try:
        with _told_of_exits(errand, tracing, log):
            _execute(errand, log)
        status = 0
    except SystemExit as leaving:
        status = exit_status(leaving)
    except _Unavailable as error:
        log.write(events.NotStarted, message=str(error))
        return 2
    except BaseException as error:  # the program's own failure is reported as such, whatever it is
        if type(error).__name__ == "EnoughSteps" and tracing.recorder is not None and tracing.recorder.stopped:
            status = 0
        else:
            _tell(error, tracing, log)
            print_as_python_would(error)
            status = 130 if isinstance(error, KeyboardInterrupt) else 1
    tracing.close()
    log.look()
    tracing.ended(status)
    return status


def _execute(errand: Errand, log: _Log) -> None:
    if errand.spawned:
        launch.run_process(errand)
        return
    if errand.module:
        become("-m", errand.argv, None)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        runpy._run_module_as_main(errand.target)  # type: ignore[attr-defined] # what `python -m` itself calls
        return
    script = Path(errand.target)
    main = become(errand.target, errand.argv, script.absolute())
    sys.path.insert(0, str(script.resolve().parent))
    log.take(str(script.absolute()))
    code = compile(script.read_bytes(), str(script.absolute()), "exec", dont_inherit=True)
    exec(code, main.__dict__)


def _tell(error: BaseException, tracing: _Tracing, log: _Log) -> None:
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "torch" and tracing.recorder is None:
        log.write(events.NotStarted, message=f"the program needs torch, and this Python has none: {error}")
    if tracing.recorder is not None:
        tracing.recorder.raised(error)
        return
    place = innermost_user(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        place = Place(error.filename, error.lineno or 1)
    log.write(events.Raised, place, kind=type(error).__name__, message=str(error)[:2000])


@contextlib.contextmanager
def _told_of_exits(errand: Errand, tracing: _Tracing, log: _Log) -> Iterator[None]:
    """Notes what the program loads, when it ends without unwinding, and when it starts another process."""
    process: Any = os.getpid()
    system: Any = os
    leave, popen, get_code = os._exit, subprocess.Popen.__init__, importlib.machinery.SourceFileLoader.get_code
    start, work = multiprocessing.process.BaseProcess.start, multiprocessing.process.BaseProcess.run

    def leaving(status: int) -> Any:
        if os.getpid() == process:
            tracing.ended(status)
        leave(status)

    def opening(this: Any, args: Any, *rest: Any, **options: Any) -> None:
        popen(this, args, *rest, **options)
        place = user_place()
        if place.file:
            command = (
                args if isinstance(args, str) else " ".join(map(str, args)) if isinstance(args, list) else str(args)
            )
            log.write(events.Spawned, place, command=command[:200])

    def starting(this: Any) -> None:
        if "torch.utils.data" in getattr(getattr(this, "_target", None), "__module__", ""):
            start(this)  # a DataLoader's worker
            return
        with launch.started_afresh(errand) as traced:
            start(this)
        place = user_place()
        if place.file and not traced:
            log.write(events.Spawned, place, command=this.name)

    def working(this: Any) -> None:
        try:
            work(this)
        except BaseException as error:  # this process ends with it, in code that is not ours
            cause = error.__context__ if isinstance(error, SystemExit) and error.code else error
            if cause is not None and not isinstance(cause, SystemExit):
                _tell(cause, tracing, log)
            raise

    def loading(this: Any, name: str) -> Any:
        code = get_code(this, name)
        log.take(this.path)
        return code

    loaders: Any = importlib.machinery.SourceFileLoader
    kinds: Any = subprocess.Popen
    processes: Any = multiprocessing.process.BaseProcess
    system._exit, kinds.__init__, processes.start = leaving, opening, starting
    loaders.get_code = loading
    if errand.spawned:
        processes.run = working
    try:
        yield
    finally:
        system._exit, kinds.__init__, processes.start = leave, popen, start
        processes.run = work
        loaders.get_code = get_code
