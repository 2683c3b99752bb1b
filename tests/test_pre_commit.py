"""The hooks under the real pre-commit: a repository of somebody's, `git commit`, and what comes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parent.parent
HOOKS = ROOT / ".pre-commit-hooks.yaml"
BAD = (ROOT / "fixtures" / "missing_zero_grad" / "bad.py").read_text(encoding="utf-8").replace("  # expect:", "  # ")
GOOD = (ROOT / "fixtures" / "missing_zero_grad" / "good.py").read_text(encoding="utf-8")
FOUND = "missing-zero-grad"


class Done(NamedTuple):
    status: int
    out: str


class Project(NamedTuple):
    """A repository in which `pre-commit install` was run."""

    folder: Path
    home: Path

    def run(self, *command: str | Path, **more: str) -> Done:
        who = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GIT_", "GITHUB_", "PRE_COMMIT"))}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**keep, **who, "PRE_COMMIT_HOME": str(self.home), "PRE_COMMIT_COLOR": "never", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def git(self, *arguments: str) -> str:
        done = self.run("git", *arguments)
        assert done.status == 0, done.out
        return done.out.strip()

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def commit(self) -> Done:
        """Stages all there is and commits it, so that the hooks run."""
        self.git("add", ".")
        return self.run("git", "commit", "-m", "work")


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this checkout as its one revision, `v0.0.1`: what `repo:` and `rev:` name."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("hooks")
    here = Project(ROOT, folder)
    for name in here.git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    there = Project(folder, folder)
    there.git("init", "--quiet")
    there.git("add", ".")
    there.git("commit", "--quiet", "--no-verify", "-m", "v0.0.1")
    there.git("tag", "v0.0.1")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit keeps the environments of hooks: made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(hooks: Path, home: Path, tmp_path: Path) -> Callable[..., Project]:
    def make(*hook: dict[str, object]) -> Project:
        made = Project(tmp_path / "project", home)
        made.folder.mkdir()
        made.git("init", "--quiet")
        entry = {"repo": str(hooks), "rev": "v0.0.1", "hooks": list(hook)}
        made.write(".pre-commit-config.yaml", yaml.safe_dump({"repos": [entry]}))
        done = made.run(sys.executable, "-m", "pre_commit", "install")
        assert done.status == 0, done.out
        return made

    return make


def test_the_manifest_is_valid(home: Path) -> None:
    done = Project(ROOT, home).run(sys.executable, "-m", "pre_commit", "validate-manifest", HOOKS)
    assert done.status == 0, done.out


def test_a_commit_is_refused_until_the_pitfall_is_gone(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint"})
    it.write("train.py", BAD)
    it.write("notes.txt", BAD)
    refused = it.commit()
    assert refused.status == 1
    assert f"train.py:33:13: {FOUND}" in refused.out
    assert "notes.txt" not in refused.out
    assert "log" not in it.git("status", "--short"), "nothing but what was staged"
    it.write("train.py", GOOD)
    assert it.commit().status == 0
    assert it.git("log", "--oneline", "--name-only").splitlines()[1:] == [
        *(".pre-commit-config.yaml", "notes.txt", "train.py"),
    ], "the cache is no part of the commit"


def test_the_second_run_is_told_from_the_cache(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint", "args": ["--verbose"]})
    it.write("train.py", BAD)
    first, second = it.commit(), it.commit()
    assert (first.status, second.status) == (1, 1)
    assert "1 files in" in first.out
    assert "from the cache" not in first.out.replace("0 of them from the cache", "")
    assert "1 of them from the cache" in second.out
    assert [line for line in second.out.splitlines() if FOUND in line] == [
        line for line in first.out.splitlines() if FOUND in line
    ]


def test_fix_mode_mends_the_file_and_leaves_the_commit_to_you(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint-fix"})
    file = it.write("train.py", BAD)
    refused = it.commit()
    assert refused.status == 1
    assert "files were modified by this hook" in refused.out
    assert "optimizer.zero_grad()" in file.read_text(encoding="utf-8")
    assert it.commit().status == 0


def test_a_staged_notebook_is_linted_and_mended_in_its_cell(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint"}, {"id": "torchlint-fix", "stages": ["manual"]})
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# Training"},
        {"cell_type": "code", "metadata": {}, "source": "%matplotlib inline", "outputs": [], "execution_count": 1},
        {"cell_type": "code", "metadata": {}, "source": BAD, "outputs": [{"text": "kept"}], "execution_count": 2},
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    file = it.write("notebooks/train.ipynb", json.dumps(notebook, indent=1) + "\n")
    refused = it.commit()
    assert refused.status == 1
    assert f"train.ipynb:cell 3:33:13: {FOUND}" in refused.out
    fix = ("-m", "pre_commit", "run", "torchlint-fix", "--hook-stage", "manual", "--all-files")
    assert it.run(sys.executable, *fix).status == 1
    mended = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert "optimizer.zero_grad()" in "".join(mended[2].pop("source"))
    assert mended == [*cells[:2], {k: v for k, v in cells[2].items() if k != "source"}], "all else is as it was"
    assert it.commit().status == 0


def test_what_is_not_staged_is_left_alone(project: Callable[..., Project]) -> None:
    """pre-commit puts unstaged changes aside: neither are they linted, nor does a fix touch them."""
    it = project({"id": "torchlint-fix"})
    file = it.write("train.py", GOOD)
    other = it.write("other.py", BAD)
    it.git("add", "train.py", ".pre-commit-config.yaml")
    file.write_text(BAD, encoding="utf-8")
    done = it.run("git", "commit", "-m", "the good one")
    assert done.status == 0, done.out
    assert (file.read_text(encoding="utf-8"), other.read_text(encoding="utf-8")) == (BAD, BAD)


def test_a_file_that_is_excluded_is_so_when_pre_commit_names_it(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint"})
    it.write("pyproject.toml", '[tool.torchlint]\nextend-exclude = ["third_party"]\n')
    it.write("third_party/train.py", BAD)
    assert it.commit().status == 0
    it.write("mine.py", BAD)
    refused = it.commit()
    assert refused.status == 1
    assert "third_party" not in refused.out


def test_args_replace_nothing_of_the_hook(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint-fix", "args": ["--ignore", FOUND, "--output-format", "concise"]})
    file = it.write("a folder/train it.py", BAD + "\n\nmodel = nn.Linear(1, 1)\ntorch.save(model, 'model.pt')\n")
    refused = it.commit()
    assert refused.status == 1
    assert re.search(r"^a folder/train it\.py:\d+:\d+: whole-model-save", refused.out, re.MULTILINE)
    assert FOUND not in refused.out
    assert file.read_text(encoding="utf-8").startswith(BAD), "nothing was mended"


def test_wrong_settings_refuse_the_commit(project: Callable[..., Project]) -> None:
    it = project({"id": "torchlint", "args": ["--select", "no-such-rule"]})
    it.write("train.py", GOOD)
    refused = it.commit()
    assert refused.status == 1
    assert "no-such-rule" in refused.out
