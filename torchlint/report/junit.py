"""JUnit's XML, as Jenkins, GitLab, Azure DevOps and CircleCI read it: a suite a file, a failed case a finding.

It keeps to the elements and attributes of Jenkins' schema, the strictest of them.
"""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

from torchlint import builtin
from torchlint.diagnostic import Diagnostic
from torchlint.report.places import Root
from torchlint.report.style import Style
from torchlint.report.text import at
from torchlint.run import Report

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML, even escaped


def junit(report: Report, style: Style) -> str:
    """A suite for each file with findings; one passed case when there are none, for an empty report is an error."""
    root = Root.find()
    findings = report.findings
    suites = ElementTree.Element("testsuites", {"name": "torchlint", **_counts(findings)})
    for filename, group in groupby(findings, key=lambda one: one.filename):
        found = list(group)
        path = _text(root.path(filename))
        suite = ElementTree.SubElement(suites, "testsuite", {"name": path, "package": "torchlint", **_counts(found)})
        names: set[str] = set()
        for one in found:
            _case(suite, one, root, names)
    if not findings:
        suite = ElementTree.SubElement(suites, "testsuite", {"name": "torchlint", **_counts([]), "tests": "1"})
        ElementTree.SubElement(suite, "testcase", {"name": "nothing found", "classname": "torchlint"})
        suites.set("tests", "1")
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def _case(suite: ElementTree.Element, one: Diagnostic, root: Root, names: set[str]) -> None:
    path = _text(root.path(one.filename))
    name = f"{one.code} {at(one)}"
    while name in names:  # CI systems know a case by its name
        name += "'"
    names.add(name)
    case = ElementTree.SubElement(suite, "testcase", {"name": name, "classname": re.sub(r"\.(py|ipynb)$", "", path)})
    kind = "error" if one.group == builtin.FILE else "failure"
    problem = ElementTree.SubElement(case, kind, {"type": one.code, "message": _text(one.message)})
    lines = [f"{path}:{at(one)}: {one.severity.value}: {one.message}", *([one.consequence] if one.consequence else [])]
    lines += [f"{root.path(other.filename)}:{at(other)}: {other.message}" for other in one.related]
    if one.fix is not None:
        lines.append(f"help ({one.fix.safety.value}): {one.fix.message}")
    problem.text = _text("\n".join(lines))


def _counts(findings: list[Diagnostic]) -> dict[str, str]:
    errors = sum(one.group == builtin.FILE for one in findings)
    return {"tests": str(len(findings)), "failures": str(len(findings) - errors), "errors": str(errors)}


def _text(text: str) -> str:
    """`text` with an escape in place of each character that XML cannot hold."""
    return _FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
