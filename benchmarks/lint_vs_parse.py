"""What linting costs beside parsing: the whole lint of a file, one process, over one libcst parse of the same bytes.

    python benchmarks/lint_vs_parse.py FOLDER... [--each] [--passes 3] [--profile]

Only files that the linter parses are timed (the byte filter of the rules lets them through); files that libcst cannot
parse are left out of both sides and counted. Passes over a folder take turns, parse then lint, so that a busy machine
slows both alike, and the best pass of each side counts. Both sides keep the garbage collector off around a parse, as
the engine does, and pay for the garbage of earlier files as a real run does.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import libcst

from torchlint.engine import analyse, applicable, forget
from torchlint.registry import load
from torchlint.source import Source, SourceError

HEADER = (
    f"{'folder':44} {'files':>6} {'MB':>7} {'parse s':>8} {'lint s':>8} {'ratio':>6} {'p MB/s':>6} {'l MB/s':>6} "
    f"{'broken':>6} {'unparsed':>8}"
)


@dataclass(slots=True)
class Timed:
    """One file and the best time of each side in seconds."""

    path: Path
    data: bytes
    parse: float = float("inf")
    lint: float = float("inf")
    crashed: bool = False

    @property
    def ratio(self) -> float:
        return self.lint / self.parse


@dataclass(slots=True)
class Folder:
    """The timed files of a folder, those that were left out, and the best pass of each side in seconds."""

    name: str
    files: list[Timed] = field(default_factory=list)
    broken: int = 0
    unparsed: int = 0
    parse: float = 0.0
    lint: float = 0.0

    def line(self) -> str:
        size = sum(len(file.data) for file in self.files) / 1e6
        rates = [f"{'-':>6}"] * 3
        if self.files:
            rates = [f"{self.lint / self.parse:6.3f}", f"{size / self.parse:6.2f}", f"{size / self.lint:6.2f}"]
        sides = f"{self.parse:8.2f} {self.lint:8.2f} {' '.join(rates)}"
        return f"{self.name[:44]:44} {len(self.files):6} {size:7.2f} {sides} {self.broken:6} {self.unparsed:8}"


def total(folders: list[Folder]) -> Folder:
    return Folder(
        "total",
        [file for one in folders for file in one.files],
        sum(one.broken for one in folders),
        sum(one.unparsed for one in folders),
        sum(one.parse for one in folders),
        sum(one.lint for one in folders),
    )


def collect(path: Path, limit: int) -> Folder:
    """The files of a folder that are worth timing."""
    folder = Folder(path.name)
    for file in sorted(path.rglob("*.py"))[: limit or None]:
        data = file.read_bytes()
        if not applicable(load(), data):
            folder.unparsed += 1
        elif parses(file, data):
            folder.files.append(Timed(file, data))
        else:
            folder.broken += 1
    return folder


def parses(path: Path, data: bytes) -> bool:
    try:
        libcst.parse_module(Source(str(path), data).text)
    except (SourceError, libcst.ParserSyntaxError, RecursionError):
        return False
    return True


def measure(folder: Folder, passes: int) -> None:
    """Fills in the times."""
    parses_, lints = [], []
    for _ in range(passes):
        parses_.append(sweep(folder.files, parse, "parse"))
        lints.append(sweep(folder.files, lint, "lint"))
    folder.parse, folder.lint = min(parses_), min(lints)


def parse(source: Source) -> bool:
    _ = source.tree
    return True


def lint(source: Source) -> bool:
    """False when the linter crashed, so that its time says nothing."""
    return not any(one.code == "internal-error" for one in analyse(source, load()))


def sweep(files: list[Timed], side: Callable[[Source], bool], name: str) -> float:
    """One pass of a side over the files: its seconds of processor time, the files' own best times kept by the way."""
    forget()  # within a pass neighbours share their trees, as in a real run; from one pass to the next they do not
    gc.collect()
    spent = 0.0
    for file in files:
        start = time.process_time()
        file.crashed |= not side(Source(str(file.path), file.data))
        seconds = time.process_time() - start
        spent += seconds
        setattr(file, name, min(getattr(file, name), seconds))
    return spent


def profile(files: list[Timed], top: int) -> None:
    """Prints where the time of the lint goes, parse included."""
    profiler = cProfile.Profile()
    profiler.enable()
    for file in files:
        lint(Source(str(file.path), file.data))
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(top)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--each", action="store_true", help="each folder inside the given ones has a row of its own")
    parser.add_argument("--passes", type=int, default=3, help="of each side over a folder (default: 3)")
    parser.add_argument("--limit", type=int, default=0, help="at most this many files a folder")
    parser.add_argument(
        "--slowest", type=int, default=10, help="how many files of the highest ratio to list (default: 10)"
    )
    parser.add_argument("--profile", action="store_true", help="also profile one lint of each timed file")
    options = parser.parse_args()
    for path in options.folders:
        if not path.is_dir():
            parser.error(f"{path}: not a folder")
    paths = options.folders
    if options.each:
        paths = [inner for path in paths for inner in sorted(path.iterdir()) if inner.is_dir()]
    load()
    print(HEADER)
    folders = []
    for path in paths:
        folder = collect(path, options.limit)
        measure(folder, options.passes)
        print(folder.line(), flush=True)
        folders.append(folder)
    everything = total(folders)
    if not everything.files:
        parser.error("no file that the linter would parse and libcst can")
    print(everything.line())
    crashed = [file.path for file in everything.files if file.crashed]
    if crashed:
        print(f"\n{len(crashed)} files crashed the linter, the ratio is too low: {crashed[0]}, ...")
    print("\nhighest ratio, of files over 2 kB:")
    big = sorted((f for f in everything.files if len(f.data) > 2000), key=lambda f: -f.ratio)
    for file in big[: options.slowest]:
        size = f"{len(file.data) / 1e3:7.1f} kB"
        print(f"{file.ratio:8.2f}  {size}  parse {file.parse:6.3f} s  lint {file.lint:6.3f} s  {file.path}")
    if options.profile:
        profile(everything.files, 40)
    return 0


if __name__ == "__main__":
    sys.exit(main())
