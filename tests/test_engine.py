"""One file: what is parsed, what is found, and what a bad file or a bad rule does."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator

import pytest
import toys

from torchlint import engine, syntax
from torchlint.diagnostic import Diagnostic, Safety, Span
from torchlint.rule import Facts, Finding
from torchlint.source import Source

ALARM, BLAZE, *_ = toys.RULES


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    toys.install(monkeypatch)


def analyse(text: str | bytes, *rules: object) -> list[Diagnostic]:
    data = text.encode() if isinstance(text, str) else text
    return engine.analyse(Source("a.py", data), list(rules) or list(toys.RULES))  # type: ignore[arg-type]


def test_a_finding_carries_its_place_its_second_place_and_its_fix() -> None:
    (found,) = analyse("opened()\nx = [\n    alarm(),\n]\n")
    assert (found.code, found.message, found.consequence) == (
        "toy-alarm",
        "`alarm` is called",
        "Somebody wakes up.",
    )
    assert found.span == Span(3, 5, 3, 12)
    assert [(r.message, r.span) for r in found.related] == [("opened here", Span(1, 1, 1, 9))]
    assert found.fix is not None
    assert found.fix.safety is Safety.SAFE
    assert [(e.span, e.content) for e in found.fix.edits] == [(Span(3, 5, 3, 12), "calm()")]
    assert (found.statement_row, found.statement_end_row) == (2, 4)


def test_the_rows_of_a_compound_statement_are_those_of_its_header() -> None:
    (found,) = analyse("if (\n    alarm()\n):  # why\n\n    # a remark\n    x = 1\n    y = 2\n")
    assert (found.statement_row, found.statement_end_row) == (1, 3)


def test_findings_are_sorted_and_told_once() -> None:
    twice = dataclasses.replace(ALARM, check=lambda facts: [*ALARM.check(facts), *ALARM.check(facts)])
    found = analyse("blaze(); alarm()\nalarm()\n", twice, BLAZE)
    assert [(d.span.row, d.span.column, d.code) for d in found] == [
        (1, 1, "toy-blaze"),
        (1, 10, "toy-alarm"),
        (2, 1, "toy-alarm"),
    ]


def test_a_file_without_a_rule_s_words_is_not_parsed() -> None:
    source = Source("a.py", b"x = 1\n")
    assert engine.analyse(source, [ALARM]) == []
    assert source._tree is None
    source = Source("a.py", b"alarm\n")
    assert engine.analyse(source, [ALARM]) == []
    assert source._tree is not None


def test_every_set_of_words_must_be_met() -> None:
    rule = dataclasses.replace(ALARM, words=(frozenset({"alarm", "siren"}), frozenset({"bell"})))
    assert engine.applicable([rule, BLAZE], b"siren bell") == [rule]
    assert engine.applicable([rule, BLAZE], b"siren alarm") == []
    assert engine.applicable([rule, BLAZE], b"bell blaze") == [BLAZE]


@pytest.mark.parametrize("text", ["x = (\n", "alarm(\n"], ids=["unwanted", "wanted"])
def test_a_broken_file_is_a_finding_whether_or_not_a_rule_wants_it(text: str) -> None:
    (found,) = analyse(text)
    assert (found.code, found.group, found.filename) == ("syntax-error", "error", "a.py")


def test_a_syntax_error_stands_at_its_place() -> None:
    (found,) = analyse("x = 1\nalarm(); é = = 2\n")
    assert (found.code, found.message) == ("syntax-error", "invalid syntax")
    assert (found.span.row, found.span.column) == (2, 14)


def test_newer_syntax_than_this_python_s_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def old_python(*_: object, **__: object) -> None:
        raise SyntaxError("invalid syntax")

    monkeypatch.setattr(syntax, "compile", old_python, raising=False)
    assert analyse("x = 1\n") == []


@pytest.mark.parametrize(
    ("data", "row", "part"),
    [
        (b"x = 1\ny = '\xff'\n", 2, "not valid utf-8"),
        (b"# -*- coding: klingon -*-\n", 1, "klingon"),
        (b"x = 1\n\0\n", 2, "NUL"),
    ],
)
def test_bytes_that_are_no_text_are_a_finding(data: bytes, row: int, part: str) -> None:
    (found,) = analyse(data)
    assert (found.code, found.span.row) == ("io-error", row)
    assert part in found.message


def test_an_invalid_escape_is_not_our_business(recwarn: pytest.WarningsRecorder) -> None:
    assert analyse("x = '\\d'\n") == []
    assert not recwarn.list


def test_a_crashing_rule_is_one_finding_and_the_others_go_on() -> None:
    def crash(facts: Facts) -> Iterator[Finding]:
        yield from BLAZE.check(facts)
        raise KeyError("lost")

    found = analyse("alarm()\nblaze()\n", ALARM, dataclasses.replace(BLAZE, check=crash))
    assert [d.code for d in found] == ["internal-error", "toy-alarm", "toy-blaze"]
    assert "rule toy-blaze crashed: KeyError: 'lost' at test_engine.py:" in found[0].message


def test_a_crash_of_the_analysis_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(source: Source) -> object:
        raise ValueError("what now")

    monkeypatch.setattr(engine, "_facts", crash)
    (found,) = analyse("alarm()\nblaze()\n")
    assert found.code == "internal-error"
    assert "the analysis crashed: ValueError: what now" in found.message


def test_a_crash_of_a_fix_leaves_the_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(source: Source, finding: Finding) -> None:
        raise TypeError("no such edit")

    monkeypatch.setattr(engine, "_remedy", crash)
    found = analyse("alarm()\n")
    assert [(d.code, d.fix) for d in found] == [("internal-error", None), ("toy-alarm", None)]
    assert "the fix of rule toy-alarm crashed" in found[0].message


NESTED = {
    "brackets": "alarm()\nx = " + "[" * 5000 + "]" * 5000 + "\n",
    "calls": "alarm()\nx = " + "f(" * 5000 + ")" * 5000 + "\n",
    "lambdas": "alarm()\nx = " + "lambda: " * 9000 + "1\n",
    "sums over many rows": "alarm()\nx = (\n" + "  a +\n" * 15000 + "  a)\n",
}


@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED)
def test_deep_nesting_ends_neither_the_process_nor_in_a_traceback(text: str) -> None:
    (found,) = analyse(text)
    assert (found.code, found.message) == ("syntax-error", "is nested too deeply to be parsed")


def test_what_python_still_takes_is_analysed_however_long() -> None:
    # libcst needs a frame for every `and`, and 3.12 allows C about 700 of them, whatever the limit is set to
    count = 500 if sys.version_info[:2] == (3, 12) else 3000
    (found,) = analyse("alarm()\nx = (" + "a and " * count + "a)\n")
    assert found.code == "toy-alarm"


def test_what_libcst_s_own_stack_could_not_hold_does_not_end_the_process() -> None:
    (found,) = analyse("alarm()\nx = (" + "a and " * 9000 + "a)\n")
    # From 3.12 on Python bounds recursion through C, whatever the limit is set to.
    assert (found.code, found.message) in [
        ("toy-alarm", "`alarm` is called"),
        ("internal-error", "is nested too deeply to be analysed"),
    ]


def test_recursion_in_the_analysis_gets_a_second_try_with_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(node: ast.AST, level: int) -> int:
        return level if level > 3000 else deep(node, level + 1)

    def facts(source: Source) -> object:
        deep(ast.Pass(), 0)
        return toys.facts(source)

    monkeypatch.setattr(engine, "_facts", facts)
    assert [d.code for d in analyse("alarm()\n")] == ["toy-alarm"]


def test_endless_recursion_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(source: Source) -> object:
        return forever(source)

    monkeypatch.setattr(engine, "_facts", forever)
    (found,) = analyse("alarm()\n")
    assert (found.code, found.message) == ("internal-error", "is nested too deeply to be analysed")
