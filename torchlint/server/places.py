"""Places in an editor's words: URIs for paths, and rows and columns that count from 0, columns in code units."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lsprotocol import types
from pygls.workspace import PositionCodec

from torchlint.diagnostic import Span

_DRIVE = re.compile(r"/[A-Za-z]:")


def path_of(uri: str) -> str | None:
    """The path of a `file:` URI; None for what is no file."""
    # pygls has a function for this, to which a `;` in a name is the end of the path.
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return None
    path = unquote(parts.path + (f"#{parts.fragment}" if parts.fragment else ""))
    if _DRIVE.match(path):
        path = path[1:]
    elif parts.netloc and parts.netloc != "localhost":
        path = f"//{unquote(parts.netloc)}{path}"
    return os.path.normpath(path)


def uri_of(path: str) -> str:
    """The URI of a file."""
    return Path(os.path.abspath(path)).as_uri()


def name_of(uri: str) -> str:
    """The last part of a URI, as a file name."""
    return os.path.basename(unquote(urlsplit(uri).path)) or "untitled"


def range_of(span: Span, row: Callable[[int], str], codec: PositionCodec) -> types.Range:
    """A span as a range; `row` gives the text of a row (from 1), which columns are counted in."""

    def position(number: int, column: int) -> types.Position:
        return types.Position(number - 1, codec.client_num_units(row(number)[: column - 1]))

    return types.Range(position(span.row, span.column), position(span.end_row, span.end_column))


def column_of(row: str, character: int, codec: PositionCodec) -> int:
    """Where in the text of a row a position stands, from 0; the end of the row, where it stands behind it."""
    units = 0
    for column, char in enumerate(row):
        if units >= character or char in "\r\n":
            return column
        units += codec.client_num_units(char)
    return len(row)


def offset_of(position: types.Position, rows: Sequence[str], codec: PositionCodec) -> int:
    """Where in a text, given by its rows, a position stands."""
    before = sum(map(len, rows[: position.line]))
    return before + (column_of(rows[position.line], position.character, codec) if position.line < len(rows) else 0)
