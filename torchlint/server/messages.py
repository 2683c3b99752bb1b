"""Findings -> what an editor shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types
from pygls.workspace import PositionCodec

from torchlint import site
from torchlint.diagnostic import Diagnostic, Group, Related, Remedy, Severity
from torchlint.server import places
from torchlint.server.checks import Checked
from torchlint.text import rows_of

SOURCE = "torchlint"
_LEVELS = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}


def diagnostics(
    checked: Checked, codec: PositionCodec, uri_of: Callable[[str], str]
) -> dict[str, list[types.Diagnostic]]:
    """All findings, by the text they stand in; `uri_of` says how the editor calls a file."""
    found: dict[str, list[types.Diagnostic]] = {one.uri: [] for one in checked.job.texts if one.text is not None}
    for one in checked.findings:
        found.setdefault(checked.job.text(one.cell).uri, []).append(_diagnostic(one, checked, codec, uri_of))
    return found


def place(at: Diagnostic | Related, checked: Checked, codec: PositionCodec) -> types.Range:
    """Where a finding, or another place that it names, stands in its text."""
    return places.range_of(at.span, lambda number: checked.row((at.filename, at.cell), number), codec)


def _diagnostic(
    one: Diagnostic, checked: Checked, codec: PositionCodec, uri_of: Callable[[str], str]
) -> types.Diagnostic:
    related = [
        types.DiagnosticRelatedInformation(
            types.Location(
                checked.job.text(other.cell).uri if other.filename == one.filename else uri_of(other.filename),
                place(other, checked, codec),
            ),
            other.message,
        )
        for other in one.related
    ]
    page = site.page(one.code)
    return types.Diagnostic(
        range=place(one, checked, codec),
        message=f"{one.message}\n{one.consequence}" if one.consequence else one.message,
        severity=_LEVELS[one.severity],
        code=one.code,
        code_description=types.CodeDescription(page) if page is not None else None,
        source=SOURCE,
        tags=_tags(one),
        related_information=related or None,
        data=_fix(one.fix, checked, codec),
    )


def edits(remedy: Remedy, checked: Checked, codec: PositionCodec) -> dict[str, list[types.TextEdit]]:
    """The edits of a fix, by the text they belong to."""
    found: dict[str, list[types.TextEdit]] = {}
    for edit in remedy.edits:
        text = checked.job.text(edit.cell)
        rows = rows_of(text.text or "")
        at = places.range_of(edit.span, lambda number, rows=rows: rows[number - 1], codec)  # type: ignore[misc]
        found.setdefault(text.uri, []).append(types.TextEdit(at, edit.content))
    return found


def _fix(remedy: Remedy | None, checked: Checked, codec: PositionCodec) -> dict[str, Any] | None:
    if remedy is None:
        return None
    changes = [
        {"uri": uri, "range": edit.range, "newText": edit.new_text}
        for uri, found in edits(remedy, checked, codec).items()
        for edit in found
    ]
    return {"fix": {"message": remedy.message, "applicability": remedy.safety.value, "edits": changes}}


def _tags(one: Diagnostic) -> list[types.DiagnosticTag] | None:
    if one.code == "unused-suppression":
        return [types.DiagnosticTag.Unnecessary]
    if one.group == Group.MIGRATION.value:
        return [types.DiagnosticTag.Deprecated]
    return None
