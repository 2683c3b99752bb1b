"""Programs of many processes: each is traced, and the first one's curves stand for all.

torchrun runs under the trace itself, where it does nothing worth tracing; what it starts in place of the script is the
same boot with the same errand. So it is with the processes that `torch.multiprocessing.spawn` starts, and any others
that multiprocessing starts afresh: there the boot takes over before Python's own code for such a process. No torch
here.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing.spawn
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchlint.confirm.events import Trace
from torchlint.confirm.match import Assessment
from torchlint.confirm.probe import Outcome
from torchlint.confirm.result import Number, RuntimeOnly, Verdict

if TYPE_CHECKING:
    from torchlint.confirm.solo import Errand

LAUNCHER = "torch.distributed.launcher.api"  # what torchrun starts its processes with
ORPHANED = 0.5  # seconds between two looks at whether torchrun still lives


def trace_ranks(errand: Errand) -> None:
    """Has the launcher, which has just been imported, start its ranks under the trace of `errand`."""
    launcher: Any = sys.modules[LAUNCHER].elastic_launch
    start = launcher.__call__

    def traced(self: Any, *arguments: Any) -> Any:
        return start(self, *rerouted(errand, self._entrypoint, arguments))

    launcher.__call__ = traced


def rerouted(errand: Errand, command: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments of a rank's Python, with our boot in place of the script; another command is left as it is."""
    match arguments:
        case ["-u", "-m", str(target), *argv] if command == sys.executable:
            module = True
        case ["-u", str(target), *argv] if command == sys.executable:
            module = False
        case _:
            return tuple(arguments)
    rank = replace(errand, target=target, argv=tuple(map(str, argv)), module=module, rank=True)
    return ("-u", str(Path(__file__).with_name("boot.py")), rank.line())


def become_rank(errand: Errand) -> Errand:
    """The errand of the rank that this process is. It ends when torchrun does, whose group it does not belong to."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHANED)
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name="torchlint").start()
    return replace(errand, trace=str(Path(errand.trace).with_name(f"rank{os.environ.get('RANK', '0')}")))


@contextlib.contextmanager
def started_afresh(errand: Errand) -> Iterator[list[str]]:
    """While a process is started: if multiprocessing starts a new Python for it, that one runs under the trace.

    Gives a list, which then holds the name of its trace.
    """
    spawn: Any = multiprocessing.spawn
    command, traced = spawn.get_command_line, list[str]()

    def rerouted_process(**handles: Any) -> list[str]:
        interpreter, *rest = command(**handles)
        if "-c" not in rest:  # a frozen program
            return [interpreter, *rest]
        traced.append(_new_trace(Path(errand.trace).parent))
        started = replace(errand, rank=False, trace=traced[0], spawned=json.dumps(handles))
        boot = str(Path(__file__).with_name("boot.py"))
        return [interpreter, *rest[: rest.index("-c")], boot, started.line(), rest[-1]]

    spawn.get_command_line = rerouted_process
    try:
        yield traced
    finally:
        spawn.get_command_line = command


def _new_trace(scratch: Path) -> str:
    for number in range(1_000_000):
        path = scratch / f"process{number}"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return str(path)
    raise AssertionError("a million processes")


def run_process(errand: Errand) -> None:
    """Does in this process what multiprocessing has started it for."""
    spawn: Any = multiprocessing.spawn
    sys.argv = ["-c", "--multiprocessing-fork"]
    spawn.spawn_main(**json.loads(errand.spawned))


def ranks(scratch: Path, kind: str = "rank") -> list[Path]:
    """The traces that ranks have written, or the processes that the program has started ("process"); 0 first."""
    found = [path for path in scratch.glob(f"{kind}*") if path.name[len(kind) :].isdigit()]
    return sorted(found, key=lambda path: int(path.name[len(kind) :]))


def together(answers: Sequence[Assessment], names: Sequence[str] = ()) -> Assessment:
    """One answer of many processes, which were asked of the same findings: harm in any of them is harm.

    `names` are theirs, "" for the one that needs none; without them they are ranks.
    """
    names = names or [f"rank {number}" if number else "" for number in range(len(answers))]
    verdicts = [_worst(of_one, names) for of_one in zip(*(answer.verdicts for answer in answers), strict=True)]
    shown: dict[tuple[str, str, int], RuntimeOnly] = {}
    for name, answer in zip(names, answers, strict=True):
        for one in answer.runtime_only:
            told = replace(one, number=_on(name, one.number))
            shown.setdefault((one.code, one.spot.filename, one.spot.row), told)
    claimed = {(one.code, one.spot.filename, one.spot.row) for one in verdicts if one.outcome is Outcome.CONFIRMED}
    return Assessment(tuple(verdicts), tuple(one for key, one in shown.items() if key not in claimed))


def _worst(of_one: Sequence[Verdict], names: Sequence[str]) -> Verdict:
    """The verdict of the first process that is harmed, else of the first that measured anything."""
    for outcome in (Outcome.CONFIRMED, Outcome.HARMLESS):
        for name, one in zip(names, of_one, strict=True):
            if one.outcome is outcome and one.number is not None:
                return replace(one, number=_on(name, one.number))
    return of_one[0]


def _on(name: str, number: Number) -> Number:
    return replace(number, message=f"{number.message} ({name})") if name else number


def all_events(traces: Sequence[Trace]) -> Trace:
    """The events of several processes, one process after the other."""
    return Trace([event for trace in traces for event in trace.events])
