"""Which rules run, how loud each is, and where each is quiet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torchlint import builtin, files
from torchlint.config import Config, ConfigError
from torchlint.diagnostic import Diagnostic, Group, Severity
from torchlint.files import Excluded
from torchlint.rule import Rule

ALL = "ALL"


def selectors(rules: Iterable[Rule]) -> list[str]:
    """Everything that may stand in `select`: rules, groups, the checks of suppression comments, and ALL."""
    groups = [group.value for group in Group]
    return [*(rule.name for rule in rules), *groups, builtin.SUPPRESSION, *builtin.SUPPRESSION_CODES, ALL]


@dataclass(slots=True, frozen=True)
class Selection:
    """What a run looks for. `codes` are names of rules and of `builtin.SUPPRESSION_CODES`."""

    codes: frozenset[str]
    severity: Mapping[str, Severity] = field(default_factory=dict)
    quiet: Sequence[tuple[str, frozenset[str]]] = ()  # pattern of files, and the codes not reported there
    not_in_tests: frozenset[str] = frozenset()  # codes not reported in test files
    notices: tuple[str, ...] = ()


def resolve(config: Config, rules: Sequence[Rule]) -> Selection:
    """The selection that `config` asks for among `rules`.

    The nearer a selector is to one rule, the more it weighs: a name over a group, a group over ALL. Of two equally
    near, the one that ignores wins.
    """
    groups = {rule.name: rule.group.value for rule in rules} | dict.fromkeys(
        builtin.SUPPRESSION_CODES, builtin.SUPPRESSION
    )
    default = set() if config.select else {*(g.value for g in Group if g.default), builtin.SUPPRESSION}
    selected = {*config.select, *config.extend_select}
    ignored = set(config.ignore)

    def chosen(code: str) -> bool:
        for selector in (code, groups[code], ALL):
            if selector in ignored:
                return False
            if selector in selected:
                return True
        return groups[code] in default

    codes = {code for code in groups if chosen(code)}
    notices = []
    for rule in rules:
        if rule.name in codes and rule.preview and not config.preview:
            codes.discard(rule.name)
            if rule.name in selected:
                notices.append(f"{rule.name} is in preview and does not run; add --preview")
        if rule.name in codes and not applies(rule.since, rule.until, config.target_torch):
            codes.discard(rule.name)
            if rule.name in selected:
                version = config.target_torch or "of today (set target-torch for an older one)"
                notices.append(f"{rule.name} does not apply to torch {version} and does not run")

    severity: dict[str, Severity] = {}
    for code in sorted(codes):
        level = config.severity.get(code) or config.severity.get(groups[code]) or config.severity.get(ALL)
        if level == "off":
            codes.discard(code)
        elif level is not None:
            severity[code] = Severity(level)

    quiet = [(pattern, _expand(names, groups)) for pattern, names in config.per_file_ignores.items()]
    not_in_tests: frozenset[str] = frozenset()
    if config.profile != "strict":
        calm = {group.value for group in Group if not group.in_tests}
        # What was asked for by name, of the rule or its group, is wanted everywhere.
        not_in_tests = frozenset(
            code for code in codes if groups[code] in calm and selected.isdisjoint((code, groups[code], ALL))
        )
    return Selection(frozenset(codes), severity, tuple(quiet), not_in_tests, tuple(notices))


def calms(config: Config, path: str) -> list[str]:
    """The groups that are on by default and off in this file, which holds tests."""
    if config.profile == "strict" or not files.is_test(path, config.root):
        return []
    return [group.value for group in Group if group.default and not group.in_tests]


def _expand(names: Iterable[str], groups: Mapping[str, str]) -> frozenset[str]:
    names = set(names)
    return frozenset(code for code, group in groups.items() if names & {code, group, ALL})


def applies(since: str, until: str, target: str) -> bool:
    """Whether what holds from torch `since` to `until` (empty: without a bound) holds for the version `target`.

    Where no target is set the code is for the torch of today: what ended with an older one is past.
    """
    if not target:
        return not until
    version = _numbers(target)
    if since and version < _numbers(since):
        return False
    return not until or version[: len(_numbers(until))] <= _numbers(until)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".") if part.isdigit())


class PerFile:
    """Which of the selected codes are reported for a file: `per-file-ignores` and `profile`, applied."""

    def __init__(self, selection: Selection, config: Config) -> None:
        self.selection = selection
        self.config = config
        try:
            self.patterns = [(Excluded(config.root, [pattern]), codes) for pattern, codes in selection.quiet]
        except ConfigError as error:
            raise ConfigError(str(error).replace("exclude:", "per-file-ignores:", 1)) from error

    def codes(self, filename: str) -> frozenset[str]:
        """The codes reported for this file."""
        codes = self.selection.codes
        for patterns, ignored in self.patterns:
            if codes & ignored and patterns.above(filename) is not None:
                codes -= ignored
        if codes & self.selection.not_in_tests and files.is_test(filename, self.config.root):
            codes -= self.selection.not_in_tests
        return codes

    def loudness(self, found: Diagnostic) -> Diagnostic:
        """`found` with the severity that the configuration gives it."""
        severity = self.selection.severity.get(found.code)
        return found if severity is None else replace(found, severity=severity)
