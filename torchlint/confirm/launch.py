"""Programs that torchrun starts: each rank is a process of its own, each is traced, and rank 0 reports for all.

torchrun runs under the trace itself, where it does nothing worth tracing; what it starts in place of the script is the
same boot with the same errand. No torch here.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
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


def ranks(scratch: Path) -> list[Path]:
    """The traces that ranks have written, rank 0 first."""
    found = [path for path in scratch.glob("rank*") if path.name[4:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[4:]))


def together(answers: Sequence[Assessment]) -> Assessment:
    """One answer of many ranks, which were asked of the same findings: harm on any of them is harm."""
    verdicts = [_worst(of_one) for of_one in zip(*(answer.verdicts for answer in answers), strict=True)]
    shown: dict[tuple[str, str, int], RuntimeOnly] = {}
    for rank, answer in enumerate(answers):
        for one in answer.runtime_only:
            told = replace(one, number=_on(rank, one.number))
            shown.setdefault((one.code, one.spot.filename, one.spot.row), told)
    claimed = {(one.code, one.spot.filename, one.spot.row) for one in verdicts if one.outcome is Outcome.CONFIRMED}
    return Assessment(tuple(verdicts), tuple(one for key, one in shown.items() if key not in claimed))


def _worst(of_one: Sequence[Verdict]) -> Verdict:
    """The verdict of the first rank that is harmed, else of the first that measured anything."""
    for outcome in (Outcome.CONFIRMED, Outcome.HARMLESS):
        for rank, one in enumerate(of_one):
            if one.outcome is outcome and one.number is not None:
                return replace(one, number=_on(rank, one.number))
    return of_one[0]


def _on(rank: int, number: Number) -> Number:
    return replace(number, message=f"{number.message} (rank {rank})") if rank else number


def all_events(traces: Sequence[Trace]) -> Trace:
    """The events of several processes, one process after the other."""
    return Trace([event for trace in traces for event in trace.events])
