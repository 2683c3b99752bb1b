"""Reports that a code host shows beside the code.

They know rows of files, not cells: what is in a notebook stands at the row of its JSON, and its text names the cell.
"""

from __future__ import annotations

import json
from typing import Any

from torchlint import site
from torchlint.diagnostic import Diagnostic, Remedy, Severity, Span
from torchlint.report.places import Root, fingerprints, sentence
from torchlint.report.style import Style
from torchlint.report.text import at
from torchlint.run import Report

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_GITLAB = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "info"}


def github(report: Report, style: Style) -> str:
    """GitHub's workflow commands: an annotation each."""
    root = Root.find()
    lines: list[str] = []
    for one in report.findings:
        span = _span(one)
        properties = {
            "title": f"torchlint ({one.code})",
            "file": root.path(one.filename),
            "line": str(span.row),
            "endLine": str(span.end_row),
            "col": str(span.column),
        }
        if span.end_row == span.row:  # GitHub refuses an end column on another line
            properties["endColumn"] = str(span.end_column)
        head = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        text = f"{one.filename}:{at(one)}: {one.code} {one.message}"
        if one.consequence:
            text += f"\n{one.consequence}"
        lines.append(f"::{_LEVELS[one.severity]} {head}::{_data(text)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def gitlab(report: Report, style: Style) -> str:
    """GitLab's code quality report, in the format of Code Climate."""
    root = Root.find()
    issues = [
        {
            "type": "issue",
            "check_name": one.code,
            "description": f"{one.code}: {sentence(one)}",
            "categories": ["Bug Risk"],
            "severity": _GITLAB[one.severity],
            "fingerprint": mark,
            "location": {
                "path": root.path(one.filename),
                "lines": {"begin": _span(one).row, "end": _span(one).end_row},
            },
        }
        for one, mark in zip(report.findings, fingerprints(report, root), strict=True)
    ]
    return json.dumps(issues, indent=2) + "\n"


# ------------------------------------------------------------------------------------------------------------ reviewdog


def rdjson(report: Report, style: Style) -> str:
    """The Reviewdog Diagnostic Format. Its columns count bytes of UTF-8."""
    root = Root.find()
    rows = {record.filename: record.rows for record in report.records}
    source: dict[str, Any] = {"name": "torchlint"}
    if site.BASE:
        source["url"] = site.BASE
    return (
        json.dumps({"source": source, "diagnostics": [_diagnostic(d, rows, root) for d in report.findings]}, indent=2)
        + "\n"
    )


_Rows = dict[str, dict[int, str]]  # the text of rows, by file


def _diagnostic(one: Diagnostic, rows: _Rows, root: Root) -> dict[str, Any]:
    code: dict[str, Any] = {"value": one.code}
    address = site.page(one.code)
    if address is not None:
        code["url"] = address
    told: dict[str, Any] = {
        "message": sentence(one),
        "location": _location(one.filename, _span(one), rows, root),
        "severity": one.severity.name,
        "code": code,
    }
    if one.cell is not None:
        return told
    if one.related:
        told["related_locations"] = [
            {"message": other.message, "location": _location(other.filename, other.span, rows, root)}
            for other in one.related
        ]
    if one.fix is not None and one.fix.edits:
        told["suggestions"] = _suggestions(one.fix, rows.get(one.filename, {}))
    return told


def _location(filename: str, span: Span, rows: _Rows, root: Root) -> dict[str, Any]:
    return {"path": root.path(filename), "range": _range(span, rows.get(filename, {}))}


def _range(span: Span, rows: dict[int, str]) -> dict[str, Any]:
    return {"start": _position(span.row, span.column, rows), "end": _position(span.end_row, span.end_column, rows)}


def _position(row: int, column: int, rows: dict[int, str]) -> dict[str, int]:
    if column == 1:
        return {"line": row, "column": 1}
    if row not in rows:  # of another file: its bytes are not at hand
        return {"line": row}
    return {"line": row, "column": len(rows[row][: column - 1].encode(errors="surrogatepass")) + 1}


def _suggestions(fix: Remedy, rows: dict[int, str]) -> list[dict[str, Any]]:
    """All edits as one replacement: a reader takes each suggestion for a fix of its own."""
    edits = sorted(fix.edits, key=lambda edit: edit.span)
    first, last = edits[0].span, edits[-1].span
    text: list[str] = []
    row, column = first.row, first.column
    for edit in edits:
        text += [_between(rows, row, column, edit.span.row, edit.span.column), edit.content]
        row, column = edit.span.end_row, edit.span.end_column
    return [
        {"range": _range(Span(first.row, first.column, last.end_row, last.end_column), rows), "text": "".join(text)}
    ]


def _between(rows: dict[int, str], row: int, column: int, end_row: int, end_column: int) -> str:
    if row == end_row:
        return rows.get(row, "")[column - 1 : end_column - 1]
    whole = [rows.get(row, "")[column - 1 :], *(rows.get(at, "") for at in range(row + 1, end_row))]
    return "\n".join([*whole, rows.get(end_row, "")[: end_column - 1]])


def _span(one: Diagnostic) -> Span:
    row = max(1, one.file_row)
    return one.span if one.cell is None else Span(row, 1, row, 1)
