"""Findings -> what an editor shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types
from pygls.workspace import PositionCodec

from torchlint import site
from torchlint.diagnostic import Diagnostic, Group, Remedy, Severity
from torchlint.server import places
from torchlint.server.checks import Checked

SOURCE = "torchlint"
_LEVELS = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}


def diagnostics(checked: Checked, codec: PositionCodec, uri_of: Callable[[str], str]) -> list[types.Diagnostic]:
    """All findings of a document; `uri_of` says how the editor calls a file."""
    return [diagnostic(one, checked, codec, uri_of) for one in checked.findings]


def diagnostic(
    one: Diagnostic, checked: Checked, codec: PositionCodec, uri_of: Callable[[str], str]
) -> types.Diagnostic:
    """One finding."""

    def place(name: str, other: Any) -> types.Range:
        return places.range_of(other, lambda number: checked.row(name, number), codec)

    related = [
        types.DiagnosticRelatedInformation(
            types.Location(
                checked.job.uri if other.filename == one.filename else uri_of(other.filename),
                place(other.filename, other.span),
            ),
            other.message,
        )
        for other in one.related
    ]
    page = site.page(one.code)
    return types.Diagnostic(
        range=place(one.filename, one.span),
        message=f"{one.message}\n{one.consequence}" if one.consequence else one.message,
        severity=_LEVELS[one.severity],
        code=one.code,
        code_description=types.CodeDescription(page) if page is not None else None,
        source=SOURCE,
        tags=_tags(one),
        related_information=related or None,
        data=_fix(one.fix, checked, codec),
    )


def edits(remedy: Remedy, checked: Checked, codec: PositionCodec) -> list[types.TextEdit]:
    """The edits of a fix."""
    name = checked.job.filename
    return [
        types.TextEdit(places.range_of(edit.span, lambda number: checked.row(name, number), codec), edit.content)
        for edit in remedy.edits
    ]


def _fix(remedy: Remedy | None, checked: Checked, codec: PositionCodec) -> dict[str, Any] | None:
    if remedy is None:
        return None
    return {
        "fix": {
            "message": remedy.message,
            "applicability": remedy.safety.value,
            "edits": edits(remedy, checked, codec),
        }
    }


def _tags(one: Diagnostic) -> list[types.DiagnosticTag] | None:
    if one.code == "unused-suppression":
        return [types.DiagnosticTag.Unnecessary]
    if one.group == Group.MIGRATION.value:
        return [types.DiagnosticTag.Deprecated]
    return None
