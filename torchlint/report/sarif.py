"""SARIF 2.1.0, as GitHub code scanning, Azure DevOps and editors read it.

Every finding is a result; what kept torchlint from checking a file is a notification besides. Findings that a comment
suppresses are left out: GitHub would show them as open alerts. SARIF has no place for the cell of a notebook, whose
file is one JSON text: such a result points to the row that spells it there, and names the cell in its message and as
logical location.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torchlint import __version__, builtin, pages, registry, site
from torchlint.diagnostic import Diagnostic, Group, Related, Remedy, Safety, Severity, Span
from torchlint.report.places import Root, fingerprints, sentence
from torchlint.report.style import Style
from torchlint.rule import Rule
from torchlint.run import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_BASE = "%SRCROOT%"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_PROBLEMS = {"error": "error", "warning": "warning", "note": "recommendation"}  # GitHub's words
_PRECISION = {Group.CORRECTNESS: "very-high", Group.SUSPICIOUS: "high"}
_LONGEST = 1000  # characters that GitHub shows of a description
_INCOMPLETE = ("io-error", "internal-error")  # for these codes, the file was not checked as it should be


def sarif(report: Report, style: Style) -> str:
    """One run, with the rules that found something."""
    root = Root.find()
    codes = sorted({one.code for one in report.findings})
    index = {code: at for at, code in enumerate(codes)}
    driver: dict[str, Any] = {"name": "torchlint", "version": __version__, "semanticVersion": __version__}
    if site.BASE:
        driver["informationUri"] = site.BASE
    known = registry.by_name()
    driver["rules"] = [_rule(code, known.get(code)) for code in codes]
    rows = {record.filename: record.rows for record in report.records}
    results = [
        _result(one, index[one.code], mark, root, rows.get(one.filename, {}))
        for one, mark in zip(report.findings, fingerprints(report, root), strict=True)
    ]
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(report, root)],
        "originalUriBaseIds": {_BASE: {"uri": Path(root.folder).as_uri().rstrip("/") + "/"}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str, rule: Rule | None) -> dict[str, Any]:
    """What is told of a rule; None for a code that is no rule's."""
    page = pages.explain([code], "markdown")
    if rule is None:
        summary = description = builtin.CODES[code]
        level = "warning" if code in builtin.SUPPRESSION_CODES else "error"
        group = builtin.SUPPRESSION if code in builtin.SUPPRESSION_CODES else builtin.FILE
        text, precision = summary, "very-high"
    else:
        summary, level, group = rule.page.summary, _LEVELS[rule.group.severity], rule.group.value
        description = rule.page.sections["What it finds"].partition("\n\n")[0]
        text = f"{summary}\n\n{rule.page.sections['Why it hurts']}"
        precision = _PRECISION.get(rule.group, "medium")
    told: dict[str, Any] = {
        "id": code,
        "name": "".join(map(str.capitalize, code.split("-"))),
        "shortDescription": {"text": summary},
        "fullDescription": {"text": textwrap.shorten(description, _LONGEST, placeholder=" ...")},
        "help": {"text": text, "markdown": page},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": [group, "pytorch"], "precision": precision, "problem.severity": _PROBLEMS[level]},
    }
    address = site.page(code)
    if address is not None:
        told["helpUri"] = address
    return told


def _result(one: Diagnostic, index: int, fingerprint: str, root: Root, rows: Mapping[int, str]) -> dict[str, Any]:
    place = _place(one, root)
    if one.cell is None:
        line = rows.get(one.span.row)
        if line is not None and one.span.end_row == one.span.row:
            snippet = {"text": line[one.span.column - 1 : one.span.end_column - 1]}
            place["physicalLocation"]["region"]["snippet"] = snippet
    elif one.file_row:
        place["physicalLocation"]["region"] = {"startLine": one.file_row}
    result: dict[str, Any] = {
        "ruleId": one.code,
        "ruleIndex": index,
        "level": _LEVELS[one.severity],
        "message": {"text": _plain(sentence(one))},
        "locations": [place],
        "partialFingerprints": {"torchlint/v1": fingerprint},
    }
    if one.related:
        result["relatedLocations"] = [
            {"id": number, **_place(other, root), "message": {"text": _plain(other.message)}}
            for number, other in enumerate(one.related, 1)
        ]
    if one.fix is not None and one.fix.edits and one.cell is None:
        result["fixes"] = [_fix(one.fix, one.filename, root)]
    return result


def _place(one: Diagnostic | Related, root: Root) -> dict[str, Any]:
    """A location: with a region in a file, with the name of the cell in a notebook."""
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": _artifact(one.filename, root)}}
    if one.cell is None:
        place["physicalLocation"]["region"] = _region(one.span)
    else:
        place["logicalLocations"] = [{"name": f"cell {one.cell}", "kind": "cell"}]
    return place


def _fix(fix: Remedy, filename: str, root: Root) -> dict[str, Any]:
    caution = "" if fix.safety is Safety.SAFE else f" ({fix.safety.value}: read it before it is applied)"
    replacements = [
        {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.content}} for edit in fix.edits
    ]
    return {
        "description": {"text": _plain(fix.message + caution)},
        "artifactChanges": [{"artifactLocation": _artifact(filename, root), "replacements": replacements}],
    }


def _invocation(report: Report, root: Root) -> dict[str, Any]:
    failed = [one for one in report.findings if one.code in _INCOMPLETE]
    told: dict[str, Any] = {
        "executionSuccessful": report.exit_code != 2,
        "exitCode": report.exit_code,
    }
    if failed:
        told["toolExecutionNotifications"] = [
            {
                "level": "error",
                "message": {"text": _plain(sentence(one))},
                "descriptor": {"id": one.code},
                "locations": [{"physicalLocation": {"artifactLocation": _artifact(one.filename, root)}}],
            }
            for one in failed
        ]
    return told


def _artifact(filename: str, root: Root) -> dict[str, str]:
    path = root.path(filename)
    if Path(path).is_absolute():
        return {"uri": Path(path).as_uri()}
    return {"uri": quote(path), "uriBaseId": _BASE}


def _region(span: Span) -> dict[str, Any]:
    return {
        "startLine": span.row,
        "startColumn": span.column,
        "endLine": span.end_row,
        "endColumn": span.end_column,
    }


def _plain(text: str) -> str:
    """`text` with what SARIF would take for a link inside a message, such as `x[0](y)`, kept as it is."""
    return re.sub(r"\[(?=[^\[\]]*\]\()", r"\\[", text)
