"""Reports that a code host shows beside the code."""

from __future__ import annotations

from torchlint.diagnostic import Severity
from torchlint.report.style import Style
from torchlint.run import Report

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def github(report: Report, style: Style) -> str:
    """GitHub's workflow commands: an annotation each."""
    lines: list[str] = []
    for one in report.findings:
        span = one.span
        properties = {
            "title": f"torchlint ({one.code})",
            "file": one.filename,
            "line": str(span.row),
            "endLine": str(span.end_row),
            "col": str(span.column),
        }
        if span.end_row == span.row:  # GitHub refuses an end column on another line
            properties["endColumn"] = str(span.end_column)
        head = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        text = f"{one.filename}:{span.row}:{span.column}: {one.code} {one.message}"
        if one.consequence:
            text += f"\n{one.consequence}"
        lines.append(f"::{_LEVELS[one.severity]} {head}::{_data(text)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
