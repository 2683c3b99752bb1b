"""The GitHub action: valid, safe against what its inputs may hold, and its shell does what it says, run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
BAD = (ROOT / "fixtures" / "missing_zero_grad" / "bad.py").read_text(encoding="utf-8")
GOOD = (ROOT / "fixtures" / "missing_zero_grad" / "good.py").read_text(encoding="utf-8")
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def valid(schema: str, file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(file)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_is_valid(tmp_path: Path) -> None:
    valid("github-actions", ROOT / "action.yml")
    broken = tmp_path / "action.yml"
    broken.write_text((ROOT / "action.yml").read_text(encoding="utf-8").replace("using: composite", "using: bash"))
    with pytest.raises(AssertionError):
        valid("github-actions", broken)


@pytest.mark.parametrize("file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.name)
def test_workflows_are_valid(file: Path) -> None:
    valid("github-workflows", file)


def test_what_users_give_is_never_text_of_a_script() -> None:
    for step in STEPS:
        assert "${{" not in step.get("run", "")
        assert step.get("shell", "bash") == "bash"


def test_every_input_is_used_and_every_used_one_is_declared() -> None:
    text = json.dumps(ACTION["runs"])
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert all(one.get("description") for one in [*ACTION["inputs"].values(), *ACTION["outputs"].values()])
    for output in ACTION["outputs"].values():
        (step, name) = re.findall(r"steps\.(\w+)\.outputs\.([\w-]+)", output["value"])[0]
        assert any(one.get("id") == step and f"{name}=" in one["run"] for one in STEPS)


def test_its_scripts_are_clean(tmp_path: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    for at, step in enumerate(one for one in STEPS if "run" in one):
        script = tmp_path / f"{at}.sh"
        script.write_text("#!/usr/bin/env bash\n" + step["run"], encoding="utf-8")
        done = subprocess.run([shellcheck, script], capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stdout


# --------------------------------------------------------------------------------------------------------- a real run


def clean(environment: dict[str, str]) -> dict[str, str]:
    """An environment without what pytest, git or a surrounding workflow would bring in."""
    return {k: v for k, v in environment.items() if not k.startswith(("PYTHON", "GIT_", "GITHUB_", "RUNNER_"))}


@dataclass
class Runner:
    """As much of GitHub's runner as a composite action needs: contexts, files for outputs, steps in order."""

    temp: Path
    workspace: Path
    event: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def value(self, text: str, inputs: dict[str, str]) -> str:
        def look_up(match: re.Match[str]) -> str:
            known: Any = {
                "inputs": inputs,
                "steps": {step: {"outputs": given} for step, given in self.outputs.items()},
                "github": {"action_path": str(ROOT), "event": self.event},
            }
            for name in match[1].split("."):
                known = known.get(name) if isinstance(known, dict) else None
            return "" if known is None else str(known)

        return EXPRESSION.sub(look_up, text)

    def step(self, step: dict[str, Any], inputs: dict[str, str]) -> int:
        """Runs one step as `shell: bash` is run, and reads what it put out."""
        file = self.temp / "output"
        file.write_text("")
        script = self.temp / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        environment = clean(dict(os.environ)) | {
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(file),
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
            **{name: self.value(text, inputs) for name, text in step.get("env", {}).items()},
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.workspace / self.value(step.get("working-directory", ""), inputs),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        self.log += done.stdout
        if "id" in step:
            lines = file.read_text(encoding="utf-8").splitlines()
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in lines)
        return done.returncode

    def run(self, **given: str) -> int:
        """All steps but the installation and the upload; the exit status is that of the job."""
        names = {name.replace("_", "-"): text for name, text in given.items()}
        assert names.keys() <= ACTION["inputs"].keys()
        inputs = {name: str(one["default"]) for name, one in ACTION["inputs"].items()} | names
        self.log = ""
        for step in STEPS[1:]:
            if "run" in step and (status := self.step(step, inputs)):
                return status
        return 0

    @property
    def said(self) -> dict[str, str]:
        return self.outputs["lint"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A runner on which the first step has installed torchlint, from the action's own folder."""
    temp = tmp_path_factory.mktemp("runner")
    runner = Runner(temp, temp)
    inputs = {name: str(one["default"]) for name, one in ACTION["inputs"].items()}
    assert runner.step(STEPS[0], inputs) == 0, runner.log
    assert "torchlint, version" in runner.log
    return runner


@pytest.fixture
def runner(installed: Runner, tmp_path: Path) -> Runner:
    (tmp_path / "temp").mkdir()
    workspace = tmp_path / "work"
    workspace.mkdir()
    (workspace / "pyproject.toml").write_text("")
    return Runner(tmp_path / "temp", workspace, outputs={"install": installed.outputs["install"]})


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=clean(dict(os.environ)) | who,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.packaging
def test_a_finding_is_an_annotation_and_fails_the_job(runner: Runner) -> None:
    (runner.workspace / "src").mkdir()
    (runner.workspace / "src" / "train.py").write_text(BAD)
    assert runner.run() == 1
    assert re.search(r"^::error title=torchlint \(missing-zero-grad\),file=src/train\.py,line=33,", runner.log, re.M)
    assert runner.said == {"findings": "1", "exit-code": "1"}
    (runner.workspace / "src" / "train.py").write_text(GOOD)
    assert runner.run() == 0
    assert runner.said == {"findings": "0", "exit-code": "0"}


@pytest.mark.packaging
def test_sarif_is_written_where_it_is_asked_for(runner: Runner) -> None:
    (runner.workspace / "train.py").write_text(BAD)
    assert runner.run(sarif_file="out put.sarif") == 1
    file = runner.workspace / "out put.sarif"
    assert runner.said["sarif-file"] == str(file)
    (one,) = json.loads(file.read_text())["runs"]
    assert [result["ruleId"] for result in one["results"]] == ["missing-zero-grad"]
    assert "::error title=torchlint (missing-zero-grad)" in runner.log


@pytest.mark.packaging
def test_an_upload_has_its_file_also_when_nothing_is_found(runner: Runner) -> None:
    (runner.workspace / "train.py").write_text(GOOD)
    assert runner.run(upload="true") == 0
    assert json.loads(Path(runner.said["sarif-file"]).read_text())["runs"][0]["results"] == []
    upload = next(step for step in STEPS if "uses" in step)
    assert upload["if"] == "inputs.upload == 'true' && steps.lint.outputs.sarif-file != ''"
    assert STEPS.index(upload) < len(STEPS) - 1, "what fails the job comes after it"
    assert runner.value(upload["with"]["sarif_file"], {}) == runner.said["sarif-file"]


@pytest.mark.packaging
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": "--select no-such-rule"}, "no-such-rule"),
        ({"paths": "nowhere.py", "sarif_file": "x.sarif"}, "nowhere.py"),
        ({"since": "nowhere"}, "--since"),
    ],
    ids=str,
)
def test_wrong_use_is_no_success(runner: Runner, given: dict[str, str], message: str) -> None:
    (runner.workspace / "train.py").write_text(GOOD)
    assert runner.run(**given) == 2
    assert message in runner.log
    assert "::error title=torchlint::torchlint did not do all of its work" in runner.log
    assert runner.said == {"findings": "0", "exit-code": "2"}


@pytest.mark.packaging
def test_an_open_quote_is_an_error_and_not_another_run(runner: Runner) -> None:
    (runner.workspace / "train.py").write_text(BAD)
    assert runner.run(paths='"train.py') != 0
    assert "::error title=torchlint::paths: No closing quotation" in runner.log
    assert "missing-zero-grad" not in runner.log


@pytest.mark.packaging
def test_options_and_paths_reach_torchlint_as_they_are_written(runner: Runner) -> None:
    for name in ("a b.py", "c.py", "d.py", "--exit-zero"):
        (runner.workspace / name).write_text(BAD)
    assert runner.run(paths="'a b.py' c.py", args="--ignore 'whole-model-save, device-mismatch' -v") == 1
    assert runner.said["findings"] == "2"
    assert runner.run(args="--output-format json --extend-exclude d.py") == 1, "the format is the action's"
    assert runner.said["findings"] == "2"
    assert runner.run(paths="--exit-zero c.py", args="--quiet") == 1, "a file's name is no option"


@pytest.mark.packaging
@pytest.mark.parametrize("name", ["paths", "args", "since", "sarif-file", "version"])
def test_nothing_that_is_given_is_run(runner: Runner, name: str) -> None:
    inputs = {"paths": "train.py"}
    (runner.workspace / "train.py").write_text(GOOD)
    for text in ("$(touch owned)", "`touch owned`", "; touch owned", '" ; touch owned ; "', "x\ntouch owned"):
        given = {one: str(what["default"]) for one, what in ACTION["inputs"].items()} | inputs | {name: text}
        step = STEPS[0] if name == "version" else STEPS[1]
        before = dict(runner.outputs)
        runner.step(step, given)
        runner.outputs = before
        assert not (runner.workspace / "owned").exists(), text


@pytest.mark.packaging
def test_a_folder_of_its_own(runner: Runner) -> None:
    project = runner.workspace / "models"
    project.mkdir()
    (project / "pyproject.toml").write_text("[tool.torchlint]\nignore = ['missing-zero-grad']\n")
    (project / "train.py").write_text(BAD)
    assert runner.run(working_directory="models") == 0
    git(runner.workspace, "init", "--quiet")
    (project / "pyproject.toml").write_text("")
    assert runner.run(working_directory="models", sarif_file="x.sarif") == 1
    assert "file=models/train.py," in runner.log, "annotations count from the top of the repository"
    assert runner.said["sarif-file"] == str(project / "x.sarif")


@pytest.fixture
def pull_request(runner: Runner, tmp_path: Path) -> Runner:
    """A repository with one finding on main and a second one in a pull request."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")  # as GitHub has it
    for step in range(4):
        (origin / "old.py").write_text(BAD + f"# {step}\n")
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "-m", f"{step}")
    git(origin, "switch", "--quiet", "-c", "feature")
    (origin / "new.py").write_text(BAD)
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "-m", "feature")
    git(origin, "switch", "--quiet", "main")
    (origin / "other.py").write_text(BAD)
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "-m", "meanwhile, on main")
    runner.event = {"pull_request": {"base": {"sha": git(origin, "rev-parse", "main")}}}
    git(origin, "switch", "--quiet", "-c", "merge")
    git(origin, "merge", "--quiet", "--no-ff", "-m", "as refs/pull/1/merge is", "feature")
    shutil.rmtree(runner.workspace)
    return runner


@pytest.mark.packaging
@pytest.mark.parametrize("branch", ["merge", "feature"], ids=["merged-into-base", "its-own-head"])
@pytest.mark.parametrize("shallow", [True, False], ids=["shallow", "whole"])
def test_a_pull_request_is_told_of_its_own_lines_only(pull_request: Runner, branch: str, shallow: bool) -> None:
    origin = pull_request.workspace.parent / "origin"
    options = ("--quiet", "--branch", branch, *(("--depth=1",) if shallow else ()))
    git(origin.parent, "clone", *options, origin.as_uri(), str(pull_request.workspace))
    assert pull_request.run(since="base") == 1, pull_request.log
    assert re.findall(r"file=([\w.]+)", pull_request.log) == ["new.py"]
    pull_request.event = {}
    assert pull_request.run(since="base") == 1
    assert len(re.findall(r"file=([\w.]+)", pull_request.log)) == (3 if branch == "merge" else 2), (
        "all of it, on a push"
    )
