"""Which rules run, how loud, and where they are quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toys

from torchlint import builtin, selection
from torchlint.config import Config
from torchlint.diagnostic import Severity

META = set(builtin.SUPPRESSION_CODES)


def codes(**settings: Any) -> set[str]:
    return set(selection.resolve(Config(**settings), toys.RULES).codes)


def test_groups_say_what_is_on() -> None:
    assert codes() == {"toy-alarm", "toy-blaze"} | META


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"select": ("toy-crumb",)}, {"toy-crumb"}),
        ({"select": ("pedantic", "suspicious")}, {"toy-crumb", "toy-blaze"}),
        ({"select": ("ALL",)}, {"toy-alarm", "toy-blaze", "toy-crumb"} | META),
        ({"select": ("ALL",), "preview": True, "target_torch": "2.4"}, {rule.name for rule in toys.RULES} | META),
        ({"select": ("migration",)}, set()),  # for the torch of today, what ended before it is past
        ({"extend_select": ("pedantic",)}, {"toy-alarm", "toy-blaze", "toy-crumb"} | META),
        ({"ignore": ("correctness", "suppression")}, {"toy-blaze"}),
        ({"ignore": ("ALL",)}, set()),
        ({"ignore": ("unused-suppression",), "select": ("suppression",)}, META - {"unused-suppression"}),
        ({"select": ("toy-alarm",), "ignore": ("correctness",)}, {"toy-alarm"}),  # a name is nearer than a group
        ({"select": ("correctness", "suspicious"), "ignore": ("toy-alarm",)}, {"toy-blaze"}),
        ({"select": ("toy-alarm",), "ignore": ("toy-alarm",)}, set()),
        ({"select": ("correctness",), "ignore": ("ALL",)}, {"toy-alarm"}),
        ({"select": ("ALL",), "severity": {"correctness": "off", "suppression": "off"}},
         {"toy-blaze", "toy-crumb"}),
        ({"select": ("migration",), "target_torch": "2.0"}, {"toy-elder"}),
        ({"select": ("migration",), "target_torch": "2.4.1"}, {"toy-elder"}),
        ({"select": ("migration",), "target_torch": "2.5"}, set()),
        ({"select": ("migration",), "target_torch": "1.13"}, set()),
    ],
)  # fmt: skip
def test_the_nearest_selector_wins(settings: dict[str, Any], wanted: set[str]) -> None:
    assert codes(**settings) == wanted


def test_a_rule_that_was_named_and_does_not_run_is_said() -> None:
    chosen = selection.resolve(Config(select=("toy-draft", "toy-elder"), target_torch="2.6"), toys.RULES)
    assert chosen.codes == frozenset()
    assert chosen.notices == (
        "toy-draft is in preview and does not run; add --preview",
        "toy-elder does not apply to torch 2.6 and does not run",
    )


def test_a_rule_s_own_severity_goes_before_its_group_s() -> None:
    config = Config(severity={"correctness": "warning", "toy-alarm": "info", "suspicious": "error"})
    chosen = selection.resolve(config, toys.RULES)
    assert chosen.severity == {"toy-alarm": Severity.INFO, "toy-blaze": Severity.ERROR}


def test_per_file_ignores(tmp_path: Path) -> None:
    ignores = {"tests/*": ("toy-alarm",), "*_demo.py": ("ALL",), "/a.py": ("suspicious",)}
    config = Config(per_file_ignores=ignores, root=tmp_path, ignore=("suppression",), profile="strict")
    per_file = selection.PerFile(selection.resolve(config, toys.RULES), config)
    everything = {"toy-alarm", "toy-blaze"}
    assert per_file.codes(str(tmp_path / "b.py")) == everything
    assert per_file.codes(str(tmp_path / "tests" / "b.py")) == everything - {"toy-alarm"}
    assert per_file.codes(str(tmp_path / "tests" / "deep" / "b.py")) == everything - {"toy-alarm"}
    assert per_file.codes(str(tmp_path / "x" / "y_demo.py")) == set()
    assert per_file.codes(str(tmp_path / "a.py")) == everything - {"toy-blaze"}
    assert per_file.codes(str(tmp_path / "x" / "a.py")) == everything
