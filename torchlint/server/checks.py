"""Texts -> findings: which document is checked when, and the thread in which that happens.

The analysis is not made for several threads, so there is one, and what it works on is a snapshot of all open texts.
Whatever has changed meanwhile makes its result stale: it is dropped, and the document checked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from torchlint import files, imports, registry, run
from torchlint.diagnostic import Diagnostic
from torchlint.server.settings import Editor, Settings
from torchlint.source import Source, SourceError, decode
from torchlint.text import rows_of

T = TypeVar("T")
Place = tuple[str, int | None]  # a file and, of a notebook, a cell

DEBOUNCE = 0.1  # seconds without a keystroke after which a text is looked at


@dataclass(slots=True, frozen=True)
class Text:
    """A text that the editor shows: a document, or a cell of a notebook."""

    uri: str
    version: int | None
    text: str | None  # None: no Python


@dataclass(slots=True, frozen=True)
class Job:
    """A document or a notebook as it is now."""

    uri: str
    texts: tuple[Text, ...]  # one, or the cells in their order
    data: bytes | None  # the bytes of a document; None for a notebook
    filename: str  # its path; of what is no file, one that it could have
    root: str | None  # the workspace folder it is in
    editor: Editor
    unsaved: Mapping[str, bytes]  # the open texts by path

    @property
    def state(self) -> tuple[tuple[str, int | None], ...]:
        """Tells the texts from what they were, and will be."""
        return tuple((one.uri, one.version) for one in self.texts)

    def source(self) -> Source:
        """What is checked."""
        if self.data is not None:
            return Source(self.filename, self.data)
        from torchlint.notebook import join

        return Source.joined(self.filename, join([one.text for one in self.texts]))

    def text(self, cell: int | None) -> Text:
        """The text that a finding stands in. What concerns a notebook as a whole is shown in its first cell."""
        if cell is not None:
            return self.texts[cell - 1]
        return next((one for one in self.texts if one.text is not None), self.texts[0])


@dataclass(slots=True, frozen=True)
class Checked:
    """What was found in a document or a notebook."""

    job: Job
    findings: tuple[Diagnostic, ...]
    rows: Mapping[Place, list[str]]  # the texts that findings stand in
    looked_into: frozenset[str]  # the other files it hangs on
    worker: run.Worker
    problem: str | None = None  # with its configuration
    crashes: tuple[str, ...] = ()
    seconds: float = 0.0
    number: int = field(default_factory=itertools.count().__next__)  # tells it from other results

    def row(self, place: Place, number: int) -> str:
        """The text of a row, from 1."""
        rows = self.rows.get(place, [])
        return rows[number - 1] if 0 < number <= len(rows) else ""


class Checker:
    """Does jobs; to be used in one thread."""

    def __init__(self) -> None:
        self.settings = Settings()

    def prepare(self) -> None:
        """Loads what every check needs, while the editor is still introducing itself."""
        registry.load()
        importlib.import_module("torchlint.semantics.build")  # brings libcst

    def check(self, job: Job) -> Checked:
        """The findings in a document, as `torchlint check` would report them if it were saved."""
        started = time.perf_counter()
        worker, problem = self.settings.worker(job.filename, job.root, job.editor)
        config = worker.plan.config
        findings: tuple[Diagnostic, ...] = ()
        with imports.overlaid(job.unsaved), imports.logged() as log:
            skipped = files.Excluded(config.root, config.excludes).above(job.filename) is not None
            source = job.source()
            if not skipped and len(source.data) <= config.max_file_size:
                findings = worker.source(source).findings
            rows = {place: _rows(place, job) for place in _places(findings)}
        return Checked(
            job,
            tuple(one for one in findings if _shown(one, job.editor)),
            rows,
            frozenset(log.reads),
            worker,
            problem,
            tuple(one.message for one in findings if one.code == "internal-error"),
            time.perf_counter() - started,
        )


def _shown(one: Diagnostic, editor: Editor) -> bool:
    return one.code != "internal-error" and (one.code != "syntax-error" or editor.show_syntax_errors)


def _places(findings: tuple[Diagnostic, ...]) -> set[Place]:
    related = {(other.filename, other.cell) for one in findings for other in one.related}
    return related | {(one.filename, one.cell) for one in findings}


def _rows(place: Place, job: Job) -> list[str]:
    filename, cell = place
    if filename == job.filename:
        return rows_of(job.text(cell).text or "")
    data = imports.read(imports.absolute(filename))
    try:
        return rows_of(decode(data)[0]) if data is not None else []
    except SourceError:
        return rows_of(data.decode("utf-8", "replace")) if data is not None else []


class Checks:
    """The documents that wait to be checked, and the last findings of each.

    `make` gives the job for a document as it is now, None when it is not to be checked; `done` is called with each
    result that is not stale; `gone` when one is not to be checked any more; `failed` with what went wrong in
    torchlint itself.
    """

    def __init__(
        self,
        make: Callable[[str], Job | None],
        done: Callable[[Checked], None],
        gone: Callable[[Job], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.checker = Checker()
        self.results: dict[str, Checked] = {}
        self._make, self._done, self._gone, self._failed = make, done, gone, failed
        self._waiting: dict[str, tuple[bool, float]] = {}  # whether it may wait for others, and until when it has to
        self._running: str | None = None
        self._changed = asyncio.Event()  # something to do, or done
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="torchlint")
        self._task: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Makes ready for the first document."""
        self._thread.submit(self.checker.prepare)

    def touch(self, uri: str, delay: float = 0.0, *, behind: bool = False) -> None:
        """Has a document checked (again) after `delay` seconds; `behind` those that somebody is looking at."""
        self._waiting[uri] = behind, time.monotonic() + delay
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def drop(self, uri: str) -> None:
        """Forgets a document."""
        self._waiting.pop(uri, None)
        self.results.pop(uri, None)
        if self._running == uri:
            self._running = None
        self._changed.set()

    def look_into(self, filename: str) -> list[str]:
        """The documents whose findings hang on a file."""
        return [uri for uri, one in self.results.items() if filename in one.looked_into]

    def forget_settings(self) -> None:
        """Has the configuration files read anew."""
        self._thread.submit(self.checker.settings.forget)

    def pending(self, uri: str) -> bool:
        """Whether a document is going to be checked anyway."""
        return uri in self._waiting or self._running == uri

    async def fresh(self, uri: str) -> Checked | None:
        """The findings in a document as it is now; None when it is not checked."""
        while self.pending(uri):
            if uri in self._waiting and self._waiting[uri][0]:
                self.touch(uri)
            self._changed.clear()
            await self._changed.wait()
        return self.results.get(uri)

    async def aside(self, work: Callable[[], T]) -> T:
        """Does something in the thread of the analysis."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _work(self) -> None:
        while True:
            delay = min((due for _, due in self._waiting.values()), default=float("inf")) - time.monotonic()
            if delay > 0:
                self._changed.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), None if delay == float("inf") else delay)
                continue
            now = time.monotonic()
            due = [(*one, uri) for uri, one in self._waiting.items() if one[1] <= now]
            uri = min(due)[2]
            del self._waiting[uri]
            await self._one(uri)
            self._changed.set()

    async def _one(self, uri: str) -> None:
        try:
            job = self._make(uri)
            if job is None:
                before = self.results.pop(uri, None)
                if before is not None:
                    self._gone(before.job)
                return
            self._running = uri
            checked = await self.aside(lambda: self.checker.check(job))
            if self._running == uri and uri not in self._waiting:
                self.results[uri] = checked
                self._done(checked)
        except Exception as error:  # a bug of ours must not end the checking of everything else
            self._failed(error)
        finally:
            self._running = None
