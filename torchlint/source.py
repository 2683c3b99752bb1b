"""A file: its bytes, its text, its tree and the places in it. Tree and spans are made on demand, each once.

With `semantics/` the only code that imports libcst, and it does so only when a tree is asked for: `import libcst` costs
0.1 s that a run with nothing to parse must not pay.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchlint.diagnostic import Diagnostic, Span, TextEdit

if TYPE_CHECKING:
    import libcst

    from torchlint.ipynb import Notebook
    from torchlint.notebook import Program


class SourceError(Exception):
    """The file cannot be analysed: `code` is the finding it becomes, `row` and `column` where."""

    def __init__(self, code: str, message: str, row: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.row = row
        self.column = column


class SkippedError(Exception):
    """The file is none of ours, and why: said to everybody, or to who asks for details."""

    def __init__(self, why: str, *, aside: bool = False) -> None:
        super().__init__(why)
        self.aside = aside


@dataclass(slots=True, eq=False)
class Source:
    """The Python of one file and what it means; of a notebook, the program that its cells make."""

    filename: str
    data: bytes
    _tree: libcst.Module | None = None
    _text: str | None = None
    _encoding: str = "utf-8"
    spans: dict[int, Span] = field(default_factory=dict)  # by id(node)
    outlined: Any = None  # what `semantics.project` has found in it for its neighbours
    program: Program | None = None  # of a notebook
    notebook: Notebook | None = None  # the file that the program is from

    @classmethod
    def read(cls, path: Path) -> Source:
        """Reads a file. Raises SourceError naming what went wrong, and SkippedError for what is not to be linted."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError("io-error", f"cannot be read: {error.strerror or error}") from error
        return cls.of(str(path), data)

    @classmethod
    def of(cls, filename: str, data: bytes) -> Source:
        """What a file of this name holds. Raises SourceError and SkippedError, for notebooks only."""
        if not filename.endswith(".ipynb"):
            return cls(filename, data)
        from torchlint import ipynb
        from torchlint.notebook import join

        notebook = ipynb.read(data)
        return cls.joined(filename, join(notebook.texts), notebook)

    @classmethod
    def joined(cls, filename: str, program: Program, notebook: Notebook | None = None) -> Source:
        """The program of a notebook's cells, which may come from an editor."""
        source = cls(filename, program.text.encode(), _text=program.text)
        source.program, source.notebook = program, notebook
        return source

    @property
    def problems(self) -> tuple[SourceError, ...]:
        """Cells of a notebook that cannot be read; the others are checked all the same."""
        return self.program.problems if self.program is not None else ()

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.notebook.data if self.notebook is not None else self.data

    def takes(self, edit: TextEdit) -> bool:
        """Whether an edit can be made: of a notebook, in a cell, and there in Python only."""
        return self.program is None or self.program.edit(edit) is not None

    def edited(self, edits: Sequence[TextEdit], text: str) -> Source | None:
        """The source with edits in it, of which it is told what they make of its text.

        None where one cannot be made in a cell of a notebook. Raises UnicodeEncodeError.
        """
        if self.program is None:
            return Source(self.filename, text.encode(self.encoding))
        program = self.program.edited(edits)
        if program is None:
            return None
        return Source.joined(self.filename, program, self.notebook and self.notebook.edited(program.texts))

    def placed(self, found: Diagnostic) -> Diagnostic:
        """A finding as it is reported: of a notebook, in its cell."""
        if self.program is None:
            return found
        placed = self.program.placed(found)
        if self.notebook is not None and placed.cell is not None:
            return replace(placed, file_row=self.notebook.row(placed.cell, placed.span.row))
        return placed

    def row_in_file(self, row: int) -> int:
        """The row of the file that a row of its program stands in."""
        cell = self.program.cell(row) if self.program is not None else None
        if self.notebook is None or cell is None:
            return row
        return self.notebook.row(cell.number, max(1, row - cell.row))

    @property
    def tree(self) -> libcst.Module:
        """The syntax tree. Raises SourceError (`syntax-error` or `io-error`) with the place."""
        if self._tree is None:
            self._tree = self._parse()
        return self._tree

    def take_over(self, other: Source) -> None:
        """Makes what has been parsed of the same bytes this one's own."""
        self._tree, self._text, self._encoding = other._tree, other._text, other._encoding
        self.outlined = other.outlined

    def _parse(self) -> libcst.Module:
        import libcst

        text = self.text
        enabled = gc.isenabled()
        gc.disable()  # the parser makes many objects and no garbage: collecting meanwhile costs a third
        try:
            return libcst.parse_module(text)
        except libcst.ParserSyntaxError as error:
            raise SourceError(
                "syntax-error", _first_line(error.message), max(1, error.editor_line), max(1, error.editor_column)
            ) from error
        except libcst.CSTValidationError as error:  # the parser took it and the tree did not: `for x in*xs`
            raise SourceError("syntax-error", f"cannot be parsed: {error}") from error
        except RecursionError as error:
            raise SourceError("syntax-error", "is nested too deeply to be parsed") from error
        finally:
            if enabled:
                gc.enable()

    @property
    def text(self) -> str:
        """The decoded text with its newlines as they are. Raises SourceError (`io-error`)."""
        if self._text is None:
            self._text, self._encoding = decode(self.data)
        return self._text

    @property
    def encoding(self) -> str:
        """The encoding the file declares, by which it must be written back."""
        _ = self.text
        return self._encoding

    def locate(self, nodes: Iterable[Any]) -> None:
        """Fills `spans` for these nodes in one pass over the tree."""
        from torchlint.semantics.spans import spans_of

        wanted = {id(n): n for n in nodes if id(n) not in self.spans}
        if wanted:
            self.spans.update(spans_of(self.tree, wanted, self.text))

    def holds(self, node: Any) -> bool:
        """Whether a node that was asked for is one of this file's."""
        return id(node) in self.spans

    def span(self, node: Any) -> Span:
        """Where a node stands; `locate` many at once where there are many."""
        if id(node) not in self.spans:
            self.locate([node])
        return self.spans.get(id(node), Span(1, 1, 1, 1))


def decode(data: bytes) -> tuple[str, str]:
    """Bytes of a Python file -> its text and encoding (PEP 263).

    Raises SourceError (`io-error`) where the bytes are not what the file says they are.
    """
    import io
    import tokenize

    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        raise SourceError("io-error", f"has no readable encoding: {error.msg}") from error
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        row = data[: getattr(error, "start", 0)].count(b"\n") + 1
        raise SourceError(
            "io-error", f"is not valid {encoding}: save it in that encoding or declare the right one", row
        ) from error
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        raise SourceError("io-error", "holds a NUL byte: this is not Python source", row)
    return text, encoding


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "cannot be parsed"
