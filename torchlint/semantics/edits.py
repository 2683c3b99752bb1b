"""Changes that rules ask for -> edits of the text, in the manner of the file.

Its indentation and its newlines are kept, and comments stay with the statement they speak of. What cannot be written
without touching code it has no business with is not written.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torchlint.diagnostic import Remedy, Span, TextEdit
from torchlint.facts import Site
from torchlint.rule import Around, Change, Decorate, Fix, InsertAfter, InsertBefore, InsertFirst, Remove, Replace, Wrap
from torchlint.semantics import suites
from torchlint.source import Source
from torchlint.text import line_starts


def nodes(fix: Fix) -> Iterator[Any]:
    """The nodes whose places `build` asks for, so that a caller can locate those of many fixes in one pass."""
    for change in fix.changes:
        site = change.site
        yield site.node
        if (line := suites.line_of(site)) is not None:
            yield from line.body
        if (statement := suites.statement_of(site)) is not None:
            yield from (statement, suites.head(statement))
        match change:
            case InsertFirst():
                if (block := suites.block_of(site)) is not None:
                    for statement in block.body[:2]:
                        yield from (statement, suites.head(statement))
                        yield from suites.smalls(statement)
            case Wrap() if statement is not None:
                yield from suites.strings(statement)
            case Around():
                yield from suites.parentheses(site.node) or ()
            case _:
                pass


def build(source: Source, fix: Fix) -> Remedy | None:
    """A rule's fix as edits of the text of `source`.

    None where a change cannot be written without touching code it has no business with, or where two changes of the fix
    contradict each other.
    """
    page = _Page(source)
    edits: list[Edit] = []
    for change in fix.changes:
        if change.site.node is None:
            return None
        made = _edits(page, change)
        if made is None:
            return None
        edits.extend(made)
    merged = _merge(edits)
    if not merged:
        return None
    return Remedy(fix.safety, fix.message, tuple(TextEdit(page.span(e.start, e.end), e.content) for e in merged))


@dataclass(slots=True, frozen=True)
class Edit:
    start: int
    end: int
    content: str


def _merge(edits: Sequence[Edit]) -> list[Edit] | None:
    """The edits of one fix in order, insertions at one point joined in the order they were asked for."""
    merged: list[Edit] = []
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        last = merged[-1] if merged else None
        if last is None or edit.start > last.end or (edit.start == last.end and last.start != last.end):
            merged.append(edit)
        elif last.start == last.end == edit.start:
            merged[-1] = Edit(last.start, edit.end, last.content + edit.content)
        else:
            return None
    return merged


class _Page:
    """The text of a source by offsets, and the nodes' places in it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.starts = line_starts(source.text)

    def bounds(self, node: Any) -> tuple[int, int]:
        span = self.source.span(node)
        return self.offset(span.row, span.column), self.offset(span.end_row, span.end_column)

    def offset(self, row: int, column: int) -> int:
        return self.starts[row - 1] + column - 1

    def span(self, start: int, end: int) -> Span:
        return Span(*self.place(start), *self.place(end))

    def place(self, offset: int) -> tuple[int, int]:
        row = bisect_right(self.starts, offset)
        return row, offset - self.starts[row - 1] + 1

    def row(self, number: int) -> str:
        """A row without its newline, "" past the end."""
        if number > len(self.starts):
            return ""
        end = self.starts[number] if number < len(self.starts) else len(self.text)
        return self.text[self.starts[number - 1] : end].rstrip("\r\n")

    def newline(self, row: int) -> str:
        """How this row ends; as the file does where it is the last and does not end."""
        if row < len(self.starts):
            return self.text[self.starts[row - 1] + len(self.row(row)) : self.starts[row]]
        default: str = self.source.tree.default_newline
        return default

    def indentation(self, offset: int) -> str | None:
        """What stands before `offset` on its row, None if that is not whitespace alone."""
        before = self.text[self.starts[bisect_right(self.starts, offset) - 1] : offset]
        return before.lstrip("\f") if not before.strip() and "\f" not in before.lstrip("\f") else None

    def insert_rows(self, row: int, indent: str, unit: str, lines: Iterable[str]) -> Edit:
        """`lines` as new rows that come before `row`, which may be the one after the last."""
        rows = [_indented(line, indent, unit) for line in lines]
        if row > len(self.starts):  # the file does not end with a newline, and must not from now on
            newline = self.newline(row - 1)
            return Edit(len(self.text), len(self.text), "".join(newline + r for r in rows))
        newline = self.newline(max(1, row - 1))
        at = self.starts[row - 1]
        return Edit(at, at, "".join(r + newline for r in rows))


def _indented(line: str, indent: str, unit: str) -> str:
    """A line as a rule writes it, steps of four spaces, in the indentation of the file."""
    bare = line.lstrip(" ")
    steps, rest = divmod(len(line) - len(bare), 4)
    return indent + unit * steps + " " * rest + bare if bare else ""


def _edits(page: _Page, change: Change) -> list[Edit] | None:
    match change:
        case InsertBefore(site, lines):
            return _insert(page, site, lines, after=False)
        case InsertAfter(site, lines):
            return _insert(page, site, lines, after=True)
        case InsertFirst(site, lines):
            return _insert_first(page, site, lines)
        case Replace(site, text):
            return _fit(page, site, text)
        case Around(site, before, after):
            return _around(page, site, before, after)
        case Decorate(site, text):
            return _decorate(page, site, text)
        case Wrap(site, header):
            return _wrap(page, site, header)
        case Remove(site):
            return _remove(page, site)


def _insert(page: _Page, site: Site, lines: tuple[str, ...], after: bool) -> list[Edit] | None:
    shared = suites.small_of(site)
    if shared is not None:
        smalls, index = shared
        edge = len(smalls) - 1 if after else 0
        if index < 0:
            return None
        if suites.statement_of(site) is None or index != edge:
            return _insert_between(page, smalls[index], lines, after)
    statement = suites.statement_of(site)
    if statement is None:
        return None
    found = _rows(page, statement)
    if found is None:
        return None
    first, last, indent = found
    unit = suites.indent_unit(page.source.tree, site.suite)
    if after:
        return [page.insert_rows(_below_comments(page, last, indent, statement) + 1, indent, unit, lines)]
    return [page.insert_rows(_above_comments(page, first, indent), indent, unit, lines)]


def _insert_between(page: _Page, small: Any, lines: tuple[str, ...], after: bool) -> list[Edit] | None:
    """Beside a statement that shares its row, where only simple statements may stand."""
    joined = "; ".join(lines)
    if not _parses("if 1: " + joined):
        return None
    start, end = page.bounds(small)
    return [Edit(end, end, f"; {joined}") if after else Edit(start, start, f"{joined}; ")]


def _insert_first(page: _Page, site: Site, lines: tuple[str, ...]) -> list[Edit] | None:
    block = suites.block_of(site)
    if block is None or not block.body:
        return None
    first = block.body[0]
    documented = suites.takes_docstring(site) and suites.is_docstring(first)
    smalls = suites.smalls(first)
    return _insert(page, Site(smalls[0] if smalls else first, first, block), lines, after=documented)


def _rows(page: _Page, statement: Any) -> tuple[int, int, str] | None:
    """First and last row of a statement and its indentation; None where it does not begin its row, or is an `elif`."""
    start, _ = page.bounds(suites.head(statement))
    _, end = page.bounds(statement)
    indent = page.indentation(start)
    if indent is None or page.text.startswith("elif", start):
        return None
    return page.place(start)[0], page.place(end)[0], indent


def _above_comments(page: _Page, row: int, indent: str) -> int:
    """The first of the rows of comments right above `row` that speak of it."""
    while row > 1:
        above = page.row(row - 1)
        comment = above[len(indent) :]
        if not above.startswith(indent) or not comment.startswith("#") or _stands_alone(comment, row - 1):
            break
        row -= 1
    return row


def _stands_alone(comment: str, row: int) -> bool:
    """True for comments that speak of the file or of a cell, not of the statement below."""
    return comment.startswith(("# %%", "#%%", "# In[", "#!")) or (row <= 2 and "coding" in comment)


def _below_comments(page: _Page, row: int, indent: str, statement: Any) -> int:
    """The last of the rows of comments below a compound statement that are indented as its body is."""
    if not suites.is_compound(statement):
        return row
    last = row
    while row < len(page.starts):
        row += 1
        text = page.row(row)
        if not text.strip():
            continue
        if not (text.startswith(indent) and text[len(indent) :].lstrip(" \t").startswith("#")):
            break
        if text[len(indent)] not in " \t":
            break
        last = row
    return last


def _decorate(page: _Page, site: Site, text: str) -> list[Edit] | None:
    """Nearest to the function, below `@staticmethod` and its like, which must stay outermost."""
    if not suites.is_function(site.node):
        return None
    start, _ = page.bounds(site.node)
    indent = page.indentation(start)
    if indent is None:
        return None
    line = text if text.startswith("@") else f"@{text}"
    return [page.insert_rows(page.place(start)[0], indent, "", [line])]


def _wrap(page: _Page, site: Site, header: str) -> list[Edit] | None:
    statement = suites.statement_of(site)
    shared = suites.small_of(site)
    if statement is None or (shared is not None and len(shared[0]) > 1):
        return None
    found = _rows(page, statement)
    if found is None:
        return None
    first, last, indent = found
    last = _below_comments(page, last, indent, statement)
    fixed: set[int] = set()  # rows that begin inside a string: indenting them would change what it says
    for string in suites.strings(statement):
        span = page.source.span(string)
        fixed.update(range(span.row + 1, span.end_row + 1))
    unit = suites.indent_unit(page.source.tree, site.suite)
    begin, end = page.starts[first - 1], page.starts[last - 1] + len(page.row(last))
    written = [_indented(header, indent, unit)]
    for number in range(first, last + 1):
        row = page.row(number)
        if number not in fixed and row.strip():
            at = len(indent) if row.startswith(indent) else 0
            row = row[:at] + unit + row[at:]
        written.append(row)
    newlines = [page.newline(first), *(page.newline(n) for n in range(first, last)), ""]
    return [Edit(begin, end, "".join(r + n for r, n in zip(written, newlines, strict=True)))]


def _remove(page: _Page, site: Site) -> list[Edit] | None:
    shared = suites.small_of(site)
    if shared is not None and len(shared[0]) > 1:
        smalls, index = shared
        if index < 0:
            return None
        start, end = page.bounds(smalls[index])
        if index + 1 < len(smalls):
            return [Edit(start, page.bounds(smalls[index + 1])[0], "")]
        return [Edit(page.bounds(smalls[index - 1])[1], end, "")]
    statement = suites.statement_of(site)
    if shared is not None and (statement is None or _alone(site)):
        start, end = page.bounds(shared[0][0])
        return [Edit(start, end, "pass")]
    found = _rows(page, statement) if statement is not None else None
    if found is None:
        return None
    first, last, indent = found
    begin = page.starts[first - 1]
    if _alone(site):
        return [Edit(begin, page.bounds(statement)[1], indent + "pass")]
    end = page.bounds(statement)[1]
    rest = page.text[end : page.starts[last] if last < len(page.starts) else len(page.text)]
    if rest.lstrip().startswith("#"):  # what was said beside it stays
        return [Edit(begin, end + len(rest) - len(rest.lstrip()), indent)]
    if last < len(page.starts):
        return [Edit(begin, page.starts[last], "")]
    before = begin - len(page.newline(first - 1)) if first > 1 else begin  # a file without a last newline stays so
    return [Edit(before, len(page.text), "")]


def _alone(site: Site) -> bool:
    return suites.needs_statement(site.suite) and (site.suite is None or len(site.suite.body) == 1)


# ---------------------------------------------------------------------------------------------------------- expressions


def _fit(page: _Page, site: Site, text: str) -> list[Edit] | None:
    """`text` for an expression, in parentheses where it would read differently without."""
    start, end = page.bounds(site.node)
    if start == end:
        return None
    if "#" in page.text[start:end] and "#" not in text:
        return None  # a comment would be lost
    if not suites.is_expression(site.node) or suites.parentheses(site.node):
        return [Edit(start, end, text)]
    chosen = _choose(page, site, start, end, [text, f"({text})"])
    return None if chosen is None else [Edit(start, end, chosen)]


def _around(page: _Page, site: Site, before: str, after: str) -> list[Edit] | None:
    start, end = page.bounds(site.node)
    own = suites.parentheses(site.node)
    if own is not None:
        start, end = page.bounds(own[0])[0], page.bounds(own[1])[1]
    if start == end:
        return None
    inner = page.text[start:end]
    forms = [(before, after)]
    if suites.is_expression(site.node):
        forms += [(f"{before}(", f"){after}"), (f"({before}", f"{after})"), (f"({before}(", f"){after})")]
    texts = [left + inner + right for left, right in forms]
    chosen = _choose(page, site, start, end, texts)
    if chosen is None:
        return None
    left, right = forms[texts.index(chosen)]
    return [Edit(at, at, content) for at, content in ((start, left), (end, right)) if content]


def _choose(page: _Page, site: Site, start: int, end: int, texts: list[str]) -> str | None:
    """Of the same text in more and more parentheses, the plainest that means what the fullest does.

    None when none can be parsed where it stands.
    """
    statement = suites.statement_of(site)
    if statement is None or site.node is statement:
        first, last = 1, len(page.starts)
    else:
        first, last = page.place(page.bounds(suites.head(statement))[0])[0], page.place(page.bounds(statement)[1])[0]
    begin = page.starts[first - 1]
    finish = page.starts[last - 1] + len(page.row(last))
    left, right = page.text[begin:start], page.text[end:finish]
    meanings: list[str | None] = [_meaning(left, text, right) for text in texts]
    fullest = next((m for m in reversed(meanings) if m is not None), None)
    if fullest is None:
        return None
    return texts[meanings.index(fullest)]


def _meaning(left: str, text: str, right: str) -> str | None:
    """The parsed statement, without places, so that only what it says counts; None when it cannot be parsed."""
    code = left + text + right
    bare = code.lstrip(" \t\f")
    if bare.startswith("elif"):
        code = code.replace("elif", "if", 1)
    try:
        return ast.dump(ast.parse("if 1:\n" + code if bare != code.lstrip("\f") else code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True
