"""Reports for programs: JSON with the field names of Ruff's, so that what reads those reads these."""

from __future__ import annotations

import json as _json
from typing import Any

from torchlint import site
from torchlint.diagnostic import Diagnostic, Remedy, Span
from torchlint.report.style import Style
from torchlint.report.text import counted
from torchlint.run import Report


def json(report: Report, style: Style) -> str:
    """One array of findings."""
    return _dump([as_json(one) for one in report.findings])


def json_lines(report: Report, style: Style) -> str:
    """One finding a line."""
    return "".join(_json.dumps(as_json(one)) + "\n" for one in report.findings)


def statistics_json(report: Report) -> str:
    """How often each rule found something: one array. `fixable`: all of it, safely."""
    return _dump(_counts(report))


def statistics_json_lines(report: Report) -> str:
    """The same, a rule a line."""
    return "".join(_json.dumps(one) + "\n" for one in _counts(report))


def _counts(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "code": one.code,
            "count": one.count,
            "fixable": one.safe == one.count,
            "fixable_count": one.safe,
            "unsafe_fixable_count": one.unsafe,
        }
        for one in counted(report)
    ]


def as_json(one: Diagnostic) -> dict[str, Any]:
    """A finding as plain values. Rows and columns count from 1, columns in characters."""
    return {
        "code": one.code,
        "group": one.group,
        "severity": one.severity.value,
        "message": one.message,
        "consequence": one.consequence,
        "filename": one.filename,
        **_place(one.span),
        "cell": one.cell,
        "fix": _fix(one.fix),
        "related": [
            {"message": o.message, "filename": o.filename, **_place(o.span), "cell": o.cell} for o in one.related
        ],
        "noqa_row": one.statement_end_row or one.span.row,
        "url": site.page(one.code),
    }


def _fix(fix: Remedy | None) -> dict[str, Any] | None:
    if fix is None:
        return None
    return {
        "applicability": fix.safety.value,
        "message": fix.message,
        "edits": [{"content": edit.content, **_place(edit.span), "cell": edit.cell} for edit in fix.edits],
    }


def _place(span: Span) -> dict[str, dict[str, int]]:
    return {
        "location": {"row": span.row, "column": span.column},
        "end_location": {"row": span.end_row, "column": span.end_column},
    }


def _dump(value: Any) -> str:
    return _json.dumps(value, indent=2) + "\n"
