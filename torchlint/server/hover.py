"""The page of a rule, where the pointer stands on one of its findings or on its name in a comment."""

from __future__ import annotations

import re

from lsprotocol import types
from pygls.workspace import PositionCodec

from torchlint import builtin, pages, registry
from torchlint.server import messages, places
from torchlint.server.checks import Checked
from torchlint.server.documents import Document

_NAME = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
_COMMENT = re.compile(r"#.*(torchlint\s*:|noqa\s*:)", re.IGNORECASE)


def hover(
    document: Document, at: types.Position, checked: Checked | None, codec: PositionCodec, markdown: bool
) -> types.Hover | None:
    """What to show at a position of a text; `checked` are the findings, where they are of that very text."""
    found = _named(document.lines, at, codec)
    if found is None and checked is not None:
        found = _found(document.uri, at, checked, codec)
    if found is None:
        return None
    code, place = found
    text = pages.explain([code], "markdown")
    kind = types.MarkupKind.Markdown if markdown else types.MarkupKind.PlainText
    return types.Hover(types.MarkupContent(kind, text), place)


def _named(rows: tuple[str, ...], at: types.Position, codec: PositionCodec) -> tuple[str, types.Range] | None:
    """The rule whose name stands there, in a comment that suppresses it."""
    row = rows[at.line] if at.line < len(rows) else ""
    column = places.column_of(row, at.character, codec)
    for name in _NAME.finditer(row):
        known = name[0] in registry.by_name() or name[0] in builtin.CODES
        if known and name.start() <= column <= name.end() and _COMMENT.search(row, 0, name.start()):
            start, end = (codec.client_num_units(row[:offset]) for offset in name.span())
            return name[0], types.Range(types.Position(at.line, start), types.Position(at.line, end))
    return None


def _found(uri: str, at: types.Position, checked: Checked, codec: PositionCodec) -> tuple[str, types.Range] | None:
    """The innermost finding around a position."""
    around = []
    for one in checked.findings:
        place = messages.place(one, checked, codec)
        if checked.job.text(one.cell).uri == uri and place.start <= at <= place.end:
            size = place.end.line - place.start.line, place.end.character - place.start.character
            around.append((size, one.code, place))
    return min(around, key=lambda one: one[0])[1:] if around else None
