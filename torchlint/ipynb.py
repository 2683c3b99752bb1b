"""The file of a notebook: the code in its JSON and where that stands, so that all else stays byte for byte.

Nothing is serialised again: what changes is the value of a cell's `source`, spelled as the file spells it, one string
or a list of them. Formats 3 and 4 are read.
"""

from __future__ import annotations

import itertools
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any

from torchlint.source import SkippedError, SourceError
from torchlint.text import line_starts

_LFS = b"version https://git-lfs.github.com/spec/"
_SPACE = re.compile(r"[ \t\n\r]*")
_CHARACTER = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|[^\\]", re.DOTALL)
_BOM = "\ufeff"


@dataclass(slots=True)
class _Text:
    """A value of the JSON that is text: one string, or a list of them."""

    start: int
    end: int
    items: list[tuple[int, int, str]]  # where each string stands, quotes included, and what it says
    listed: bool

    @property
    def value(self) -> str:
        return "".join(item for _, _, item in self.items)


@dataclass(slots=True)
class _Cell:
    """What is known of a cell of the file."""

    texts: dict[str, _Text] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> _Text | None:
        """Its Python; None where it holds none."""
        if self.values.get("cell_type") != "code" or self.values.get("language", "python") != "python":
            return None
        metadata = self.values.get("metadata")
        editor = metadata.get("vscode") if isinstance(metadata, dict) else None
        if isinstance(editor, dict) and editor.get("languageId", "python") != "python":
            return None
        return self.texts.get("source") or self.texts.get("input")  # the latter in format 3


@dataclass(slots=True)
class Notebook:
    """The text of the file, and the code in it."""

    json: str
    cells: list[_Text | None]  # None: no code
    _starts: list[int] | None = None

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.json.encode()

    @property
    def texts(self) -> list[str | None]:
        """The code of each cell; None for one that holds none."""
        return [cell.value if cell is not None else None for cell in self.cells]

    def row(self, cell: int, row: int) -> int:
        """The row of the file that spells a row of a cell; both count from 1."""
        text = self.cells[cell - 1]
        if text is None or not text.items:
            return 1
        if self._starts is None:
            self._starts = line_starts(self.json)
        offset = line_starts(text.value)[row - 1]
        ends = list(itertools.accumulate(len(item) for _, _, item in text.items))
        at = min(bisect_right(ends, offset), len(ends) - 1)
        return bisect_right(self._starts, text.items[at][0])

    def edited(self, texts: Sequence[str | None]) -> Notebook:
        """The notebook with these texts as the code of its cells."""
        ascii_only = self.json.removeprefix(_BOM).isascii() and "\\u" in self.json
        parts: list[str] = []
        at = 0
        for cell, text in zip(self.cells, texts, strict=True):
            if cell is not None and text is not None and cell.value != text:
                parts += self.json[at : cell.start], self._respelled(cell, text, ascii_only)
                at = cell.end
        return _Reader("".join([*parts, self.json[at:]])).read() if parts else self

    def _respelled(self, cell: _Text, text: str, ascii_only: bool) -> str:
        if not cell.listed:
            return _spelled(self.json[cell.start : cell.end], cell.value, text, ascii_only)
        old = [item for _, _, item in cell.items]
        whole = len(old) == 1 and len(old[0].splitlines()) > 1  # a list of one string that holds all rows
        new = [text] if whole else text.splitlines(keepends=True)
        if not old or not new:
            return json.dumps(new, ensure_ascii=ascii_only)
        # What stands before each string: kept where the rows above or below it are.
        gaps = [self.json[cell.start : cell.items[0][0]]]
        gaps += [self.json[a[1] : b[0]] for a, b in itertools.pairwise(cell.items)]
        alone = gaps[0][1:] if "\n" in gaps[0] else " " * ('": ' in self.json)  # how lists are written here
        joint = gaps[-1] if len(gaps) > 1 else f",{alone}"
        known = {item: self.json[start:end] for start, end, item in cell.items}
        head, tail = _same(old, new), _same(old[::-1], new[::-1])
        parts: list[str] = []
        for at, item in enumerate(new):
            before = at if at < head else at - len(new) + len(old) if at >= len(new) - tail else 0
            gap = gaps[0] if not at else gaps[before] if before > 0 else joint
            parts += gap, known.get(item) or json.dumps(item, ensure_ascii=ascii_only)
        return "".join([*parts, self.json[cell.items[-1][1] : cell.end]])


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items the two begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _spelled(literal: str, old: str, new: str, ascii_only: bool) -> str:
    """A JSON string that says `new`, spelled as `literal`, which says `old`, wherever the two say the same."""
    head = _same(old, new)
    tail = _same(old[: head - len(old) - 1 : -1], new[: head - len(new) - 1 : -1])
    ends = [1, *(found.end() for found in _CHARACTER.finditer(literal, 1, len(literal) - 1))]
    middle = json.dumps(new[head : len(new) - tail], ensure_ascii=ascii_only)[1:-1]
    return literal[: ends[head]] + middle + literal[ends[len(old) - tail] :]


def read(data: bytes) -> Notebook:
    """The notebook in the bytes of a file.

    Raises SourceError at the place where it is none, and SkippedError for one whose code is not Python.
    """
    if data.startswith(_LFS):
        raise SkippedError("is a pointer to the notebook, which `git lfs pull` fetches")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise SourceError("io-error", "is not valid utf-8, as a notebook must be", row) from error
    if not text.strip(_BOM + " \t\r\n"):
        return Notebook(text, [])  # as editors create them
    try:
        return _Reader(text).read()
    except JSONDecodeError as error:
        message = f"is not a notebook, which is JSON: {error.msg}"
        raise SourceError("syntax-error", message, error.lineno, error.colno) from error
    except RecursionError as error:
        raise SourceError("syntax-error", "is not a notebook: it is nested too deeply") from error


class _Reader:
    """One pass over the JSON. Only objects and lists on the way to the code are gone through, the rest in one step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.decoder = json.JSONDecoder()
        self.cells: list[_Cell] | None = None
        self.metadata: Any = None

    def read(self) -> Notebook:
        at = self.skip(1 if self.text.startswith(_BOM) else 0)
        end = self.skip(self.members(at, self.top))
        if end != len(self.text):
            raise JSONDecodeError("Extra data", self.text, end)
        if self.cells is None:
            raise SourceError("syntax-error", "is not a notebook: there is no list of cells in it")
        language = _language(self.metadata)
        if language not in ("python", "ipython"):
            raise SkippedError(f"its language is {language}", aside=True)
        return Notebook(self.text, [cell.code for cell in self.cells])

    def top(self, key: str, at: int) -> int:
        match key:
            case "cells":
                self.cells = []
                return self.elements(at, self.cell)
            case "worksheets":
                self.cells = []
                return self.elements(at, lambda at: self.members(at, self.sheet))
            case "metadata":
                self.metadata, at = self.value(at)
                return at
        return self.value(at)[1]

    def sheet(self, key: str, at: int) -> int:
        return self.elements(at, self.cell) if key == "cells" else self.value(at)[1]

    def cell(self, at: int) -> int:
        assert self.cells is not None
        cell = _Cell()
        self.cells.append(cell)

        def member(key: str, at: int) -> int:
            if key in ("source", "input"):
                text = cell.texts[key] = self.strings(at)
                return text.end
            value, end = self.value(at)
            if key in ("cell_type", "language", "metadata"):
                cell.values[key] = value
            return end

        return self.members(at, member)

    def strings(self, at: int) -> _Text:
        """A string, or a list of them; anything else is taken for no text."""
        items: list[tuple[int, int, str]] = []

        def string(at: int) -> int:
            if self.text[at : at + 1] != '"':
                raise JSONDecodeError("Expecting a string of the cell's source", self.text, at)
            value, end = self.value(at)
            items.append((at, end, value))
            return end

        listed = self.text[at : at + 1] == "["
        end = self.elements(at, string) if listed else string(at)
        return _Text(at, end, items, listed)

    def value(self, at: int) -> tuple[Any, int]:
        return self.decoder.raw_decode(self.text, at)

    def members(self, at: int, visit: Callable[[str, int], int]) -> int:
        """Goes through an object: `visit` gets each key and where its value begins, and says where that ends."""

        def member(at: int) -> int:
            if self.text[at : at + 1] != '"':
                raise JSONDecodeError("Expecting property name enclosed in double quotes", self.text, at)
            key, at = self.value(at)
            at = self.skip(at)
            if self.text[at : at + 1] != ":":
                raise JSONDecodeError("Expecting ':' delimiter", self.text, at)
            return visit(key, self.skip(at + 1))

        return self.series(at, "{", "}", member)

    def elements(self, at: int, visit: Callable[[int], int]) -> int:
        return self.series(at, "[", "]", visit)

    def series(self, at: int, opening: str, closing: str, visit: Callable[[int], int]) -> int:
        if self.text[at : at + 1] != opening:
            raise JSONDecodeError(f"Expecting '{opening}'", self.text, at)
        at = self.skip(at + 1)
        if self.text[at : at + 1] == closing:
            return at + 1
        while True:
            at = self.skip(visit(at))
            match self.text[at : at + 1]:
                case ",":
                    at = self.skip(at + 1)
                case char if char == closing:
                    return at + 1
                case _:
                    raise JSONDecodeError("Expecting ',' delimiter", self.text, at)

    def skip(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        return found.end() if found is not None else at


def _language(metadata: Any) -> str:
    """The language of a notebook, which is Python where it does not say."""
    if isinstance(metadata, dict):
        for part, key in (("language_info", "name"), ("kernelspec", "language")):
            said = metadata.get(part)
            if isinstance(said, dict) and isinstance(said.get(key), str) and said[key]:
                return str(said[key]).lower()
    return "python"
