"""Reports for people: full with the source, concise with a line each, grouped by file; diff, statistics, summary."""

from __future__ import annotations

import difflib
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from torchlint import builtin
from torchlint.diagnostic import Diagnostic, Related, Safety, Severity, Span
from torchlint.report.style import Style, printable, width
from torchlint.run import Record, Report
from torchlint.text import rows_of

_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
_MARKS = {Safety.SAFE: "[*]", Safety.UNSAFE: "[unsafe]", Safety.DISPLAY: "[by hand]"}
_UNSEEN = 160  # how much of a source row is shown where no terminal sets the width
_LEAST = 12  # columns that are taken even on the narrowest


def full(report: Report, style: Style) -> str:
    """Each finding with the source around it, what follows from it, and what helps."""
    records = {record.filename: record for record in report.records}
    blocks = ["\n".join(_full(one, records[one.filename].shown(one.cell), style)) for one in report.findings]
    return "".join(f"{block}\n\n" for block in blocks)


def concise(report: Report, style: Style) -> str:
    """One line a finding."""
    return "".join(f"{_headline(one, style)}\n" for one in report.findings)


def grouped(report: Report, style: Style) -> str:
    """A block a file, one line a finding."""
    lines: list[str] = []
    for filename, findings in groupby(report.findings, key=lambda d: d.filename):
        lines.append(f"{style(printable(filename), 'bold')}:")
        found = list(findings)
        places = [at(one) for one in found]
        room = max(map(len, places))
        lines.extend(f"  {place:>{room}}  {_claim(one, style)}" for place, one in zip(places, found, strict=True))
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _headline(one: Diagnostic, style: Style) -> str:
    return f"{style(printable(one.filename), 'bold')}:{at(one)}: {_claim(one, style)}"


def at(one: Diagnostic | Related) -> str:
    """`12:5`, and in a notebook `cell 3:12:5`."""
    cell = f"cell {one.cell}:" if one.cell is not None else ""
    return f"{cell}{one.span.row}:{one.span.column}"


def _claim(one: Diagnostic, style: Style) -> str:
    mark = " " + style("[*]", "cyan") if one.fix is not None and one.fix.safety is Safety.SAFE else ""
    return f"{style(one.code, _COLORS[one.severity], 'bold')}{mark} {printable(one.message)}"


# ------------------------------------------------------------------------------------------------------ the source rows


@dataclass(slots=True, frozen=True)
class _Mark:
    """What is underlined in a row."""

    span: Span
    label: str
    main: bool


def _full(one: Diagnostic, source: dict[int, str], style: Style) -> Iterator[str]:
    yield _headline(one, style)
    marks = [_Mark(one.span, "", True)]
    elsewhere = []
    for other in one.related:
        if (other.filename, other.cell) == (one.filename, one.cell) and other.span.row in source:
            marks.append(_Mark(other.span, other.message, False))
        else:
            elsewhere.append(other)
    gutter = len(str(max(mark.span.row for mark in marks)))
    bar = f"{'':{gutter}} {style('|', 'blue')}"
    if one.span.row in source:
        yield bar
        previous = 0
        for row, here in groupby(sorted(marks, key=lambda m: (m.span.row, not m.main)), key=lambda m: m.span.row):
            if previous and row > previous + 1:
                yield style("...", "blue")
            previous = row
            yield from _row(row, source[row], list(here), gutter, bar, style)
        yield bar
    for other in elsewhere:
        yield from _note(f"{printable(other.filename)}:{at(other)}: {other.message}", gutter, style)
    if one.consequence:
        yield from _note(one.consequence, gutter, style)
    if one.fix is not None:
        yield from _note(f"{_MARKS[one.fix.safety]} {one.fix.message}", gutter, style, "help: ")
    elif one.code == "internal-error":
        yield from _note(builtin.CODES[one.code], gutter, style)


def _row(row: int, text: str, marks: list[_Mark], gutter: int, bar: str, style: Style) -> Iterator[str]:
    """A source row and the underlines beneath it, cut to the terminal where it is longer."""
    number = style(f"{row:>{gutter}} |", "blue")
    room = max(_LEAST, (style.width or _UNSEEN) - gutter - 4)
    places = []
    for mark in marks:
        before = printable(text[: mark.span.column - 1])
        end = mark.span.end_column - 1 if mark.span.end_row == row else len(text)
        marked = printable(text[: max(end, mark.span.column - 1)].rstrip())
        start = width(before)
        places.append((mark, start, max(1, width(marked) - start)))
    shown = printable(text.rstrip())
    shift = 0
    if width(shown) > room:
        first = places[0][1]  # the finding itself, where it is in this row
        shift = max(0, min(first - room // 3, width(shown) - room))
        shown = _cut(shown, shift, room)
    yield f"{number} {shown}".rstrip()
    for mark, start, length in places:
        start -= shift
        if start < 0 or start >= room:  # cut away: nothing to underline, only to tell
            start = length = 0
        line = ("^" if mark.main else "-") * min(length, room - start)
        color = "red" if mark.main else "blue"
        label = printable(mark.label)
        if not label or start + len(line) + 1 + width(label) <= room:
            yield f"{bar} {'':{start}}{style(f'{line} {label}'.strip(), color)}"
            continue
        if line:
            yield f"{bar} {'':{start}}{style(line, color)}"
        indent = start if room - start >= 30 else 0
        for piece in textwrap.wrap(label, max(_LEAST, room - indent)):
            yield f"{bar} {'':{indent}}{style(piece, color)}"


def _cut(text: str, shift: int, room: int) -> str:
    """The columns from `shift` on, `room` of them, with dots where something is left out."""
    if text.isascii():
        cut, column = text[shift : shift + room], len(text)
    else:
        shown: list[str] = []
        column = 0
        for char in text:
            wide = width(char)
            if column >= shift and column + wide <= shift + room:
                shown.append(char)
            elif column < shift < column + wide:
                shown.append(" ")  # half of a wide character
            column += wide
        cut = "".join(shown)
    if shift:
        cut = _dotted(cut)
    if column > shift + room:
        cut = _dotted(cut[::-1])[::-1]
    return cut


def _dotted(text: str) -> str:
    """`text` with dots in place of its first three columns, or four where a wide character stands across."""
    taken = 0
    for at, char in enumerate(text):
        if taken >= 3 and width(char):
            return "." * taken + text[at:]
        taken += width(char)
    return "." * taken


def _note(text: str, gutter: int, style: Style, lead: str = "") -> Iterator[str]:
    """`= text`, wrapped where there is a terminal to wrap for."""
    text = printable(text)
    indent = " " * (gutter + 1)
    sign = style("=", "blue")
    if not style.width:
        yield f"{indent}{sign} {style(lead, 'cyan', 'bold')}{text}"
        return
    pieces = textwrap.wrap(lead + text, max(_LEAST, style.width - gutter - 4), break_on_hyphens=False) or [""]
    for number, piece in enumerate(pieces):
        if number == 0:
            yield f"{indent}{sign} {style(piece[: len(lead)], 'cyan', 'bold')}{piece[len(lead) :]}"
        else:
            yield f"{indent}  {piece}"


# ------------------------------------------------------------------------------------------------ diff, counts, summary


def diff(report: Report, style: Style) -> str:
    """What fixes would change, as a unified diff."""
    return "".join(piece for record in report.records for piece in _diff(record, style))


def _diff(record: Record, style: Style) -> Iterator[str]:
    for change in record.changes:
        name = printable(change.name)
        before, after = ([row for row in rows_of(text) if row] for text in (change.before, change.after))
        if change.name != record.filename:  # a cell, whose last row has no line end
            for rows in (before, after):
                rows[-1:] = [row if row.endswith("\n") else f"{row}\n" for row in rows[-1:]]
        for line in difflib.unified_diff(before, after, name, name):
            looks = {"+": "green", "-": "red", "@": "cyan"}.get(line[0])
            body = line.rstrip("\r\n")
            # Line ends stay as they are in the file, so that the diff can be applied.
            yield (style(body, looks) if looks else body) + (line[len(body) :] or "\n\\ No newline at end of file\n")


@dataclass(slots=True, frozen=True)
class Count:
    """How often one rule found something, and how much of that can be fixed: safely, and only unsafely."""

    code: str
    count: int
    safe: int
    unsafe: int


def statistics(report: Report, style: Style) -> str:
    """How often each rule found something, the most frequent first, and how much of it can be fixed."""
    counts = counted(report)
    if not counts:
        return ""
    room = len(str(counts[0].count))
    names = max(len(one.code) for one in counts)
    lines: list[str] = []
    for one in counts:
        fixable = [f"{style('[*]', 'cyan')} {one.safe} fixable"] if one.safe else []
        fixable += [f"{one.unsafe} unsafely"] if one.unsafe else []
        number = style(f"{one.count:>{room}}", "bold")
        lines.append(f"{number}  {one.code:<{names}}  {', '.join(fixable)}".rstrip())
    return "".join(f"{line}\n" for line in lines)


def counted(report: Report) -> list[Count]:
    """A count for each rule that found something, the most frequent first."""
    kinds = Counter((one.code, one.fix.safety if one.fix is not None else None) for one in report.findings)
    codes = Counter(one.code for one in report.findings)
    counts = [Count(c, n, kinds[c, Safety.SAFE], kinds[c, Safety.UNSAFE]) for c, n in codes.items()]
    return sorted(counts, key=lambda one: (-one.count, one.code))


def fixes(report: Report, style: Style) -> str:
    """What was mended, by file; and the fixes that were taken back."""
    lines: list[str] = []
    would = "Would fix" if report.plan.diff else "Fixed"
    for record in report.records:
        if record.fixed:
            lines.append(f"{would} {style(printable(record.filename), 'bold')}:")
            lines.extend(f"  {n} x {code}" for code, n in sorted(Counter(one.code for one in record.fixed).items()))
    return "".join(f"{line}\n" for line in lines)


def refusals(report: Report) -> list[str]:
    """A notice for each fix that was taken back."""
    return [
        f"{printable(record.filename)}:{at(one)}: the fix of {one.code} was left out: it {reason}"
        for record in report.records
        for one, reason in record.refused
    ]


def summary(report: Report, style: Style) -> str:
    """The last line: what was found, in how many files, and what can be done about it."""
    findings = report.findings
    fixed = report.fixed
    parts: list[str] = []
    if fixed:
        parts.append(f"{'Would fix' if report.plan.diff else 'Fixed'} {number(len(fixed), 'finding')}.")
    if report.silenced:
        would = "Would suppress" if report.plan.diff else "Suppressed"
        parts.append(f"{would} {number(report.silenced, 'finding')} by comments.")
    if findings:
        levels = [
            number(report.count(level), word)
            for level, word in ((Severity.ERROR, "error"), (Severity.WARNING, "warning"), (Severity.INFO, "remark"))
            if report.count(level)
        ]
        files = len({one.filename for one in findings})
        parts.append(f"Found {', '.join(levels)} in {number(files, 'file')}.")
        safe, unsafe = report.fixable(Safety.SAFE), report.fixable(Safety.UNSAFE)
        if report.plan.mends:
            safe = 0  # what could be mended is
            if report.plan.config.unsafe_fixes:
                unsafe = 0
        remedies = [f"{style('[*]', 'cyan')} {safe} fixable with `--fix`"] if safe else []
        if unsafe:
            remedies.append(f"{unsafe} {'more' if safe else 'fixable'} with `--fix --unsafe-fixes`")
        if remedies:
            parts.append(f"{', '.join(remedies)}.")
    if findings or fixed or report.silenced:
        broken = len({one.filename for one in findings if one.group == builtin.FILE and one.cell is None})
        parts += [style(f"{number(broken, 'file')} could not be checked.", "red")] if broken else []
    else:
        checked = sum(not record.notice for record in report.records)
        told = f"All checks passed: {number(checked, 'file')}."
        parts.append(style(told, "green") if checked else "Nothing was checked: no files.")
    skipped = sum(bool(record.notice) and not record.aside and not record.findings for record in report.records)
    if skipped:
        parts.append(f"{number(skipped, 'file')} skipped.")
    if report.known:
        parts.append(f"{number(report.known, 'known finding')} in the baseline.")
    if report.suppressed:
        parts.append(f"{number(report.suppressed, 'finding')} suppressed by comments.")
    return " ".join(parts) + "\n"


MANY = 20  # findings that nobody mends in one go


def advice(report: Report, style: Style) -> str:
    """What to do next: where to read about the rule that found most, and how to begin where there is much."""
    counts = Counter(one.code for one in report.findings if one.code not in builtin.CODES)
    if not counts:
        return ""
    code = min(counts, key=lambda name: (-counts[name], name))
    lines = [f"To learn why, run `torchlint explain {code}`."]
    if counts.total() >= MANY and not report.plan.config.baseline and not report.plan.mends:
        lines.append(
            "To adopt torchlint step by step, run `torchlint --write-baseline baseline.json`: with "
            "`--baseline baseline.json` only new findings are told."
        )
    width = style.width or 0
    wrapped = [textwrap.wrap(line, width, break_on_hyphens=False) if width else [line] for line in lines]
    return "".join(f"{style(piece, 'dim')}\n" for pieces in wrapped for piece in pieces)


def number(count: int, what: str) -> str:
    """`2 files`, `1 file`."""
    return f"{count} {what}" + ("" if count == 1 else "s")
