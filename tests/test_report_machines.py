"""Reports that programs read: held to the schemas their readers publish, and read by those readers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
import xmlschema
from findings import finding, report

from torchlint import builtin, fix, registry, site
from torchlint.config import Config
from torchlint.diagnostic import Diagnostic, Related, Remedy, Safety, Severity, Span, TextEdit
from torchlint.report import FORMATS
from torchlint.report.places import Root, fingerprints
from torchlint.report.style import Style
from torchlint.run import Plan, Report, Worker
from torchlint.selection import Selection
from torchlint.source import Source
from torchlint.text import line_starts

SCHEMAS = Path(__file__).parent / "schemas"
FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCE = "import torch\nfor x in y:\n    'é日本🙂'; opt.step()\n    opt.step()\n    opt.step()\n"
WRAP = Remedy(
    Safety.UNSAFE,
    "wrap it",
    (
        TextEdit(Span(3, 5, 3, 5), "with a:\n        "),
        TextEdit(Span(4, 1, 4, 5), "        "),
        TextEdit(Span(5, 1, 6, 1), ""),
    ),
)


def everything() -> list[Diagnostic]:
    """One finding of each kind that has shown to need care."""
    return [
        finding(3, 13, 10, code="missing-zero-grad", fix=WRAP, consequence="It hurts."),
        finding(4, 5, 10, code="missing-zero-grad", severity=Severity.WARNING),
        finding(5, 5, 10, code="missing-zero-grad", severity=Severity.INFO),
        finding(5, 5, 10, code="whole-model-save", filename="sub dir/ü#%.py", message="see [a](b) {0} \x1b\ud800"),
        finding(
            2,
            5,
            code="unsafe-load",
            filename="n.ipynb",
            cell=3,
            related=(Related("made here", "n.ipynb", Span(1, 1, 1, 4), cell=3),),
        ),
        finding(3, 1, code="unsafe-load", filename="n.ipynb", cell=3),
        finding(
            1,
            1,
            code="inference-without-eval",
            filename="z.py",
            related=(
                Related("made [here](1)", "a.py", Span(3, 13, 3, 16)),
                Related("there", "far.py", Span(7, 2, 8, 4)),
            ),
        ),
        builtin.file_error("syntax-error", "invalid syntax", "broken.py", 3, 7),
        builtin.file_error("io-error", "cannot be read", "locked.py"),
        finding(1, 9, code="unused-suppression", group="suppression", filename="z.py", severity=Severity.WARNING),
    ]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(form: str, found: Report) -> str:
    return FORMATS[form](found, Style())


def kinds() -> list[Any]:
    return [
        pytest.param(list, id="nothing"),
        pytest.param(everything, id="everything"),
        pytest.param(lambda: [builtin.file_error("internal-error", "crashed", "a.py")], id="crash"),
    ]


# --------------------------------------------------------------------------------------------------------------- SARIF


@lru_cache
def validator(name: str) -> jsonschema.Draft4Validator:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())


def sarif(found: Report) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(written("sarif", found))
    validator("sarif-2.1.0.json").validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


@pytest.mark.parametrize("findings", kinds())
def test_sarif_is_what_its_schema_asks_for(findings: Any) -> None:
    run = sarif(report(*findings(), source=SOURCE))
    assert len(run["results"]) == len(findings())


def test_the_schema_would_tell() -> None:
    log = json.loads(written("sarif", report(finding(code="unsafe-load"))))
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    with pytest.raises(jsonschema.ValidationError):
        validator("sarif-2.1.0.json").validate(log)


def test_sarif_tells_of_every_rule_that_ran_into_something() -> None:
    codes = [*registry.by_name(), *builtin.CODES]
    run = sarif(report(*(finding(code=code) for code in codes)))
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted(codes)
    assert [rules[one["ruleIndex"]]["id"] for one in run["results"]] == [one["ruleId"] for one in run["results"]]
    for rule in rules:
        assert re.fullmatch(r"([A-Z][a-z0-9]*)+", rule["name"])
        for part in ("shortDescription", "fullDescription"):  # GitHub's limit
            assert 10 < len(rule[part]["text"]) <= 1024
        assert rule["help"]["markdown"].startswith(f"# {rule['id']}\n")
        assert rule["properties"]["precision"] in ("very-high", "high", "medium")
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
        assert "helpUri" not in rule, "there is no site yet"


def test_sarif_results() -> None:
    run = sarif(report(*everything(), source=SOURCE))
    assert run["columnKind"] == "unicodeCodePoints"
    here = Path.cwd().as_uri() + "/"
    assert run["originalUriBaseIds"] == {"%SRCROOT%": {"uri": here}}
    first, second, third, *_ = run["results"]
    assert [one["level"] for one in (first, second, third)] == ["error", "warning", "note"]
    assert first["message"] == {"text": "`opt` is never cleared. It hurts."}
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "a.py", "uriBaseId": "%SRCROOT%"},
                "region": {
                    "startLine": 3,
                    "startColumn": 13,
                    "endLine": 3,
                    "endColumn": 23,
                    "snippet": {"text": "opt.step()"},
                },
            }
        }
    ]
    (fix,) = first["fixes"]
    assert fix["description"]["text"] == "wrap it (unsafe: read it before it is applied)"
    (change,) = fix["artifactChanges"]
    assert change["artifactLocation"] == {"uri": "a.py", "uriBaseId": "%SRCROOT%"}
    assert [one["insertedContent"]["text"] for one in change["replacements"]] == ["with a:\n        ", "        ", ""]


def test_sarif_addresses_and_text_are_escaped() -> None:
    run = sarif(report(*everything()))
    (one,) = (one for one in run["results"] if one["ruleId"] == "whole-model-save")
    assert one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "sub%20dir/%C3%BC%23%25.py"
    assert one["message"]["text"].startswith("see \\[a](b)"), "no link"


def test_sarif_says_what_was_not_checked() -> None:
    (invocation,) = sarif(report(*everything()))["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 1)
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["descriptor"] == {"id": "io-error"}
    assert notification["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "locked.py"
    (invocation,) = sarif(report(builtin.file_error("internal-error", "crashed", "a.py")))["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    assert "toolExecutionNotifications" not in sarif(report())["invocations"][0]


def test_sarif_names_the_cell_of_a_notebook() -> None:
    run = sarif(report(*everything()))
    one = next(one for one in run["results"] if one["ruleId"] == "unsafe-load")
    (place,) = one["locations"]
    assert place["logicalLocations"] == [{"name": "cell 3", "kind": "cell"}]
    assert place["physicalLocation"] == {"artifactLocation": {"uri": "n.ipynb", "uriBaseId": "%SRCROOT%"}}
    assert one["message"]["text"] == "cell 3, row 2, column 5: `opt` is never cleared."
    assert one["relatedLocations"] == [{"id": 1, **place, "message": {"text": "made here"}}]


def test_sarif_tools_reads_it(tmp_path: Path) -> None:
    (tmp_path / "out.sarif").write_text(written("sarif", report(*everything(), source=SOURCE)))
    done = subprocess.run(
        [sys.executable, "-m", "sarif", "--check", "error", "summary", "out.sarif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error: 7" in done.stdout, done.stdout + done.stderr
    assert "- missing-zero-grad" in done.stdout
    assert done.returncode == 1, "it fails a build at errors"


# -------------------------------------------------------------------------------------------------------- fingerprints


def marks(source: str, *findings: Diagnostic) -> list[str]:
    return fingerprints(report(*findings, source=source), Root.find())


def test_fingerprints_outlive_edits_elsewhere() -> None:
    before = marks(SOURCE, finding(4), finding(5))
    after = marks("\n\n" + SOURCE.replace("    opt", "        opt"), finding(6, 9), finding(7, 9))
    assert before == after


def test_fingerprints_differ() -> None:
    found = [finding(3), finding(4), finding(5), finding(5, 8), finding(4, code="b"), finding(4, filename="b.py")]
    assert len({*marks(SOURCE, *found)}) == len(found)
    assert marks(SOURCE, finding(4)) != marks(SOURCE.replace("opt", "other"), finding(4))


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
def test_fingerprints_are_used(form: str) -> None:
    found = report(*everything(), source=SOURCE)
    told = json.loads(written(form, found))
    if form == "sarif":
        used = [one["partialFingerprints"]["torchlint/v1"] for one in told["runs"][0]["results"]]
    else:
        used = [one["fingerprint"] for one in told]
    assert used == fingerprints(found, Root.find())
    assert len({*used}) == len(used)


# -------------------------------------------------------------------------------------------------- paths and addresses


def test_paths_start_at_the_root_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    inner = tmp_path / "repository" / "sub" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    outside = str(tmp_path / "other.py")
    found = report(finding(), finding(filename="../b.py"), finding(filename=outside), finding(filename="-"))
    paths = ["-", "sub/b.py", outside.replace(os.sep, "/"), "sub/inner/a.py"]
    assert [one["location"]["path"] for one in json.loads(written("gitlab", found))] == paths
    assert [one["location"]["path"] for one in json.loads(written("rdjson", found))["diagnostics"]] == paths
    assert [one.split(",")[1] for one in written("github", found).splitlines()] == [
        f"file={path.replace(':', '%3A')}" for path in paths
    ]
    assert [suite.get("name") for suite in ElementTree.fromstring(written("junit", found))] == paths
    run = sarif(report(finding(code="unsafe-load"), finding(code="unsafe-load", filename=outside)))
    base, (other, own) = run["originalUriBaseIds"]["%SRCROOT%"]["uri"], run["results"]
    assert base == (tmp_path / "repository").as_uri() + "/"
    assert own["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "sub/inner/a.py"
    assert other["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": Path(outside).as_uri()}


def test_rules_have_an_address_once_there_is_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(finding(code="unsafe-load"), builtin.file_error("syntax-error", "invalid", "b.py"))
    assert [one["url"] for one in json.loads(written("json", found))] == [None, None]
    monkeypatch.setattr(site, "BASE", "https://example.org/torchlint/")
    page = "https://example.org/torchlint/rules/unsafe-load/"
    assert [one["url"] for one in json.loads(written("json", found))] == [page, None]
    first, second = json.loads(written("rdjson", found))["diagnostics"]
    assert first["code"] == {"value": "unsafe-load", "url": page}
    assert second["code"] == {"value": "syntax-error"}
    driver = sarif(found)["tool"]["driver"]
    assert driver["informationUri"] == "https://example.org/torchlint/"
    assert {rule["id"]: rule.get("helpUri") for rule in driver["rules"]} == {"unsafe-load": page, "syntax-error": None}


# --------------------------------------------------------------------------------------------------------------- GitLab

GITLAB = {  # what GitLab's parser refuses a report without, and what its widget shows
    "type": "array",
    "items": {
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string"},
            "check_name": {"type": "string"},
            "fingerprint": {"type": "string", "minLength": 1},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": r"^(?!\./)"},
                    "lines": {"required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}},
                },
            },
        },
    },
}


@pytest.mark.parametrize("findings", kinds())
def test_gitlab_gets_what_it_asks_for(findings: Any) -> None:
    told = json.loads(written("gitlab", report(*findings(), source=SOURCE)))
    jsonschema.Draft4Validator(GITLAB).validate(told)
    assert len(told) == len(findings())


def test_gitlab_issue() -> None:
    told = json.loads(written("gitlab", report(*everything(), source=SOURCE)))
    own = [one for one in told if one["check_name"] == "missing-zero-grad"]
    assert [one["severity"] for one in own] == ["critical", "major", "info"]
    assert own[0]["description"] == "missing-zero-grad: `opt` is never cleared. It hurts."
    assert own[0]["location"] == {"path": "a.py", "lines": {"begin": 3, "end": 3}}
    notebook = next(one for one in told if one["location"]["path"] == "n.ipynb")
    assert notebook["location"]["lines"]["begin"] == 1
    assert "cell 3, row 2, column 5: " in notebook["description"]


# ---------------------------------------------------------------------------------------------------------------- JUnit


@pytest.mark.parametrize("findings", kinds())
def test_junit_is_what_jenkins_takes(findings: Any) -> None:
    text = written("junit", report(*findings(), source=SOURCE))
    xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd").validate(text)


def test_junitparser_reads_it() -> None:
    text = written("junit", report(*everything(), source=SOURCE))
    suites = junitparser.JUnitXml.fromstring(text.encode())
    assert (suites.tests, suites.failures, suites.errors) == (10, 8, 2)
    assert [suite.name for suite in suites] == ["a.py", "broken.py", "locked.py", "n.ipynb", "sub dir/ü#%.py", "z.py"]
    cases = [case for suite in suites for case in suite]
    assert len({(case.classname, case.name) for case in cases}) == len(cases) == 10
    first, _, _, broken, *_ = cases
    assert (first.classname, first.name) == ("a", "missing-zero-grad 3:13")
    (failure,) = first.result
    assert isinstance(failure, junitparser.Failure)
    assert (failure.type, failure.message) == ("missing-zero-grad", "`opt` is never cleared")
    assert failure.text.splitlines() == [
        "a.py:3:13: error: `opt` is never cleared",
        "It hurts.",
        "help (unsafe): wrap it",
    ]
    assert isinstance(broken.result[0], junitparser.Error)
    assert "\\x1b\\ud800" in text, "XML has no way to write it"


def test_junit_tells_equal_cases_apart() -> None:
    twice = [finding(), replace(finding(), message="other")]
    suites = junitparser.JUnitXml.fromstring(written("junit", report(*twice)).encode())
    assert len({case.name for suite in suites for case in suite}) == 2


def test_junit_of_nothing_passes() -> None:
    suites = junitparser.JUnitXml.fromstring(written("junit", report()).encode())
    assert (suites.tests, suites.failures, suites.errors) == (1, 0, 0)
    ((case,),) = suites
    assert case.is_passed


# ------------------------------------------------------------------------------------------------------------ reviewdog


@pytest.mark.parametrize("findings", kinds())
def test_rdjson_is_what_its_schema_asks_for(findings: Any) -> None:
    told = json.loads(written("rdjson", report(*findings(), source=SOURCE)))
    validator("rdjson.json").validate(told)
    assert len(told["diagnostics"]) == len(findings())


def test_rdjson_counts_bytes() -> None:
    found = report(*everything(), source=SOURCE)
    told = json.loads(written("rdjson", found))["diagnostics"]
    first = told[0]
    line = SOURCE.splitlines()[2].encode()
    start, end = first["location"]["range"]["start"], first["location"]["range"]["end"]
    assert line[start["column"] - 1 : end["column"] - 1] == b"opt.step()"
    other = told[-2]["related_locations"]
    assert other[0]["location"]["range"]["start"] == {"line": 3, "column": start["column"]}
    assert other[1]["location"]["range"]["start"] == {"line": 7}, "its bytes are unknown"


def test_rdjson_suggests_a_whole_fix() -> None:
    (suggestion,) = json.loads(written("rdjson", report(*everything(), source=SOURCE)))["diagnostics"][0]["suggestions"]
    assert suggestion == {
        "range": {"start": {"line": 3, "column": 5}, "end": {"line": 6, "column": 1}},
        "text": "with a:\n        'é日本🙂'; opt.step()\n        opt.step()\n",
    }


# ------------------------------------------------------------------------------------------------------ fixes as told


def _offset(starts: list[int], row: int, column: int) -> int:
    return starts[row - 1] + column - 1


@pytest.mark.parametrize("name", sorted(one.name for one in FIXTURES.iterdir() if (one / "bad.py").is_file()))
def test_fixes_do_what_torchlint_does(name: str) -> None:
    """What a reader of SARIF and of rdjson makes of a fix is what `--fix` makes of it, wide characters and all."""
    text = (FIXTURES / name / "bad.py").read_text(encoding="utf-8").replace("loss", "lóss日")
    source = Source("bad.py", text.encode())
    record = Worker(Plan(Config(), Selection(frozenset(registry.by_name())))).source(source)
    found = Report(Plan(Config(), Selection(frozenset())), [record])
    results = json.loads(written("sarif", found))["runs"][0]["results"]
    diagnostics = json.loads(written("rdjson", found))["diagnostics"]
    raw = text.encode()
    starts, raw_starts = line_starts(text), [len(text[:at].encode()) for at in line_starts(text)]
    for one, result, diagnostic in zip(found.findings, results, diagnostics, strict=True):
        if one.fix is None or not one.fix.edits:
            assert "fixes" not in result
            continue
        wanted, _ = fix.apply(text, [one.fix])
        mended = text
        ((change,),) = (fixed["artifactChanges"] for fixed in result["fixes"])
        for edit in reversed(change["replacements"]):
            at = edit["deletedRegion"]
            start, end = (_offset(starts, at[f"{side}Line"], at[f"{side}Column"]) for side in ("start", "end"))
            mended = mended[:start] + edit["insertedContent"]["text"] + mended[end:]
        assert mended == wanted
        (suggestion,) = diagnostic["suggestions"]
        places = (suggestion["range"][side] for side in ("start", "end"))
        start, end = (_offset(raw_starts, at["line"], at["column"]) for at in places)
        assert (raw[:start] + suggestion["text"].encode() + raw[end:]).decode() == wanted
