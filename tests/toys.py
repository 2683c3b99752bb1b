"""Toy rules, so that the house can be tested without the semantic layer: each flags the calls of one function.

`alarm()` is flagged by the rule `toy-alarm`, and so on. A fix, where a rule has one, puts `calm` in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import libcst as cst
import pytest

from torchlint import engine, registry
from torchlint.diagnostic import Group, Safety
from torchlint.facts import Site
from torchlint.rule import HEADINGS, Facts, Finding, Fix, Page, Replace, Rule
from torchlint.source import Source


@dataclass
class Calls:
    """The calls of plain names in a file."""

    source: Source
    sites: list[tuple[str, Site]] = field(default_factory=list)
    others: tuple[Source, ...] = ()


def facts(source: Source) -> Any:
    found = Calls(source)

    def visit(node: cst.CSTNode, statement: Any, suite: Any) -> None:
        if isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
            statement = node
        if isinstance(node, cst.IndentedBlock):
            suite = node
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name):
            found.sites.append((node.func.value, Site(node, statement, suite)))
        for child in node.children:
            visit(child, statement, suite)

    visit(source.tree, None, None)
    return found


def rule(name: str, group: Group = Group.CORRECTNESS, fix: Safety | None = None, **more: Any) -> Rule:
    """The rule that flags calls of the last word of its name."""
    function = name.rpartition("-")[2]

    def check(found: Facts) -> Iterator[Finding]:
        calls: Calls = found  # type: ignore[assignment]
        for called, site in calls.sites:
            if called == function:
                mend = Fix("stay calm", fix, (Replace(site, "calm()"),)) if fix else None
                others = tuple(("opened here", s) for c, s in calls.sites if c == "opened")
                yield Finding(site, f"`{function}` is called", "Somebody wakes up.", others, mend)

    page = Page(f"Flags `{function}()`.", {heading: f"{heading}: text" for heading in HEADINGS})
    settings: dict[str, Any] = {"words": (frozenset({function}),), "check": check, "probe": None, "fixable": ""}
    return Rule(name=name, group=group, page=page, **{**settings, **more})


RULES = (
    rule("toy-alarm", fix=Safety.SAFE),
    rule("toy-blaze", fix=Safety.UNSAFE, group=Group.SUSPICIOUS),
    rule("toy-crumb", group=Group.PEDANTIC),
    rule("toy-draft", group=Group.PORTABILITY, preview=True),
    rule("toy-elder", group=Group.MIGRATION, since="2.0", until="2.4"),
)


def install(monkeypatch: pytest.MonkeyPatch, rules: tuple[Rule, ...] = RULES) -> None:
    """Makes these all the rules there are."""
    monkeypatch.setattr(registry, "load", lambda: rules)
    monkeypatch.setattr(engine, "_facts", facts)
