"""The cache changes how long a run takes, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchlint import cache, imports, run, selection
from torchlint.config import Config
from torchlint.registry import load
from torchlint.run import Plan

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of several files that lean on each other, and the current folder."""
    shutil.copytree(FIXTURES / "projects", tmp_path / "code")
    shutil.copytree(FIXTURES / "missing_zero_grad", tmp_path / "code" / "more")
    monkeypatch.chdir(tmp_path / "code")
    imports.forget()
    return tmp_path / "code"


def torchlint(*arguments: str) -> tuple[int, str, str]:
    """A run in a process of its own, as a user's."""
    command = [sys.executable, "-m", "torchlint", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "GITHUB_ACTIONS": ""})
    return done.returncode, done.stdout, done.stderr


def analysed(*paths: str, **settings: object) -> list[str]:
    """The files that a run had to analyse, by what it puts into the cache."""
    imports.forget()
    config = Config(**settings)  # type: ignore[arg-type]
    remembered = cache.Cache.open(Path(".torchlint_cache"))
    new: list[str] = []
    put = remembered.put

    def noting(path: str, entry: cache.Entry) -> None:
        new.append(path)
        put(path, entry)

    remembered.put = noting  # type: ignore[method-assign]
    run.run(
        paths or sorted(map(str, Path().rglob("*.py"))), Plan(config, selection.resolve(config, load())), remembered
    )
    return new


def test_cold_warm_one_process_and_two_print_the_same(project: Path) -> None:
    cold = torchlint("--output-format", "json", ".")
    assert cold[0] == 1
    assert len(json.loads(cold[1])) > 20
    for more in ((), ("-j1",), ("-j2",), ("--no-cache",), ("--no-cache", "-j2"), ("--no-cache", "-j1")):
        assert torchlint("--output-format", "json", *more, ".") == cold, more


def test_a_warm_run_does_not_import_libcst(project: Path) -> None:
    torchlint(".")
    script = (
        "import sys; from torchlint.cli import main\ntry: main()\nexcept SystemExit: print('libcst' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, "."], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_only_what_a_change_concerns_is_analysed_again(project: Path) -> None:
    assert len(analysed()) > 40
    assert analysed() == []
    helper = Path("step_in_helper/engine.py")
    text = helper.read_text()
    helper.write_text(text + "\n")
    assert analysed() == [
        "step_in_helper/engine.py",
        "step_in_helper/train.py",
        "step_in_helper/train_cleanly.py",
    ]
    os.utime(helper)  # touched and no more
    assert analysed() == []


def test_a_verdict_changes_with_the_file_it_hangs_on(project: Path) -> None:
    name = "step_in_helper/train.py"
    assert "missing-zero-grad" in torchlint("--output-format", "concise", name)[1]
    helper = Path("step_in_helper/engine.py")
    text = helper.read_text()
    helper.write_text(text.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()"))
    assert torchlint("--output-format", "concise", name)[0] == 0
    helper.write_text(text)
    assert "missing-zero-grad" in torchlint("--output-format", "concise", name)[1]


def test_a_file_that_comes_before_another_is_noticed(project: Path) -> None:
    name = "class_elsewhere/predict.py"
    assert torchlint("--output-format", "concise", name)[0] == 1
    package = Path("class_elsewhere/net")
    package.mkdir()
    (package / "__init__.py").write_text("class Net:\n    def eval(self): ...\n")
    assert torchlint("--output-format", "concise", name) == torchlint("--no-cache", "--output-format", "concise", name)


def test_one_file_named_finds_what_the_whole_tree_finds_in_it(project: Path) -> None:
    whole = json.loads(torchlint("--output-format", "json", ".")[1])
    by_file: dict[str, list[object]] = {}
    for one in whole:
        by_file.setdefault(one["filename"], []).append(one)
    shutil.rmtree(".torchlint_cache")
    for path in sorted(map(str, Path().glob("*/*.py")))[::8]:
        assert json.loads(torchlint("--output-format", "json", path)[1]) == by_file.get(path, []), path


def test_selection_is_no_part_of_the_key(project: Path) -> None:
    assert analysed(select=("whole-model-save",))
    assert analysed(select=("ALL",), preview=True) == []
    assert "whole-model-save" in torchlint("--select", "whole-model-save", ".")[1]
    assert "missing-zero-grad" in torchlint("--select", "missing-zero-grad", ".")[1]


def test_suppression_comments_are_read_each_time(project: Path) -> None:
    name = Path("more/bad.py")
    torchlint(str(name))
    name.write_text(
        name.read_text().replace("# expect: missing-zero-grad", "# torchlint: ignore[missing-zero-grad] so")
    )
    assert torchlint(str(name))[0] == 0
    assert torchlint(str(name))[0] == 0
    found = torchlint("--select", "ALL", str(name))
    assert found == torchlint("--no-cache", "--select", "ALL", str(name))


@pytest.mark.parametrize("content", ["", "{", '{"entries": 3}', '{"entries": {"a": {}}, "stamps": {}}', "\0"])
def test_a_cache_that_cannot_be_read_is_empty(project: Path, content: str) -> None:
    analysed("more/bad.py")
    (file,) = Path(".torchlint_cache").glob("*.json")
    file.write_text(content)
    assert analysed("more/bad.py") == ["more/bad.py"]
    assert analysed("more/bad.py") == []


def test_a_cache_that_cannot_be_written_is_done_without(project: Path) -> None:
    Path(".torchlint_cache").write_text("in the way")
    assert torchlint("more/bad.py")[0] == 1
    assert Path(".torchlint_cache").read_text() == "in the way"


def test_runs_at_the_same_time_do_not_harm_each_other(project: Path) -> None:
    command = [sys.executable, "-m", "torchlint", "--output-format", "json", "."]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0] for process in runs}
    assert len(outputs) == 1
    assert torchlint("--output-format", "json", ".")[1] == outputs.pop()
    assert not list(Path(".torchlint_cache").glob(".new-*"))


def test_fixes_are_written_from_what_is_remembered(project: Path) -> None:
    name = Path("more/bad.py")
    torchlint(str(name))
    assert torchlint("--fix", str(name))[0] == 0
    assert torchlint(str(name)) == torchlint("--no-cache", str(name))


def test_clean_drops_the_cache_and_nothing_else(project: Path) -> None:
    analysed("more/bad.py")
    Path(".torchlint_cache/mine.txt").write_text("keep")
    assert "Dropped" in torchlint("clean")[1]
    assert [path.name for path in Path(".torchlint_cache").iterdir()] == ["mine.txt"]
    assert "There is no cache" in torchlint("clean")[1]
