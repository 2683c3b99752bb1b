"""The proof of every rule: its numbers, and that a rule without proof is not confirmed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchlint import proofs, registry
from torchlint.confirm import command, proof
from torchlint.confirm.harness import Harness
from torchlint.rule import Rule

pytest.importorskip("torch")
pytestmark = pytest.mark.training

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

RECORDED = proofs.recorded()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole proof, run once."""
    file = tmp_path_factory.mktemp("proof") / "proof.json"
    status = command.confirm(device="cpu", output_format="json", output_file=file)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {**found, "status": status}


def test_every_rule_with_a_probe_is_in_the_proof(report: dict[str, Any]) -> None:
    proven = [rule.name for rule in registry.load() if rule.probe is not None]
    assert [one["code"] for one in report["rules"]] == proven
    assert sorted(RECORDED) == proven, "write the numbers down with: python3 dev.py prove"


def test_every_rule_is_confirmed(report: dict[str, Any]) -> None:
    assert {one["code"]: one["lapses"] for one in report["rules"] if one["lapses"]} == {}
    assert report["status"] == 0


@pytest.mark.parametrize("rule", sorted(RECORDED))
def test_the_numbers_are_those_that_were_recorded(report: dict[str, Any], rule: str) -> None:
    """Counts to the unit, measures that hang on the seed's noise to a factor of two."""
    proof = RECORDED[rule]
    values: dict[str, list[float]] = {"bad": [], "good": [], "fixed": []}
    for run in report["runs"]:
        if run["code"] == rule:
            values[run["program"]].append(run["value"])
    assert len(values["bad"]) == len(values["good"]) == command.SEEDS
    counted = all(value == int(value) for value in proof.bad)
    room = 1.0 if counted else 2.0
    assert all(proof.bad[0] / room <= value <= proof.bad[1] * room for value in values["bad"])
    healthy = pytest.approx(proof.good, rel=0.01, abs=1e-6) if counted else pytest.approx(proof.good, rel=0.5, abs=1e-3)
    assert values["good"] == [healthy] * command.SEEDS
    assert len(values["fixed"]) == (0 if proof.fixed is None else command.SEEDS)


def test_a_verdict_names_the_line_that_hurts(report: dict[str, Any]) -> None:
    for verdict in report["verdicts"]:
        if verdict["program"] != "fixed":
            assert Path(verdict["filename"]).parent.name == verdict["code"].replace("-", "_")
            rows = Path(verdict["filename"]).read_text(encoding="utf-8").splitlines()
            assert 1 <= verdict["location"]["row"] <= len(rows)
        assert verdict["message"]
    (bad,) = (v for v in report["verdicts"] if (v["code"], v["program"]) == ("missing-zero-grad", "bad"))
    line = Path(bad["filename"]).read_text(encoding="utf-8").splitlines()[bad["location"]["row"] - 1]
    assert "# expect: missing-zero-grad" in line


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness("cpu", processes=2) as ready:
        yield ready


# ------------------------------------------------------------------------------------------- a proof that can fail


@pytest.fixture
def fixtures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harness: Harness) -> Path:
    """A copy of two rules' programs, to be broken, and processes that are warm already."""
    monkeypatch.setattr(command, "Harness", lambda device: contextlib.nullcontext(harness))
    folder = tmp_path / "fixtures"
    for rule in ("missing_zero_grad", "whole_model_save"):
        (folder / rule).mkdir(parents=True)
        for name in ("bad.py", "good.py"):
            shutil.copy(FIXTURES / rule / name, folder / rule / name)
    monkeypatch.setattr(proof, "fixtures_folder", lambda: folder)
    return folder


def confirm(*rules: str, **options: Any) -> int:
    return command.confirm(rules or ("missing-zero-grad",), device="cpu", seeds=1, **options)


def test_unbroken_programs_are_confirmed(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert confirm() == 0
    assert "1 of 1 rule confirmed by 3 runs with 1 seed in" in capsys.readouterr().out


def test_a_bad_program_that_does_no_harm_is_not_confirmed(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(fixtures / "missing_zero_grad/good.py", fixtures / "missing_zero_grad/bad.py")
    assert confirm() == 1
    said = capsys.readouterr().out
    assert "NOT CONFIRMED" in said
    assert "torchlint finds nothing in bad.py" in said
    assert "bad, seed 0: shows no harm" in said


def test_a_good_program_that_does_harm_is_not_confirmed(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(fixtures / "missing_zero_grad/bad.py", fixtures / "missing_zero_grad/good.py")
    assert confirm() == 1
    assert "good, seed 0: shows the harm" in capsys.readouterr().out


def test_a_good_program_that_fails_is_not_confirmed(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = fixtures / "missing_zero_grad/good.py"
    good.write_text(good.read_text(encoding="utf-8") + "\nraise ValueError('out of data')\n", encoding="utf-8")
    assert confirm() == 1
    assert "good, seed 0: ended with status 1 (ValueError: out of data)" in capsys.readouterr().out


def test_a_program_that_is_never_measured_is_not_confirmed(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fixtures / "missing_zero_grad/good.py").write_text("print('nothing to train')\n", encoding="utf-8")
    assert confirm() == 1
    assert "good, seed 0: was never measured" in capsys.readouterr().out


def test_a_rule_whose_programs_need_what_is_not_installed_is_left_out(
    fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = fixtures / "missing_zero_grad/good.py"
    good.write_text(f"import absentframework.tools\n{good.read_text(encoding='utf-8')}", encoding="utf-8")
    told = (
        "torchlint: missing-zero-grad is not proven here: its programs need absentframework "
        "(pip install absentframework)"
    )
    assert confirm("missing-zero-grad", "whole-model-save") == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [told]
    assert "1 of 1 rule confirmed" in said.out
    assert confirm() == 2
    assert capsys.readouterr().err.splitlines() == [told, "torchlint: nothing is left to be proven"]


def test_a_program_that_hangs_is_not_confirmed(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = fixtures / "missing_zero_grad/good.py"
    good.write_text(good.read_text(encoding="utf-8") + "\nwhile True: pass\n", encoding="utf-8")
    assert confirm(timeout=3) == 1
    assert "good, seed 0: killed after 3 s" in capsys.readouterr().out


def test_a_blind_probe_is_not_confirmed(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = {name: replace(rule, probe=lambda trace: iter(())) for name, rule in registry.by_name().items()}
    monkeypatch.setattr(registry, "by_name", lambda: rules)
    assert confirm() == 1
    assert "bad, seed 0: was never measured" in capsys.readouterr().out


def test_a_fix_that_does_not_help_is_not_confirmed(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def useless(_: Rule, path: Path) -> tuple[str, str]:
        return "", path.read_text(encoding="utf-8") + "\n# mended\n"

    monkeypatch.setattr(proof, "mended", useless)
    assert confirm() == 1
    assert "fixed, seed 0: shows the harm" in capsys.readouterr().out


def test_a_rule_about_other_versions_of_torch_is_not_tried(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = {"missing-zero-grad": {"until": "1.4"}, "whole-model-save": {"since": "1.6"}}
    rules = {name: replace(rule, **bounds.get(name, {})) for name, rule in registry.by_name().items()}
    monkeypatch.setattr(registry, "by_name", lambda: rules)
    assert confirm("missing-zero-grad", "whole-model-save") == 0
    said = capsys.readouterr()
    assert "missing-zero-grad is about torch until 1.4; it cannot be proven with 2." in said.err
    assert "1 of 1 rule confirmed" in said.out


def test_one_rule_that_fails_does_not_hide_another(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fixtures / "missing_zero_grad/good.py").write_text("", encoding="utf-8")
    assert confirm("missing-zero-grad", "whole-model-save") == 1
    said = capsys.readouterr().out
    assert "1 of 2 rules confirmed" in said
    assert "not confirmed whole-model-save" not in said


# -------------------------------------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        (("missing-zerograd",), {}, "unknown rule 'missing-zerograd'; did you mean `missing-zero-grad`?"),
        ((), {"device": "tpu"}, "unknown device 'tpu': choose one of auto, cpu"),
        ((), {"seeds": 0}, "must be positive"),
        ((), {"timeout": 0}, "must be positive"),
        ((), {"max_steps": 0}, "must be positive"),
        ((), {"output_format": "yaml"}, "unknown format 'yaml': choose one of text, json"),
    ],
)
def test_wrong_use_is_told(
    rules: tuple[str, ...], options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.confirm(rules, **options) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""


def test_a_missing_program_is_told(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fixtures / "missing_zero_grad/good.py").unlink()
    assert confirm() == 2
    assert "good.py cannot be read" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert confirm(output_file=tmp_path / "no" / "such" / "folder.json") == 2
    assert "folder.json: No such file or directory" in capsys.readouterr().err
