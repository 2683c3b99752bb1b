"""Findings and reports made by hand, to test what is printed of them."""

from __future__ import annotations

from torchlint.config import Config
from torchlint.diagnostic import Diagnostic, Severity, Span
from torchlint.run import Plan, Record, Report
from torchlint.selection import Selection


def finding(row: int = 2, column: int = 5, length: int = 4, code: str = "toy-alarm", **more: object) -> Diagnostic:
    settings: dict[str, object] = {
        "group": "correctness",
        "severity": Severity.ERROR,
        "message": "`opt` is never cleared",
        "filename": "a.py",
        "span": Span(row, column, row, column + length),
        "statement_row": row,
        "statement_end_row": row,
    }
    return Diagnostic(code=code, **{**settings, **more})  # type: ignore[arg-type]


def report(*findings: Diagnostic, source: str = "", diff: bool = False, **settings: object) -> Report:
    rows = dict(enumerate(source.split("\n"), 1))
    plan = Plan(Config(**settings), Selection(frozenset()), diff)  # type: ignore[arg-type]
    names = sorted({one.filename for one in findings}) or ["a.py"]
    return Report(plan, [Record(n, tuple(f for f in findings if f.filename == n), rows=rows) for n in names])
