"""Checks that what is found hangs neither on the cache, nor on the number of processes, nor on what is named.

    python -m tests.ecosystem.same FOLDER... [--files 20]

Each folder is linted cold and warm, by one process and by two: all four must print the same bytes. Then files are
named alone, all those with findings first and others spread over the rest: what is told of them must be what is told
of them in the whole folder. Told are the seconds of each run, by the clock and of the processors, and its peak memory:
the larger of parent and worker.

Exit status: 0 all is the same, 1 something differs, 2 wrong use or torchlint failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


class SameError(Exception):
    """torchlint could not be run; the message says why."""


@dataclass(slots=True, frozen=True)
class Run:
    output: bytes
    seconds: float  # by the clock
    spent: float  # seconds of the processors, those of workers included
    peak: int  # MB


def run(folder: Path, what: str, *options: str) -> Run:
    """One run of torchlint in `folder`. Raises SameError where it fails."""
    command = [sys.executable, "-m", "torchlint", "check", "--isolated", "--no-respect-gitignore", "--quiet"]
    command += ["--output-format", "json-lines", *options, what]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        child = os.fork()
        if not child:
            os.chdir(folder)
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": str(CHECKOUT)})
        _, status, used = os.wait4(child, 0)  # its own peak, and that of the workers it waited for
        seconds = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        if os.waitstatus_to_exitcode(status) not in (0, 1):
            raise SameError(f"torchlint failed on {folder / what}: {errors.read().decode(errors='replace')[-800:]}")
        return Run(output.read(), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024)


def of_file(output: bytes, file: str) -> list[bytes]:
    """The lines of an output that tell of a file."""
    return [line for line in output.splitlines() if json.loads(line)["filename"] == file]


def chosen(folder: Path, output: bytes, count: int) -> list[str]:
    """Files to be named alone: those with findings first, the others spread over the rest."""
    told = sorted({str(json.loads(line)["filename"]) for line in output.splitlines()})
    rest = sorted({path.relative_to(folder).as_posix() for path in folder.rglob("*.py")} - set(told))
    step = max(1, len(rest) // max(1, count - len(told)))
    return [*told, *rest[::step]][:count]


def differences(folder: Path, files: int) -> list[str]:
    """What is not the same in a folder; prints what each run cost."""
    found: list[str] = []
    with tempfile.TemporaryDirectory() as caches:
        runs: dict[str, Run] = {}
        for jobs in ("-j1", "-j2"):
            for state in ("cold", "warm"):
                runs[f"{state} {jobs}"] = run(folder, ".", jobs, "--cache-dir", str(Path(caches, jobs)))
        first = runs["cold -j1"]
        for name, one in runs.items():
            cost = f"{one.seconds:7.2f} s {one.spent:7.2f} s of the processors {one.peak:5} MB"
            print(f"{folder.name:32} {name:9} {cost}", flush=True)
            if one.output != first.output:
                found.append(f"{folder.name}: {name} prints something else than cold -j1")
    names = chosen(folder, first.output, files)
    for name in names:
        alone = run(folder, name, "-j1", "--no-cache").output
        if alone.splitlines() != of_file(first.output, name):
            found.append(f"{folder.name}: {name} named alone tells something else than in the folder")
    print(f"{folder.name:32} {len(names)} files named alone", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--files", type=int, default=20, help="how many files of a folder to name alone (default: 20)")
    options = parser.parse_args(arguments)
    for folder in options.folders:
        if not folder.is_dir():
            parser.error(f"{folder}: not a folder")
    try:
        found = [one for folder in options.folders for one in differences(folder.resolve(), options.files)]
    except SameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) if found else "all the same")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
