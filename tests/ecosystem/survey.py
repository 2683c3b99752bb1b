"""What the rules say of real code: every finding, to be read and judged by a person.

    python -m tests.ecosystem.survey FOLDER... --output findings.txt

Each FOLDER is one repository; with `--each`, each folder inside it is. Crashes come first, then the counts by rule and
by repository. `--output` gets every finding with three lines of source on either side, sorted by rule and place, so
that two surveys can be compared with diff. `--sample N` keeps N findings a rule there, always the same ones.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torchlint.diagnostic import Diagnostic
from torchlint.engine import analyse
from torchlint.registry import load
from torchlint.source import Source, SourceError

CONTEXT = 3  # lines on either side
SEED = 0
FILE_CODES = ("internal-error", "io-error", "syntax-error")


@dataclass(slots=True, frozen=True)
class Seen:
    """One finding, the repository it is in, and the source around it."""

    repo: str
    diagnostic: Diagnostic
    context: str

    @property
    def key(self) -> tuple[str, str, tuple[str, int, int, int, str, str]]:
        return (self.diagnostic.code, self.repo, self.diagnostic.key)


def python_files(folder: Path) -> Iterator[Path]:
    """The Python files under a folder, hidden folders left out, in order."""
    for path in sorted(folder.rglob("*.py")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def lint(file: tuple[str, Path, Path], names: frozenset[str]) -> list[Seen]:
    """The findings of one file of (repository, its folder, the file)."""
    repo, folder, path = file
    filename = path.relative_to(folder).as_posix()
    try:
        source = Source.read(path)  # under its own name: what it imports is looked up beside it
    except SourceError as error:
        print(f"{repo}: {filename}: {error}", file=sys.stderr)
        return []
    found = analyse(source, [rule for rule in load() if rule.name in names])
    lines = source.data.decode(errors="replace").splitlines() if found else []
    return [Seen(repo, replace(one, filename=filename), excerpt(lines, one)) for one in found]


def excerpt(lines: list[str], one: Diagnostic) -> str:
    """The finding's line and those around it, numbered; `>` marks the lines it names itself."""
    marked = {one.span.row, *(related.span.row for related in one.related)}
    shown = sorted({row for mark in marked for row in range(mark - CONTEXT, mark + CONTEXT + 1)} & set(_rows(lines)))
    text: list[str] = []
    for previous, row in zip([0, *shown], shown, strict=False):
        if previous and row > previous + 1:
            text.append("      ...")
        text.append(f"{'>' if row in marked else ' '}{row:5} {lines[row - 1]}")
    return "\n".join(text)


def _rows(lines: list[str]) -> range:
    return range(1, len(lines) + 1)


def sample(found: Iterable[Seen], count: int) -> list[Seen]:
    """At most `count` findings a rule, the same ones each time."""
    by_rule: dict[str, list[Seen]] = defaultdict(list)
    for one in sorted(found, key=lambda s: s.key):
        by_rule[one.diagnostic.code].append(one)
    kept = []
    for _, group in sorted(by_rule.items()):
        kept += random.Random(SEED).sample(group, min(count, len(group)))
    return sorted(kept, key=lambda s: s.key)


def report(found: list[Seen], files: int) -> None:
    crashes = [one for one in found if one.diagnostic.code == "internal-error"]
    print(f"{files} files, {len(crashes)} crashes")
    for one in crashes:
        print(f"CRASH {one.repo}: {one.diagnostic.filename}: {one.diagnostic.message}")
    for title, names in (
        ("rule", Counter(f"{s.diagnostic.code} ({s.diagnostic.group})" for s in found)),
        ("repository", Counter(s.repo for s in found if s.diagnostic.code not in FILE_CODES)),
    ):
        print(f"\n{title:60} findings")
        for name, count in sorted(names.items()):
            print(f"{name:60} {count:5}")


def write(found: list[Seen], path: Path) -> None:
    blocks = []
    for one in found:
        d = one.diagnostic
        block = [f"{d.code}  {one.repo}  {d.filename}:{d.span.row}:{d.span.column}", f"  {d.message}"]
        block += [f"  {d.consequence}"] if d.consequence else []
        block += [f"  {r.filename}:{r.span.row}: {r.message}" for r in d.related]
        blocks.append("\n".join([*block, one.context, ""]))
    path.write_text("\n".join(blocks), encoding="utf-8")


def repositories(folders: list[Path], each: bool) -> list[tuple[str, Path]]:
    if not each:
        return [(folder.resolve().name, folder) for folder in folders]
    return [(inner.name, inner) for folder in folders for inner in sorted(folder.iterdir()) if inner.is_dir()]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--each", action="store_true", help="each folder inside the given ones is a repository")
    parser.add_argument("--rules", default="", help="only these rules, comma-separated")
    parser.add_argument("--group", action="append", default=[], help="only rules of this group (repeatable)")
    parser.add_argument("--sample", type=int, default=0, help="keep this many findings a rule")
    parser.add_argument("--output", type=Path, help="file for every finding with its source")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for folder in options.folders:
        if not folder.is_dir():
            parser.error(f"{folder}: not a folder")
    asked = frozenset(filter(None, options.rules.split(",")))
    unknown = sorted(asked - {rule.name for rule in load()})
    if unknown:
        parser.error(f"no such rule: {', '.join(unknown)}")
    names = frozenset(
        rule.name
        for rule in load()
        if (not asked or rule.name in asked) and (not options.group or rule.group.value in options.group)
    )
    if not names:
        parser.error("no rule is left; loosen --rules and --group")
    files = [
        (repo, folder, path)
        for repo, folder in repositories(options.folders, options.each)
        for path in python_files(folder)
    ]
    work = partial(lint, names=names)
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs) as pool:
            found = [one for some in pool.map(work, files, chunksize=16) for one in some]
    else:
        found = [one for file in files for one in work(file)]
    found.sort(key=lambda s: s.key)
    report(found, len(files))
    if options.output:
        write(sample(found, options.sample) if options.sample else found, options.output)
    return 1 if any(one.diagnostic.code == "internal-error" for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
