"""The cells of a notebook as one program, and the way back from its rows to the cells. No file is needed for it.

The program is in the percent format: a row `# %%` before each code cell, then the rows of the cell. So rules, fixes
and suppressions see Python and its rows; what they find is `placed` in the cells when all is done. An edit of the
program is an edit of a cell, and the program after it is joined anew from the cells.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torchlint import syntax
from torchlint.diagnostic import Diagnostic, Related, Span, TextEdit
from torchlint.magics import Python, python_of, unread
from torchlint.source import SourceError
from torchlint.text import line_starts, rows_of

SEPARATOR = "# %%\n"


@dataclass(slots=True, frozen=True)
class Cell:
    """A code cell, and where it stands in the program."""

    number: int  # from 1, among all cells of the notebook
    text: str
    row: int  # the program's row of its separator; the cell's own row 1 comes next
    python: Python

    @property
    def ended(self) -> str:
        """The text with a line end, as the program has it."""
        return self.text if not self.text or self.text[-1] in "\r\n" else self.text + self.newline

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"


@dataclass(slots=True, frozen=True)
class Program:
    """A notebook's code. Rows and columns count from 1."""

    text: str
    cells: tuple[Cell, ...]
    size: int  # how many cells the notebook has, those without code included
    problems: tuple[SourceError, ...] = ()  # why cells cannot be read, at their places in the program

    @property
    def texts(self) -> list[str | None]:
        """What `join` was given."""
        texts: list[str | None] = [None] * self.size
        for cell in self.cells:
            texts[cell.number - 1] = cell.text
        return texts

    def cell(self, row: int) -> Cell | None:
        """The cell that a row of the program belongs to; a separator belongs to the cell that it ends."""
        at = bisect_left(self.cells, row, key=lambda one: one.row)
        return self.cells[at - 1] if at else None

    def rows(self, wanted: Iterable[int]) -> dict[int, dict[int, str]]:
        """The text of some rows of the program as it stands in the notebook, by cell and row in the cell."""
        found: dict[int, dict[int, str]] = {}
        for row in wanted:
            cell = self.cell(row)
            rows = rows_of(cell.text) if cell is not None else []
            if cell is not None and row - cell.row <= len(rows):
                found.setdefault(cell.number, {})[row - cell.row] = rows[row - cell.row - 1].rstrip("\r\n")
        return found

    def placed(self, found: Diagnostic) -> Diagnostic:
        """A finding in the program as one in its cells."""
        cell, span = self._place(found.span)
        above = found.span.row - span.row
        fix = found.fix
        if fix is not None:
            edits = tuple(map(self.edit, fix.edits))
            fix = replace(fix, edits=tuple(one for one in edits if one is not None)) if all(edits) else None
        return replace(
            found,
            cell=cell,
            span=span,
            related=tuple(self._related(one) if one.filename == found.filename else one for one in found.related),
            fix=fix,
            statement_row=max(0, found.statement_row - above),
            statement_end_row=max(0, found.statement_end_row - above),
        )

    def _related(self, related: Related) -> Related:
        cell, span = self._place(related.span)
        return replace(related, cell=cell, span=span)

    def _place(self, span: Span) -> tuple[int | None, Span]:
        cell = self.cell(span.row)
        if cell is None:
            return None, span
        first, last = span.row - cell.row, span.end_row - cell.row
        shift, end_shift = (cell.python.shifts.get(row - 1, 0) for row in (first, last))
        return cell.number, Span(first, span.column + shift, last, span.end_column + end_shift)

    def edit(self, edit: TextEdit) -> TextEdit | None:
        """An edit of the program as one of a cell's text.

        None where it would touch more than one cell, or what is not the cell's own Python: a magic, a row that cannot
        be read, the indentation of a cell that is indented as a whole.
        """
        cell = self.cell(edit.span.row)
        if cell is None:
            return None
        _, span = self._place(edit.span)
        text, ended = cell.text, cell.ended
        last = len(line_starts(ended))
        if span.end_row > last or (span.end_row == last and span.end_column > 1):
            return None
        inserts_rows = edit.span == Span(edit.span.row, 1, edit.span.row, 1)
        rows = range(span.row - 1, span.end_row - (span.end_column == 1 and span.end_row > span.row))
        if not inserts_rows and not cell.python.changed.isdisjoint(rows):
            return None
        if cell.python.shifts and (inserts_rows or len(rows) > 1 or "\n" in edit.content):
            return None
        start, end = _offsets(ended, span)
        content = edit.content
        if end > len(text):  # the line end that only the program has is not to be written
            end = len(text)
            if start > end:
                start, content = end, cell.newline + content
            if content:
                content = content.removesuffix("\n").removesuffix("\r")
            else:
                start = len(text[:start].removesuffix("\n").removesuffix("\r"))
        return TextEdit(Span(*_row_and_column(text, start), *_row_and_column(text, end)), content, cell.number)

    def edited(self, edits: Iterable[TextEdit]) -> Program | None:
        """The program with edits in it that do not touch each other; None where one cannot be made."""
        texts = self.texts
        for edit in sorted(edits, key=lambda one: one.span, reverse=True):
            one = self.edit(edit)
            if one is None or one.cell is None:
                return None
            text = texts[one.cell - 1] or ""
            start, end = _offsets(text, one.span)
            texts[one.cell - 1] = text[:start] + one.content + text[end:]
        return join(texts)


def _offsets(text: str, span: Span) -> tuple[int, int]:
    starts = line_starts(text)
    return starts[span.row - 1] + span.column - 1, starts[span.end_row - 1] + span.end_column - 1


def _row_and_column(text: str, offset: int) -> tuple[int, int]:
    starts = line_starts(text)
    row = bisect_right(starts, offset)
    return row, offset - starts[row - 1] + 1


def join(texts: Sequence[str | None]) -> Program:
    """The program of a notebook's cells, in their order; None stands for a cell that holds no code.

    A cell that cannot be read is told of in `problems`, and nothing of it but its names is in the program.
    """
    parts: list[str] = []
    cells: list[Cell] = []
    problems: list[SourceError] = []
    row = 1
    for number, text in enumerate(texts, 1):
        if text is None:
            continue
        cell = Cell(number, text, row, python_of(text))
        code = "".join(cell.python.rows)
        error = syntax.problem(code)
        if error is not None:
            shift = cell.python.shifts.get(error.row - 1, 0)
            problems.append(SourceError(error.code, str(error), row + error.row, error.column + shift))
            cell = replace(cell, python=unread(text))
            code = "".join(cell.python.rows)
        if len(cell.ended) > len(text):
            code += cell.newline
        parts += SEPARATOR, code
        cells.append(cell)
        row += len(rows_of(cell.ended))
    return Program("".join(parts), tuple(cells), len(texts), tuple(problems))
