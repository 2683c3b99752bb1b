"""Rules are found, read and held to what a rule owes."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import pytest
import toys

from torchlint import registry
from torchlint.diagnostic import Group
from torchlint.rule import HEADINGS, Rule

PAGE = "Finds it.\n\n" + "\n".join(f"## {heading}\n{heading} text" for heading in HEADINGS)


def module(name: str = "toy_rule", **parts: Any) -> ModuleType:
    made = ModuleType(f"torchlint.rules.{name}", parts.pop("doc", PAGE))
    for part, value in {"group": Group.CORRECTNESS, "check": lambda facts: (), "words": [{"a"}], **parts}.items():
        setattr(made, part, value)
    return made


def test_the_file_s_name_is_the_rule_s() -> None:
    rule = registry.read(module("whole_model_save", fixable="safe", since="2.0", words=[{"save"}, ["a", "b"]]))
    assert rule.name == "whole-model-save"
    assert rule.page.summary == "Finds it."
    assert rule.page.sections["Proof"] == "Proof text"
    assert rule.words == (frozenset({"save"}), frozenset({"a", "b"}))
    assert (rule.fixable, rule.since, rule.until, rule.preview, rule.probe) == ("safe", "2.0", "", False, None)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"doc": "Finds it."}, "rule toy-rule: its docstring lacks What it finds"),
        ({"doc": None}, "rule toy-rule: its docstring lacks"),
        ({"group": "correctness"}, "rule toy-rule: set `group` to one of Group.CORRECTNESS"),
        ({"check": None}, "rule toy-rule: define `check"),
        ({"probe": 1}, "rule toy-rule: `probe` must be a function"),
        ({"fixable": "maybe"}, "rule toy-rule: `fixable` must be one of"),
        ({"words": "backward"}, "rule toy-rule: `words` is a list of sets"),
        ({"words": ["backward"]}, "rule toy-rule: `words` is a list of sets"),
        ({"words": [set()]}, "rule toy-rule: an empty set in `words`"),
    ],
)
def test_what_is_no_rule_is_refused_by_name(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(registry.RuleError) as caught:
        registry.read(module(**parts))
    assert message in str(caught.value)


def test_lapses_are_told() -> None:
    rule = toys.rule("toy-alarm", words=())
    page = dataclasses.replace(rule.page, summary="TODO", sections={**rule.page.sections, "Proof": "TODO"})
    assert registry.lapses(dataclasses.replace(rule, page=page)) == [
        "the section 'Proof' is unwritten",
        "the first line of the docstring is unwritten",
        "`words` is empty, so every file would be parsed for it",
        "it has no `probe`, so nothing proves it",
    ]


@pytest.mark.parametrize("rule", registry.load(), ids=lambda rule: rule.name)
def test_every_rule_is_complete(rule: Rule) -> None:
    assert registry.lapses(rule) == []


def test_the_rules_of_the_mission_are_there() -> None:
    assert set(registry.by_name()) >= {
        "missing-zero-grad",
        "parameter-replaced-after-optimizer",
        "missing-super-init",
        "attribute-before-super-init",
        "inference-without-eval",
        "inference-without-no-grad",
        "train-mode-not-restored",
        "device-mismatch",
        "tensor-without-device",
        "tensor-move-discarded",
        "whole-model-save",
    }


@pytest.mark.parametrize(
    ("written", "clause"),
    [
        ("toy_alarm", "; did you mean `toy-alarm`?"),
        ("Toy Alarm", "; did you mean `toy-alarm`?"),
        ("toy-alrm", "; did you mean `toy-alarm`?"),
        ("x", ""),
    ],
)
def test_nearest(written: str, clause: str) -> None:
    assert registry.nearest(written, ["toy-alarm", "toy-blaze"]) == clause
