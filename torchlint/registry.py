"""Finds the rules: every module in `torchlint.rules` is one, and nothing else has to name it.

`load` is strict about what a rule cannot run without; `lapses` says what a rule still owes before it may be released,
and a test holds every rule to that.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torchlint.diagnostic import Group
from torchlint.rule import HEADINGS, Page, Rule

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace
    from torchlint.rule import Facts, Finding

FIXABLE = ("", "safe", "unsafe", "sometimes")


class RuleError(Exception):
    """A rule's module is not a rule: names the module, what it lacks and how to mend it."""


@lru_cache(maxsize=1)
def load() -> tuple[Rule, ...]:
    """All rules, by name. Raises RuleError for a module that is none."""
    import torchlint.rules

    names = sorted({found.name for found in pkgutil.iter_modules(torchlint.rules.__path__)})
    return tuple(read(importlib.import_module(f"torchlint.rules.{name}")) for name in names if name[0] != "_")


def by_name() -> dict[str, Rule]:
    """All rules, keyed by name."""
    return {rule.name: rule for rule in load()}


def read(module: ModuleType) -> Rule:
    """A rule from its module.

    Raises RuleError where the module lacks a docstring with all sections, a `group` or a `check`, or where an optional
    part (`words`, `fixable`, `preview`, `since`, `until`, `probe`) is not what it should be.
    """
    name = module.__name__.rpartition(".")[2].replace("_", "-")
    try:
        page = Page.read(module.__doc__ or "", name)
    except ValueError as error:
        raise RuleError(str(error)) from error
    group = getattr(module, "group", None)
    if not isinstance(group, Group):
        raise RuleError(f"rule {name}: set `group` to one of {', '.join(f'Group.{g.name}' for g in Group)}")
    check: Callable[[Facts], Iterable[Finding]] | None = getattr(module, "check", None)
    if not callable(check):
        raise RuleError(f"rule {name}: define `check(facts)`, which yields its findings")
    probe: Callable[[Trace], Iterator[Measurement]] | None = getattr(module, "probe", None)
    if probe is not None and not callable(probe):
        raise RuleError(f"rule {name}: `probe` must be a function of a trace")
    fixable = getattr(module, "fixable", "")
    if fixable not in FIXABLE:
        raise RuleError(f"rule {name}: `fixable` must be one of {', '.join(map(repr, FIXABLE))}, not {fixable!r}")
    return Rule(
        name=name,
        group=group,
        page=page,
        words=_words(name, getattr(module, "words", ())),
        check=check,
        probe=probe,
        fixable=fixable,
        preview=bool(getattr(module, "preview", False)),
        since=str(getattr(module, "since", "")),
        until=str(getattr(module, "until", "")),
    )


def _words(name: str, words: Any) -> tuple[frozenset[str], ...]:
    """The byte filter of a rule. A bare string instead of a set would silently mean its letters."""
    if isinstance(words, str) or any(isinstance(one, str) for one in words):
        raise RuleError(f"rule {name}: `words` is a list of sets of words, such as [{{'backward'}}, {{'step'}}]")
    sets = tuple(frozenset(one) for one in words)
    if not all(sets):
        raise RuleError(f"rule {name}: an empty set in `words` would keep the rule from ever running")
    return sets


def lapses(rule: Rule) -> list[str]:
    """What `rule` still owes before it can be released; empty when it is complete."""
    owed = [f"the section '{heading}' is unwritten" for heading in HEADINGS if "TODO" in rule.page.sections[heading]]
    if "TODO" in rule.page.summary:
        owed.append("the first line of the docstring is unwritten")
    if not rule.words:
        owed.append("`words` is empty, so every file would be parsed for it")
    if rule.probe is None:
        owed.append("it has no `probe`, so nothing proves it")
    return owed


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that helps someone who wrote `name` where one of `known` belongs: `; did you mean ...?`, or nothing."""
    names = list(known)
    canonical = name.strip().lower().replace("_", "-").replace(" ", "-")
    if canonical in names:
        return f"; did you mean `{canonical}`?"
    close = get_close_matches(canonical, names, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""
