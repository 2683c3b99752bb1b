"""A rule's page is complete, its example is real Python that the rule itself judges rightly, and `explain` shows it."""

from __future__ import annotations

import ast
import json
import re

import pytest
from click.testing import CliRunner

from torchlint import engine, registry
from torchlint.cli import torchlint
from torchlint.rule import HEADINGS, Page, Rule
from torchlint.source import Source

RULES = registry.load()
EACH = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def blocks(rule: Rule) -> list[tuple[str, str]]:
    """The code of the example, each piece with the word above it: "Wrong" or "Right"."""
    found = re.findall(r"(Wrong|Right)[^\n`]*:\n\n```python\n(.*?)```", rule.page.sections["Example"], re.DOTALL)
    return [(word, code) for word, code in found]


# Of torch, and of the frameworks that some rules are about.
DOCUMENTATION = r"docs\.pytorch\.org|huggingface\.co/docs|lightning\.ai/docs"


def codes(program: str) -> set[str]:
    return {one.code for one in engine.analyse(Source("example.py", program.encode()), RULES)}


@EACH
def test_page_is_written(rule: Rule) -> None:
    owed = [one for one in registry.lapses(rule) if "unwritten" in one]
    assert not owed
    assert list(rule.page.sections) == list(HEADINGS), "the sections, all of them, in this order and no others"
    for heading in HEADINGS:
        assert len(rule.page.sections[heading]) > 40, heading


@EACH
def test_summary_is_one_sentence(rule: Rule) -> None:
    summary = rule.page.summary
    assert summary.endswith(".")
    assert summary.count(". ") == 0
    assert len(summary) <= 120


@EACH
def test_example_shows_wrong_and_right(rule: Rule) -> None:
    assert [word for word, _ in blocks(rule)] == ["Wrong", "Right"]
    assert rule.page.sections["Example"].count("```") == 4, "code that the tests do not see"
    for _, code in blocks(rule):
        ast.parse(code)
        assert len(code.splitlines()) <= 20, "the example is short; fixtures are the place for programs"


@EACH
def test_rule_judges_its_own_example(rule: Rule) -> None:
    for word, code in blocks(rule):
        assert codes(code) == ({rule.name} if word == "Wrong" else set()), f"{word}:\n{code}"


@EACH
def test_references_lead_to_the_documentation(rule: Rule) -> None:
    lines = rule.page.sections["References"].splitlines()
    for line in lines:
        assert re.fullmatch(rf"- [^:]+(: [^:]+)?: https://({DOCUMENTATION})/\S+", line), line
    assert len(set(lines)) == len(lines)


@EACH
def test_page_says_how_safe_the_fix_is(rule: Rule) -> None:
    text = rule.page.sections["Fix and its safety"].lower()
    match rule.fixable:
        case "":
            assert "no fix" in text
        case "safe":
            assert re.search(r"\bsafe\b", text)
        case "unsafe":
            assert re.search(r"\bunsafe\b", text)
        case _:
            assert re.search(r"\bno fix\b|\bnot offered\b", text), "says when there is none"


@EACH
@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_explain_shows_the_page(rule: Rule, output_format: str) -> None:
    result = CliRunner().invoke(torchlint, ["explain", rule.name, "--output-format", output_format])
    assert result.exit_code == 0, result.output
    assert rule.page.summary in result.output
    for heading in HEADINGS:
        assert f"## {heading}" in result.output
        assert rule.page.sections[heading] in result.output


def test_explain_as_json_holds_all_pages() -> None:
    result = CliRunner().invoke(torchlint, ["explain", *(rule.name for rule in RULES), "--output-format", "json"])
    assert result.exit_code == 0, result.output
    pages = json.loads(result.output)
    assert [page["name"] for page in pages] == [rule.name for rule in RULES]
    assert all(list(page["sections"]) == list(HEADINGS) for page in pages)


def test_explain_knows_what_was_meant() -> None:
    result = CliRunner().invoke(torchlint, ["explain", "missing_zero_grad"])
    assert result.exit_code == 2
    assert "missing-zero-grad" in result.output


def test_page_that_lacks_a_section_is_refused() -> None:
    page = "Finds something.\n\n" + "\n".join(f"## {heading}\nText.\n" for heading in HEADINGS if heading != "Proof")
    with pytest.raises(ValueError, match="rule some-rule: its docstring lacks Proof"):
        Page.read(page, "some-rule")


def test_page_with_an_empty_section_is_refused() -> None:
    page = "Finds something.\n\n" + "\n".join(
        f"## {heading}\n{'' if heading == 'Example' else 'Text.'}\n" for heading in HEADINGS
    )
    with pytest.raises(ValueError, match="lacks Example"):
        Page.read(page, "some-rule")


def test_the_list_shows_the_recorded_proof() -> None:
    rows = CliRunner().invoke(torchlint, ["rules"]).stdout.splitlines()
    (row,) = (row for row in rows if row.startswith("missing-zero-grad "))
    assert "confirmed: 2, healthy 1 (torch 2." in row
    (entry,) = (
        one
        for one in json.loads(CliRunner().invoke(torchlint, ["rules", "--output-format", "json"]).stdout)
        if one["name"] == "missing-zero-grad"
    )
    assert entry["proof"]["bad"] == [2, 2]
    page = CliRunner().invoke(torchlint, ["explain", "missing-zero-grad"]).stdout
    assert "*confirmed: steps' gradients in .grad: 2, healthy 1; torch 2." in page
