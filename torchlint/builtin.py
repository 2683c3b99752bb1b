"""Findings that no rule makes: what befell a file, and what is wrong with what suppresses findings."""

from __future__ import annotations

from torchlint.diagnostic import Diagnostic, Severity, Span

FILE = "error"  # the group of what befell a file; it is never selected away, or a broken file would pass
SUPPRESSION = "suppression"

FILE_CODES = {
    "syntax-error": "The file is not valid Python, so nothing in it could be checked.",
    "io-error": "The file cannot be read, or its bytes are not in the encoding it declares.",
    "internal-error": "torchlint itself failed on this file: a bug in torchlint, not in your code. "
    "Everything else was still checked. Please report it.",
}

SUPPRESSION_CODES = {
    "unused-suppression": "A suppression comment names a rule that finds nothing there. Take it out, "
    "or it will hide the next finding.",
    "blanket-suppression": "A suppression comment names no rule, and therefore suppresses nothing. Name the rules: "
    "`# torchlint: ignore[missing-zero-grad] why`.",
    "invalid-suppression": "A suppression comment cannot be read, or names a rule that does not exist.",
}

BASELINE_CODES = {
    "unneeded-baseline-entry": "The baseline knows a finding that is there no more. Take the entry out with "
    "`torchlint --prune-baseline`, or it will hide the next finding.",
}

CODES = {**FILE_CODES, **SUPPRESSION_CODES, **BASELINE_CODES}


def file_error(code: str, message: str, filename: str, row: int = 1, column: int = 1) -> Diagnostic:
    """The finding for what befell a file: `code` is one of `FILE_CODES`."""
    span = Span(row, column, row, column)
    return Diagnostic(code, FILE, Severity.ERROR, message, filename, span, statement_row=row, statement_end_row=row)
