"""One file: its bytes -> the findings of the rules.

What a file costs depends on what is in it. No rule wants it: a syntax check by Python's own parser. A rule wants it:
one libcst parse, one reading by the semantic layer, every rule's check. Something is found: the places of those nodes,
in one pass. libcst is imported at the first file that needs it.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchlint import builtin, imports, syntax
from torchlint.diagnostic import Diagnostic, Related, Span
from torchlint.source import Source, SourceError
from torchlint.text import line_starts

if TYPE_CHECKING:
    from torchlint.diagnostic import Remedy
    from torchlint.rule import Facts, Finding, Rule


def analyse(source: Source, rules: Sequence[Rule]) -> list[Diagnostic]:
    """The findings of `rules` in `source`, in the order they are reported; what befalls the file is a finding too.

    Never raises for what a file holds or a rule does: a crash is an `internal-error` and everything else goes on. Only
    at a RecursionError the whole file gets a second try, with a larger stack.
    """
    wanted = applicable(rules, source.data, partial(_neighbours, source))
    found: list[Diagnostic] | None = None
    if not syntax.deep(source.data):
        with contextlib.suppress(RecursionError):  # rare, and worth a second try with more room
            found = _analyse(source, wanted)
    if found is None:
        found = syntax.with_large_stack(lambda: _nested(source, wanted))
    return sorted([*_problems(source), *found], key=lambda d: d.key) if source.problems else found


def _problems(source: Source) -> Iterator[Diagnostic]:
    """The findings for cells of a notebook that cannot be read; the others are checked all the same."""
    for error in source.problems:
        yield builtin.file_error(error.code, str(error), source.filename, error.row, error.column)


# A file that leaves the work to others still names what they work on.
_SUBJECTS = (b"torch", b"model", b"loss", b"optim", b"train")
# What frameworks do around these, without a word of it in the file.
_DONE_AROUND = {
    b"training_step": frozenset({"backward", "zero_grad"}),
    b"compute_loss": frozenset({"backward"}),
    b"NativeScaler": frozenset({"backward", "step"}),
}


def applicable(rules: Iterable[Rule], data: bytes, neighbours: Callable[[], list[bytes]] = list) -> list[Rule]:
    """The rules whose pitfall can be in a file: its bytes hold one word of each of their sets.

    What a file calls may stand in the files that it imports: `neighbours` gives their bytes.
    """
    rules = list(rules)
    words = frozenset(word for rule in rules for some in rule.words for word in some)
    held = _held(words, data)
    if b"import" in data and any(word in data for word in _SUBJECTS):
        held = held.union(*(_held(words, text) for text in neighbours()))
    return [rule for rule in rules if not any(held.isdisjoint(some) for some in rule.words)]


@lru_cache(maxsize=512)
def _held(words: frozenset[str], data: bytes) -> frozenset[str]:
    """Which of `words` are in a file. Each costs a pass over the bytes, and neighbours ask for the same files."""
    held = frozenset(word for word in words if word.encode() in data)
    return held.union(*(words & done for word, done in _DONE_AROUND.items() if word in data))


def forget() -> None:
    """Drops what is kept of files for their neighbours: a measurement begins afresh."""
    from torchlint.semantics import project

    _held.cache_clear()
    project.forget()


def _neighbours(source: Source) -> list[bytes]:
    """The bytes of the project's files that a file imports from; those that cannot be read left out."""
    texts = map(imports.read, imports.leans_on(source.filename, source.data))
    return [text for text in texts if text is not None]


def _analyse(source: Source, rules: Sequence[Rule]) -> list[Diagnostic]:
    try:
        if not rules:
            syntax.check(source)
            return []
        # Trees are many objects and no garbage: collecting while they are alive costs more than it frees.
        with _no_collection():
            return _check(source, rules)
    except SourceError as error:
        message, row, column = syntax.in_words(error, source)
        return [builtin.file_error(error.code, message, source.filename, row, column)]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python's garbage collector off meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _guarded(what: str, source: Source, crashes: list[Diagnostic]) -> Iterator[None]:
    """Turns a crash of `what` into a finding: a bug in one part must not hide what the others find."""
    try:
        yield
    except RecursionError:
        raise  # says more of the file than of the part, and gets a second try
    except Exception as error:
        crashes.append(crash(what, error, source.filename))


def _check(source: Source, rules: Sequence[Rule]) -> list[Diagnostic]:
    """Raises SourceError when the file cannot be parsed."""
    from torchlint.semantics import project

    project.reuse(source)
    _ = source.tree
    crashes: list[Diagnostic] = []
    with _guarded("the analysis", source, crashes):
        facts = _facts(source)
    if crashes:
        return crashes
    found: list[tuple[Rule, Finding]] = []
    for rule in rules:
        with _guarded(f"rule {rule.name}", source, crashes):
            found.extend((rule, finding) for finding in rule.check(facts))
    if not found:
        return crashes
    with _guarded("locating the findings", source, crashes):
        source.locate(_nodes(found))
        others = facts.others
        starts = line_starts(source.text)
        located: dict[tuple[object, ...], Diagnostic] = {}
        for rule, finding in _own(source, others, found):
            remedy = None
            with _guarded(f"the fix of rule {rule.name}", source, crashes):
                remedy = _remedy(source, finding)
            one = _diagnostic(source, others, starts, rule, finding, remedy)
            located.setdefault(one.key, one)  # a function followed from two callers tells the same story twice
        return sorted([*crashes, *located.values()], key=lambda d: d.key)
    return crashes


def _own(
    source: Source, others: Sequence[Source], found: Iterable[tuple[Rule, Finding]]
) -> Iterator[tuple[Rule, Finding]]:
    """The findings that are told of this file: those in it, and those that only its calls bring about in another.

    The latter stand at the call; what the other file shows by itself is told when that one is checked.
    """
    told: dict[tuple[str, str], set[int]] = {}  # by rule and other file: the nodes of its own findings
    read: dict[str, Facts] = {}  # by file
    for rule, finding in found:
        node, caller = finding.site.node, finding.site.caller
        if source.holds(node):
            yield rule, finding
        elif caller is not None and source.holds(caller.node):
            for other in others:
                other.locate([node])
                if other.holds(node):
                    key = (rule.name, other.filename)
                    if key not in told:
                        if other.filename not in read:
                            read[other.filename] = _facts(other)
                        told[key] = {id(one.site.node) for one in rule.check(read[other.filename])}
                    if id(node) not in told[key]:
                        related = (("it happens here", finding.site), *finding.related)
                        where = f", in {Path(other.filename).name}"
                        message = finding.message + where
                        yield rule, replace(finding, site=caller, message=message, related=related, fix=None)
                    break


def _facts(source: Source) -> Facts:
    from torchlint.semantics.build import build

    return build(source)


def _remedy(source: Source, finding: Finding) -> Remedy | None:
    from torchlint import fix

    if finding.fix is None or not all(map(source.holds, fix.nodes(finding.fix))):
        return None  # a fix stays in its file
    return fix.build(source, finding.fix)


def _nodes(found: Iterable[tuple[Rule, Finding]]) -> Iterator[Any]:
    """All nodes whose places the diagnostics need."""
    from torchlint import fix

    for _, finding in found:
        for site in (finding.site, finding.site.caller):
            if site is None:
                continue
            yield site.node
            if site.statement is not None:
                yield site.statement
                suite = _suite(site.statement)
                if suite is not None:
                    yield suite
        yield from (related.node for _, related in finding.related)
        if finding.fix is not None:
            yield from fix.nodes(finding.fix)


def _suite(statement: Any) -> Any:
    """The body of a compound statement; None for a simple one."""
    body = getattr(statement, "body", None)
    return None if isinstance(body, (list, tuple)) else body


def _related(source: Source, others: Sequence[Source], message: str, node: Any) -> Iterator[Related]:
    """A second place, in whichever file it stands."""
    for one in (source, *others):
        one.locate([node])
        if one.holds(node):
            yield Related(message, one.filename if one is source else imports.shown(one.filename), one.span(node))
            return


def _diagnostic(
    source: Source, others: Sequence[Source], starts: list[int], rule: Rule, finding: Finding, fix: Remedy | None
) -> Diagnostic:
    span = source.span(finding.site.node)
    first, last = _header(source, starts, finding.site.statement, span)
    return Diagnostic(
        code=rule.name,
        group=rule.group.value,
        severity=rule.group.severity,
        message=finding.message,
        filename=source.filename,
        span=span,
        consequence=finding.consequence,
        related=tuple(
            place for message, site in finding.related for place in _related(source, others, message, site.node)
        ),
        fix=fix,
        statement_row=first,
        statement_end_row=last,
        since=finding.since,
        until=finding.until,
    )


def _header(source: Source, starts: list[int], statement: Any, span: Span) -> tuple[int, int]:
    """First and last row of a statement; of a compound one, of its header."""
    if statement is None:
        return span.row, span.row
    place = source.span(statement)
    suite = _suite(statement)
    if suite is None:
        return place.row, place.end_row
    row = source.span(suite).row
    while row > place.row:  # from the first statement of the body up, over blank rows and comments, to the header's end
        row -= 1
        line = source.text[starts[row - 1] : starts[row]].strip()
        if line and not line.startswith("#"):
            break
    return place.row, row


def crash(what: str, error: BaseException, filename: str) -> Diagnostic:
    """The finding for a bug in torchlint: what crashed, how and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    message = f"{what} crashed: {type(error).__name__}: {error}{where}; please report it"
    return builtin.file_error("internal-error", " ".join(message.split()), filename)


def _nested(source: Source, rules: Sequence[Rule]) -> list[Diagnostic]:
    """The same with more room, for what is nested deeply."""
    try:
        syntax.accepts(source.data, syntax.BOUNDED)
    except (RecursionError, MemoryError):
        return [builtin.file_error("syntax-error", syntax.TOO_DEEP, source.filename)]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 50_000))
    try:
        return _analyse(source, rules)
    except RecursionError:
        return [builtin.file_error("internal-error", "is nested too deeply to be analysed", source.filename)]
    finally:
        sys.setrecursionlimit(limit)
