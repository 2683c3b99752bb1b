"""Comments that suppress findings, and what is wrong with such comments.

    loss.backward()  # torchlint: ignore[missing-zero-grad] the reason
    # torchlint: ignore-file[whole-model-save] the reason
    loss.backward()  # noqa: E501, missing-zero-grad

A comment counts for the statement it stands on, whichever row of its header, or, alone in its row, for the statement
below. One that names no rule suppresses nothing, and one that hides nothing is reported: what is hidden is named, and
stays needed.
"""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from torchlint import builtin
from torchlint.diagnostic import Diagnostic, Remedy, Safety, Severity, Span, TextEdit
from torchlint.registry import nearest
from torchlint.source import Source, SourceError
from torchlint.text import rows_of

# The reason runs to the end of the comment, or to the next tool's own marker in it.
_PRAGMA = re.compile(r"#\s*torchlint\s*:\s*(?P<rest>.*?)(?=\s+#\s*(?:\w+\s*:|noqa\b|nosec\b)|\s*$)", re.IGNORECASE)
_IGNORE = re.compile(
    r"(?P<kind>ignore-file|ignore)(?![\w-])\s*(?P<bracket>\[(?P<names>[^\]]*)(?P<end>\])?)?", re.IGNORECASE
)
_NOQA = re.compile(r"#\s*noqa\s*:", re.IGNORECASE)
_NOQA_NAME = re.compile(r"[\s,]*(?P<name>[A-Za-z][\w-]*)")
_FOREIGN = re.compile(r"[A-Z]+[0-9]+")
_LONGEST = 120  # columns of a row that a comment is written into
_HOW = "`# torchlint: ignore[missing-zero-grad] why`"


@dataclass(slots=True)
class _Comment:
    """A suppression comment, or the part of a comment that is one."""

    row: int
    start: int  # 0-based columns in its row: of the `#`,
    end: int  # behind its last character,
    inner: tuple[int, int]  # and of the list of names
    items: list[str]  # all that the list names
    names: list[str]  # those that are rules
    whole_file: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)  # code and message
    used: set[str] = field(default_factory=set)
    rows: range = range(0)  # what it counts for, unless the whole file


def apply(
    source: Source, found: Iterable[Diagnostic], known: Collection[str], report: Collection[str]
) -> list[Diagnostic]:
    """`found`, all that rules find, without what comments in `source` suppress, and with what is wrong with these.

    `known` are the names of all rules, `report` those of `builtin.SUPPRESSION_CODES` that are wanted. What befell the
    file itself is never suppressed.
    """
    found = list(found)
    if not may_hold(source.data, known):
        return found
    try:
        comments, _ = _comments(source.text, known)
    except SourceError:
        return found  # unreadable, which is among the findings
    left = [one for one in found if one.group == builtin.FILE or not _suppressed(one, comments)]
    # Where the rules did not get to see all of the file, nothing is known to be unused.
    ran = known if all(one.group != builtin.FILE for one in found) else ()
    left.extend(one for one in _complaints(source, comments, ran) if one.code in report)
    return sorted(left, key=lambda d: d.key)


def may_hold(data: bytes, known: Collection[str]) -> bool:
    """False when no comment in these bytes can concern torchlint; spares nearly all files the tokenizer."""
    lower = data.lower()
    if b"torchlint" in lower:
        return True
    return b"noqa" in lower and any(name.encode() in data for name in known)


def _suppressed(finding: Diagnostic, comments: list[_Comment]) -> bool:
    rows = (finding.span.row, finding.statement_row or finding.span.row)
    hit = False
    for comment in comments:
        if finding.code in comment.names and (comment.whole_file or any(row in comment.rows for row in rows)):
            comment.used.add(finding.code)
            hit = True
    return hit


# ------------------------------------------------------------------------------------------------- finding the comments


def _comments(text: str, known: Collection[str]) -> tuple[list[_Comment], list[range]]:
    """The suppression comments of a file, in order, each with the rows it counts for.

    And the rows of each logical line, decorators joined to what they decorate.
    """
    found: list[_Comment] = []
    statements: list[range] = []
    start = 0  # first row of the statement being read, 0 when there is none
    fresh = True  # at the beginning of a logical line
    decorator = False
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
            match token.type:
                case tokenize.COMMENT:
                    found.extend(_read(token.string, *token.start, known))
                case tokenize.NEWLINE:
                    if start and not decorator:
                        statements.append(range(start, token.start[0] + 1))
                        start = 0
                    fresh = True
                case tokenize.NL | tokenize.INDENT | tokenize.DEDENT | tokenize.ENDMARKER:
                    pass
                case _ if fresh:
                    fresh = False
                    start = start or token.start[0]
                    decorator = token.string == "@"
    except (tokenize.TokenError, SyntaxError):
        pass  # the parser takes syntax that this Python's tokenizer does not know; keep what was found
    for comment in found:
        comment.rows = _statement_at(statements, comment.row)
    return found, statements


def _statement_at(statements: list[range], row: int) -> range:
    """The rows of the first statement that ends at this row or later: around it, or below."""
    at = bisect_left(statements, row, key=lambda rows: rows.stop - 1)
    return statements[at] if at < len(statements) else range(0)


def _read(comment: str, row: int, column: int, known: Collection[str]) -> Iterator[_Comment]:
    """The suppressions in one comment, which begins at `column` (0-based) of `row`."""
    for found in _PRAGMA.finditer(comment):
        yield _pragma(found, row, column, known)
    for found in _NOQA.finditer(comment):
        items: list[re.Match[str]] = []
        place = found.end()
        while (item := _NOQA_NAME.match(comment, place)) is not None:
            if not _FOREIGN.fullmatch(item["name"]) and item["name"] not in known:
                break  # codes are over, words begin
            items.append(item)
            place = item.end()
        names = [item["name"] for item in items]
        if any(name in known for name in names):
            inner = (column + items[0].start("name"), column + place)
            rules = [name for name in names if name in known]
            yield _Comment(row, column + found.start(), column + place, inner, names, rules)


def _pragma(found: re.Match[str], row: int, column: int, known: Collection[str]) -> _Comment:
    text = found["rest"]
    comment = _Comment(row, column + found.start(), column + found.end(), (0, 0), [], [])
    ignore = _IGNORE.match(text)
    if ignore is None or (ignore["bracket"] and not ignore["end"]):
        comment.problems.append(("invalid-suppression", f"`# torchlint: {text}` cannot be read; write {_HOW}"))
        return comment
    comment.whole_file = ignore["kind"].lower() == "ignore-file"
    comment.items = [one.strip() for one in (ignore["names"] or "").split(",") if one.strip()]
    if not comment.items:
        what = "in this file" if comment.whole_file else "here"
        comment.inner = (column + found.start("rest") + ignore.end("kind"), column + found.start("rest") + ignore.end())
        message = f"names no rule, so nothing {what} is suppressed; write {_HOW}"
        comment.problems.append(("blanket-suppression", message))
        return comment
    offset = column + found.start("rest")
    comment.inner = (offset + ignore.start("names"), offset + ignore.end("names"))
    for name in comment.items:
        if name in known:
            comment.names.append(name)
        else:
            comment.problems.append(("invalid-suppression", f"there is no rule `{name}`{nearest(name, known)}"))
    return comment


# ----------------------------------------------------------------------------------------------------- writing comments


def ignoring(source: Source, found: Iterable[Diagnostic], known: Collection[str], reason: str = "") -> list[TextEdit]:
    """The edits by which comments suppress `found`, as far as rules found it; those of one statement in one comment.

    A comment that counts for the statement already takes the names in. A new one stands at the end of the statement,
    behind what another tool's says there, or alone above it where the row would get too long.
    Raises SourceError where the text cannot be read.
    """
    comments, statements = _comments(source.text, known)
    wanted: dict[range, set[str]] = {}
    for one in found:
        places = [_statement_at(statements, row) for row in (one.span.row, one.statement_row)]
        around = [rows for rows in places if one.span.row in rows or one.statement_row in rows]
        if around and one.code in known:
            wanted.setdefault(around[0], set()).add(one.code)
    rows = rows_of(source.text)
    edits: list[TextEdit] = []
    for statement, codes in wanted.items():
        there = [one for one in comments if one.rows == statement and one.inner != (0, 0) and not one.whole_file]
        edits.append(_joined(there[0], codes) if there else _new(rows, statement, codes, reason))
    return sorted(edits, key=lambda edit: edit.span)


def _joined(comment: _Comment, codes: set[str]) -> TextEdit:
    """The names put into a comment that is there; one that named nothing gets its brackets."""
    names = ", ".join([*comment.items, *sorted(codes.difference(comment.items))])
    start, end = comment.inner
    span = Span(comment.row, start + 1, comment.row, end + 1)
    return TextEdit(span, names if comment.items else f"[{names}]")


def _new(rows: list[str], statement: range, codes: set[str], reason: str) -> TextEdit:
    comment = f"# torchlint: ignore[{', '.join(sorted(codes))}] {reason}".rstrip()
    last = statement.stop - 1
    row = rows[last - 1].rstrip("\r\n")
    code = row.rstrip()
    if len(code) + 2 + len(comment) <= _LONGEST:
        return TextEdit(Span(last, len(code) + 1, last, len(row) + 1), f"  {comment}")
    first = statement.start
    row = rows[first - 1]
    indentation = row[: len(row) - len(row.lstrip(" \t"))]
    line_end = row[len(row.rstrip("\r\n")) :] or "\n"
    return TextEdit(Span(first, 1, first, 1), f"{indentation}{comment}{line_end}")


# ---------------------------------------------------------------------------------------------- what is wrong with them


def _complaints(source: Source, comments: list[_Comment], ran: Collection[str]) -> Iterator[Diagnostic]:
    rows = rows_of(source.text)
    for comment in comments:
        for code, message in comment.problems:
            yield _diagnostic(source, comment, code, message)
        unused = [name for name in comment.names if name in ran and name not in comment.used]
        if unused:
            names = ", ".join(f"`{name}`" for name in dict.fromkeys(unused))
            where = "in this file" if comment.whole_file else "here"
            message = f"suppresses nothing: {names} {'find' if len(unused) > 1 else 'finds'} nothing {where}"
            remedy = _removal(comment, unused, rows[comment.row - 1])
            yield _diagnostic(source, comment, "unused-suppression", message, remedy)


def _diagnostic(source: Source, comment: _Comment, code: str, message: str, remedy: Remedy | None = None) -> Diagnostic:
    return Diagnostic(
        code=code,
        group=builtin.SUPPRESSION,
        severity=Severity.WARNING,
        message=message,
        filename=source.filename,
        span=Span(comment.row, comment.start + 1, comment.row, comment.end + 1),
        fix=remedy,
        statement_row=comment.row,
        statement_end_row=comment.row,
    )


def _removal(comment: _Comment, unused: list[str], row: str) -> Remedy:
    """The edit that takes the unused names out, and the comment with them when no other name is left in it."""
    number = comment.row
    kept = [name for name in comment.items if name not in unused]
    if kept:
        start, end = comment.inner
        edit = TextEdit(Span(number, start + 1, number, end + 1), ", ".join(kept))
        return Remedy(Safety.SAFE, f"take {', '.join(unused)} out of the comment", (edit,))
    before, rest = row[: comment.start], row[comment.end :].strip()
    end = len(row.rstrip("\r\n"))
    if rest:  # what else the comment says stays
        span = Span(number, comment.start + 1, number, end + 1)
        edit = TextEdit(span, rest if rest.startswith("#") else f"# {rest}")
    elif before.strip():
        edit = TextEdit(Span(number, len(before.rstrip()) + 1, number, end + 1), "")
    elif end < len(row):
        edit = TextEdit(Span(number, 1, number + 1, 1), "")
    else:  # the last row of a file without a final newline
        edit = TextEdit(Span(number, 1, number, end + 1), "")
    return Remedy(Safety.SAFE, "take the comment out", (edit,))
