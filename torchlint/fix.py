"""Fixes put into a file that is known to be no worse afterwards.

`apply` puts edits into a text. `mend` does so again and again until nothing is left to do, and takes back what does not
parse, does not remove its finding, or brings a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torchlint.diagnostic import Diagnostic, Remedy, Safety, TextEdit
from torchlint.rule import Fix
from torchlint.source import Source, SourceError
from torchlint.text import line_starts


def nodes(fix: Fix) -> Iterator[Any]:
    """The nodes whose places `build` asks for, so that a caller can locate those of many fixes in one pass."""
    from torchlint.semantics import edits  # brings libcst, which only a file with findings needs

    return edits.nodes(fix)


def build(source: Source, fix: Fix) -> Remedy | None:
    """A rule's fix as edits of the text of `source`; None where it cannot be written safely."""
    from torchlint.semantics import edits

    return edits.build(source, fix)


@dataclass(slots=True, frozen=True)
class _Edit:
    start: int
    end: int
    content: str
    written: TextEdit = field(compare=False)


def apply(text: str, remedies: Sequence[Remedy]) -> tuple[str, list[int]]:
    """Puts remedies into a text, first come first served.

    Out: the new text, and the numbers of the remedies that are in it. One that touches what an earlier one changes is
    left out: it must be made anew for the new text. Edits that say the same are made once.
    """
    edits, applied = _accepted(text, remedies)
    return _put(text, edits), applied


def edited(source: Source, remedies: Sequence[Remedy]) -> tuple[Source | None, list[int]]:
    """The same for a source, of a notebook too, where the edits are put into its cells.

    Out: the new source, None where it cannot be made, and the numbers. Raises UnicodeEncodeError.
    """
    edits, applied = _accepted(source.text, remedies)
    return source.edited([edit.written for edit in edits], _put(source.text, edits)), applied


def _accepted(text: str, remedies: Sequence[Remedy]) -> tuple[list[_Edit], list[int]]:
    starts = line_starts(text)

    def offsets(edit: TextEdit) -> _Edit:
        at = edit.span
        start, end = starts[at.row - 1] + at.column - 1, starts[at.end_row - 1] + at.end_column - 1
        return _Edit(start, end, edit.content, edit)

    accepted: set[_Edit] = set()
    applied: list[int] = []
    for number, remedy in enumerate(remedies):
        wanted = [offsets(e) for e in remedy.edits]
        if all(e in accepted or not any(_touch(e, other) for other in accepted) for e in wanted):
            accepted.update(wanted)
            applied.append(number)
    return sorted(accepted, key=lambda e: (e.start, e.end), reverse=True), applied


def _put(text: str, edits: Sequence[_Edit]) -> str:
    for edit in edits:  # the last first
        text = text[: edit.start] + edit.content + text[edit.end :]
    return text


def _touch(one: _Edit, other: _Edit) -> bool:
    return one.start <= other.end and other.start <= one.end


@dataclass(slots=True)
class Mended:
    """What became of a file: its new source, what was mended, what was left out and why, what is still found.

    The last stands at its place in the source; the others, whose rows may have moved since, where they are reported.
    """

    source: Source
    applied: list[Diagnostic] = field(default_factory=list)
    refused: list[tuple[Diagnostic, str]] = field(default_factory=list)
    remaining: list[Diagnostic] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.applied)


def mend(source: Source, lint: Callable[[Source], list[Diagnostic]], unsafe: bool = False) -> Mended:
    """Applies the fixes of what `lint` finds, again and again until none is left.

    `lint` gives the findings that count, suppressed ones left out. Safe fixes are applied, unsafe ones when `unsafe`.
    A fix is taken back, and named in `refused`, when the file no longer parses with it, when its finding stays, or when
    a finding appears that was not there. Every round mends or refuses at least one finding, so this ends.
    Raises SourceError when `source` itself cannot be read.
    """
    allowed = (Safety.SAFE, Safety.UNSAFE) if unsafe else (Safety.SAFE,)
    result = Mended(source, remaining=lint(source))
    refused: set[tuple[str, str, str]] = set()
    while True:
        rows = _rows_of(result.source.text)
        batch = [
            (d, d.fix)
            for d in result.remaining
            if d.fix is not None and d.fix.safety in allowed and _name(d, rows) not in refused
        ]
        if not batch:
            return result
        while batch:
            trial, chosen, left, reason = _try(result, batch, lint)
            if reason is None:
                result.applied.extend(map(result.source.placed, chosen))
                result.source, result.remaining = trial, left
                break
            if len(batch) == 1:
                refused.add(_name(batch[0][0], rows))
                result.refused.append((result.source.placed(batch[0][0]), reason))
            batch = batch[: len(batch) // 2]  # one of them is to blame


def _name(finding: Diagnostic, rows: list[str]) -> tuple[str, str, str]:
    """A finding by what stays the same when rows above it move."""
    row = rows[finding.span.row - 1] if finding.span.row <= len(rows) else ""
    return finding.code, finding.message, row.strip()


def _rows_of(text: str) -> list[str]:
    starts = line_starts(text)
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def _try(
    result: Mended, batch: Sequence[tuple[Diagnostic, Remedy]], lint: Callable[[Source], list[Diagnostic]]
) -> tuple[Source, list[Diagnostic], list[Diagnostic], str | None]:
    """The source with the edits in it, whose they are, what is found there, and why that is not good enough."""
    before = result.source
    try:
        trial, applied = edited(before, [remedy for _, remedy in batch])
    except UnicodeEncodeError:
        return before, [], [], f"cannot be written in {before.encoding}, the encoding of the file"
    if trial is None:
        return before, [], [], "would change what is not Python in its cell"
    chosen = [batch[number][0] for number in applied]
    try:
        _ = trial.tree
    except SourceError as error:
        return before, [], [], f"would leave code that does not parse ({error})"
    left = lint(trial)
    mended = Counter(d.code for d in chosen)
    had = Counter(d.code for d in result.remaining)
    for code, count in Counter(d.code for d in left).items():
        if count > had[code]:
            return before, [], [], f"would bring a new finding, {code}"
        if count > had[code] - mended[code]:
            return before, [], [], f"would not remove the finding, or bring another {code}"
    return trial, chosen, left, None
