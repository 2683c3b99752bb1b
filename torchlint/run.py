"""Many files: each read, checked, selected, mended; in several processes where that pays.

A file's part needs nothing of any other file's, so the outcome is the same for every number of processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torchlint import builtin, engine, files, imports, registry, suppress
from torchlint.cache import Cache, Entry, entry_of
from torchlint.config import Config
from torchlint.diagnostic import Diagnostic, Safety, Severity
from torchlint.selection import PerFile, Selection, applies
from torchlint.source import SkippedError, Source, SourceError
from torchlint.text import line_starts

if TYPE_CHECKING:
    from torchlint.baseline import Baseline, Key
    from torchlint.changes import Changes

# Under this much source a second process costs more than it saves: it must import libcst first.
PAYS_FROM = 1_000_000


@dataclass(slots=True, frozen=True)
class Scope:
    """What holds for the files below a configuration file that is not the run's own."""

    config: Config
    selection: Selection


@dataclass(slots=True, frozen=True)
class Plan:
    """What is done with every file; sent to each process once."""

    config: Config
    selection: Selection
    diff: bool = False  # say what fixes would change, and change nothing
    baseline: Baseline | None = None  # what is known already
    changes: Changes | None = None  # the rows that count, where not all do
    reason: str | None = None  # add comments that suppress what is found, with this reason
    scopes: Mapping[str, Scope] = field(default_factory=dict)  # by folder, where others than these settings hold

    @property
    def mends(self) -> bool:
        return self.config.fix or self.diff

    @property
    def writes(self) -> bool:
        """Whether files are changed."""
        return not self.diff and (self.config.fix or self.reason is not None)


@dataclass(slots=True, frozen=True)
class Change:
    """A text before and after fixes: of a file, or of a cell of a notebook."""

    name: str
    before: str
    after: str
    cell: int | None = None


@dataclass(slots=True, frozen=True)
class Record:
    """What became of one file."""

    filename: str
    findings: tuple[Diagnostic, ...] = ()  # in the order they are reported
    fixed: tuple[Diagnostic, ...] = ()  # what was found and is mended now, or would be
    silenced: tuple[Diagnostic, ...] = ()  # what a comment that was added suppresses, or would
    refused: tuple[tuple[Diagnostic, str], ...] = ()  # fixes that would have made it worse, and how
    changes: tuple[Change, ...] = ()  # what fixes change
    content: bytes = b""  # the file's bytes with these changes
    rows: dict[int, str] = field(default_factory=dict)  # the source rows that findings show,
    cells: dict[int, dict[int, str]] = field(default_factory=dict)  # and those of each cell of a notebook
    known: Counter[Key] = field(default_factory=Counter)  # what was found and is in the baseline
    suppressed: int = 0  # how much was found and is suppressed by comments
    notice: str = ""  # why the file was left out
    aside: bool = False  # this is told only to who asks for details
    entry: Entry | None = field(default=None, compare=False)  # what the cache is to keep of it

    def shown(self, cell: int | None) -> dict[int, str]:
        """The source rows that findings in this cell show; None: in a file that is no notebook."""
        return self.rows if cell is None else self.cells.get(cell, {})


@dataclass(slots=True)
class Report:
    """What a run found, and the exit status that follows."""

    plan: Plan
    records: list[Record] = field(default_factory=list)
    analysed: int | None = None  # files whose findings were not in the cache; None: there was none

    @property
    def findings(self) -> list[Diagnostic]:
        """All findings, sorted by file, row, column, code."""
        return sorted((one for record in self.records for one in record.findings), key=lambda d: d.key)

    @property
    def known(self) -> int:
        """How many findings are in the baseline."""
        return sum(record.known.total() for record in self.records)

    @property
    def silenced(self) -> int:
        """How many findings a comment was added for."""
        return sum(len(record.silenced) for record in self.records)

    @property
    def suppressed(self) -> int:
        """How many findings comments suppress."""
        return sum(record.suppressed for record in self.records)

    @property
    def fixed(self) -> list[Diagnostic]:
        return [one for record in self.records for one in record.fixed]

    def count(self, severity: Severity) -> int:
        return sum(one.severity is severity for record in self.records for one in record.findings)

    def fixable(self, safety: Safety) -> int:
        """How many findings have a fix of this safety."""
        return sum(one.fix is not None and one.fix.safety is safety for r in self.records for one in r.findings)

    @property
    def exit_code(self) -> int:
        """0: nothing found, or all of it fixed; 1: findings; 2: torchlint itself failed somewhere."""
        findings = [one for record in self.records for one in record.findings]
        if any(one.code == "internal-error" for one in findings):
            return 2
        config = self.plan.config
        if self.silenced and self.plan.diff and not config.exit_zero:
            return 1
        if self.fixed and (config.exit_non_zero_on_fix or (self.plan.diff and not config.exit_zero)):
            return 1
        return 1 if findings and not config.exit_zero else 0


def run(
    paths: Sequence[str], plan: Plan, cache: Cache | None = None, told: Callable[[int], None] = lambda done: None
) -> Report:
    """Checks, and mends where the plan says so, the files at `paths`; those that `cache` knows are not analysed.

    `told` is called with the number of files that are done, after each.
    """
    if cache is None:
        records: list[Record] = []
        for record in _records(paths, plan):
            records.append(record)
            told(len(records))
        return Report(plan, records)
    known: dict[str, Record] = {}
    worker = Worker(plan)
    for path in paths:
        remembered = cache.get(path)
        if remembered is not None:
            known[path] = worker.remembered(path, *remembered)
    new = [path for path in paths if path not in known]
    try:
        for record in _records(new, plan):
            known[record.filename] = replace(record, entry=None)
            if record.entry is not None:
                cache.put(record.filename, record.entry)
            told(len(known))
    finally:
        cache.save()
    return Report(plan, [known[path] for path in paths], analysed=len(new))


def _records(paths: Sequence[str], plan: Plan) -> Iterator[Record]:
    jobs = min(plan.config.jobs or _processors(), len(paths))
    if jobs < 2 or sum(_size(path) for path in paths) < PAYS_FROM:
        worker = Worker(plan)
        yield from map(worker.file, paths)
        return

    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

    size = max(1, min(8, len(paths) // (jobs * 4)))
    done = 0
    try:
        with ProcessPoolExecutor(jobs, initializer=_start, initargs=(plan,)) as pool:
            try:
                for part in [pool.submit(_files, paths[at : at + size]) for at in range(0, len(paths), size)]:
                    for record in part.result():
                        yield record
                        done += 1
            except KeyboardInterrupt:
                for process in multiprocessing.active_children():
                    process.terminate()  # or leaving the pool would wait for all that is queued
                raise
    except BrokenProcessPool:
        yield from _one_by_one(paths[done:], plan)


def _one_by_one(paths: Sequence[str], plan: Plan) -> Iterator[Record]:
    """A process died: to tell which file did it, each of the rest has a process to itself."""
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

    for path in paths:
        try:
            with ProcessPoolExecutor(1, initializer=_start, initargs=(plan,)) as pool:
                (record,) = pool.submit(_files, [path]).result()
        except BrokenProcessPool:
            message = "the process that checked this file died, perhaps for want of memory; exclude the file to go on"
            record = Record(path, (builtin.file_error("internal-error", message, path),))
        yield record


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # said when it is read


_worker: Worker | None = None  # of this process, when it is one of several


def _start(plan: Plan) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the first process's to handle
    _worker = Worker(plan)


def _files(paths: Sequence[str]) -> list[Record]:
    assert _worker is not None
    return [_worker.file(path) for path in paths]


class Worker:
    """Does one file after another."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rules = registry.load()
        self.known = frozenset(registry.by_name())
        self._top = PerFile(plan.selection, plan.config)
        self._others = {id(one): PerFile(one.selection, one.config) for one in plan.scopes.values()}

    def per_file(self, path: str) -> PerFile:
        """What is reported for a file, by the settings that hold for it."""
        scopes = self.plan.scopes
        scope = scopes.get(files.folder_of(path)) if scopes else None
        return self._top if scope is None else self._others[id(scope)]

    def file(self, path: str) -> Record:
        """Checks a file, and writes it where it is mended."""
        notebook = path.endswith(".ipynb")  # of which only the code counts, not the pictures
        limit = self.per_file(path).config.max_file_size
        if not notebook and _size(path) > limit:
            return _too_large(path, limit)
        source = self._read(path)
        if isinstance(source, Record):
            return source
        if notebook and len(source.data) > limit:
            return _too_large(path, limit)
        return self._written(source, self.source(source))

    def _read(self, path: str, data: bytes | None = None) -> Source | Record:
        """The source in a file, or in `data`; what becomes of the file where there is none."""
        try:
            return Source.read(Path(path)) if data is None else Source.of(path, data)
        except SourceError as error:
            return Record(path, (builtin.file_error(error.code, str(error), path, error.row, error.column),))
        except SkippedError as error:
            return Record(path, notice=f"{path}: skipped, {error}", aside=error.aside)

    def remembered(self, path: str, found: list[Diagnostic], comments: bool) -> Record:
        """The record of a file whose findings are known: its text is read only where something hangs on it."""
        if not found and not comments:
            return Record(path)
        source = self._read(path)
        return source if isinstance(source, Record) else self._written(source, self.source(source, found))

    def data(self, filename: str, data: bytes) -> Record:
        """Checks bytes as if they stood in a file of this name, and writes nothing."""
        source = self._read(filename, data)
        return source if isinstance(source, Record) else self.source(source)

    def _written(self, source: Source, record: Record) -> Record:
        path = source.filename
        if self.plan.writes and record.changes:
            try:
                write(Path(path), record.content)
            except OSError as error:
                message = f"cannot be written: {error.strerror or error}"
                findings = (builtin.file_error("io-error", message, path), *record.findings)
                return Record(path, findings, rows=record.rows, cells=record.cells)
        return record

    def source(self, source: Source, known: list[Diagnostic] | None = None) -> Record:
        """Checks a file's bytes; mends them, without writing anything, where the plan says so."""
        try:
            return self._check(source, known)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except (
            BaseException
        ) as error:  # what goes wrong with one file, a panic of the parser too, must not hide the rest
            return Record(source.filename, (engine.crash("the check of this file", error, source.filename),))

    def _check(self, source: Source, known: list[Diagnostic] | None) -> Record:
        per_file = self.per_file(source.filename)
        codes = per_file.codes(source.filename)
        sieve = _Sieve(self.plan, source)
        target = per_file.config.target_torch
        suppressed: dict[int, int] = {}  # how many, by id of the source

        def chosen(one: Source, everything: list[Diagnostic]) -> list[Diagnostic]:
            """All rules always run, so that what is remembered serves every selection.

            A comment is unneeded when none of them finds anything there, whether it is selected here or not.
            """

            def told(d: Diagnostic) -> bool:
                if d.group in (builtin.FILE, builtin.SUPPRESSION):
                    return True
                return d.code in codes and applies(d.since, d.until, target)

            found = [d for d in suppress.apply(one, everything, self.known, codes) if told(d)]
            suppressed[id(one)] = sum(map(told, everything)) - sum(d.group != builtin.SUPPRESSION for d in found)
            return sieve([per_file.loudness(d) for d in found], one)

        def lint(one: Source) -> list[Diagnostic]:
            return chosen(one, engine.analyse(one, self.rules))

        entry = None
        if known is None:
            with imports.logged() as log:
                known = engine.analyse(source, self.rules)
            entry = entry_of(source.filename, source.content, known, suppress.may_hold(source.data, self.known), log)
        found = chosen(source, known)
        if self.plan.reason is not None and found:
            from torchlint.silence import silence

            done = silence(source, found, lint, self.known, self.plan.reason)
            return replace(
                _record(done.source, done.remaining),
                silenced=tuple(map(source.placed, done.silenced)),
                changes=tuple(_changes(source, done.source)) if done.silenced else (),
                content=done.source.content,
                known=sieve.known[id(done.source)],
                notice=f"{source.filename}: no comments were added: {done.refused}" if done.refused else "",
            )
        if not self.plan.mends or not any(d.fix is not None for d in found):
            return replace(
                _record(source, found),
                known=sieve.known[id(source)],
                suppressed=suppressed[id(source)],
                entry=entry,
            )

        from torchlint import fix

        mended = fix.mend(source, lambda one: found if one is source else lint(one), self.plan.config.unsafe_fixes)
        return replace(
            _record(mended.source, mended.remaining),
            fixed=tuple(mended.applied),
            refused=tuple(mended.refused),
            changes=tuple(_changes(source, mended.source)),
            content=mended.source.content,
            known=sieve.known[id(mended.source)],
            suppressed=suppressed[id(mended.source)],
        )


class _Sieve:
    """Takes out of a file's findings what the baseline knows and what stands on rows that do not count.

    While a file is mended its rows move: what did not count before is then told by its text.
    """

    def __init__(self, plan: Plan, source: Source) -> None:
        self.baseline = plan.baseline
        self.changes = plan.changes
        self.source = source
        self.old: Counter[Key] = Counter()  # findings on rows that do not count
        self.known: dict[int, Counter[Key]] = {}  # what the baseline knew, by id of the source

    def __call__(self, found: list[Diagnostic], source: Source) -> list[Diagnostic]:
        self.known[id(source)] = Counter()
        if not found or (self.baseline is None and self.changes is None):
            return found
        from torchlint import baseline

        keys = baseline.keys(found, source)
        if self.baseline is not None:
            known = Counter(keys) if self.baseline.anew else self.baseline.known(source.filename)
            new, self.known[id(source)] = baseline.sift(found, keys, known)
            found, keys = [found[at] for at in new], [keys[at] for at in new]
        if self.changes is None:
            return found
        if source is not self.source:
            new, _ = baseline.sift(found, keys, self.old)
            return [found[at] for at in new]
        counts = [one.group == builtin.FILE or self.changes.touch(one, source) for one in found]
        self.old = Counter(key for key, wanted in zip(keys, counts, strict=True) if not wanted)
        return [one for one, wanted in zip(found, counts, strict=True) if wanted]


def _record(source: Source, found: list[Diagnostic]) -> Record:
    """The record of these findings, each at the place where it is reported."""
    placed = tuple(map(source.placed, found))
    rows = _rows(source, found)
    if source.program is None:
        return Record(source.filename, placed, rows=rows)
    return Record(source.filename, placed, cells=source.program.rows(rows))


def _too_large(path: str, limit: int) -> Record:
    return Record(path, notice=f"{path}: skipped, larger than max-file-size ({limit} bytes)")


def _rows(source: Source, found: list[Diagnostic]) -> dict[int, str]:
    """The text of the rows that a report of these findings shows, counts columns in or writes into a suggestion."""
    if not found:
        return {}
    try:
        text = source.text
    except SourceError:
        return {}
    starts = [*line_starts(text), len(text)]
    spans = [one.span for one in found] + [other.span for one in found for other in one.related]
    wanted = {row for span in spans for row in (span.row, span.end_row)}
    for edits in (one.fix.edits for one in found if one.fix is not None and one.fix.edits):
        wanted.update(range(min(e.span.row for e in edits), max(e.span.end_row for e in edits) + 1))
    return {row: text[starts[row - 1] : starts[row]].rstrip("\r\n") for row in sorted(wanted) if row < len(starts)}


def _changes(before: Source, after: Source) -> Iterator[Change]:
    if before.program is None or after.program is None:
        if before.text != after.text:
            yield Change(before.filename, before.text, after.text)
        return
    for number, (old, new) in enumerate(zip(before.program.texts, after.program.texts, strict=True), 1):
        if old != new:
            yield Change(f"{before.filename}:cell {number}", old or "", new or "", number)


def write(path: Path, data: bytes) -> None:
    """Puts `data` into the file at once or not at all, keeping its permissions. Raises OSError."""
    import tempfile  # needed by few runs

    target = path.resolve()  # a link stays a link
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        shutil.copymode(target, name)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
