"""Paths -> files: what is taken, what is left out, and that leaving out is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchlint import files
from torchlint.config import EXCLUDED, Config, ConfigError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")


def find(*paths: str, **settings: object) -> list[str]:
    return files.find(paths or (".",), Config(root=Path.cwd(), **settings)).paths  # type: ignore[arg-type]


def test_a_folder_gives_its_python_files_sorted(tree: Path) -> None:
    make("b.py", "a/z.py", "a/note.txt", "a/w.pyw", "a/b/c.py", "a/stub.pyi")
    assert find() == ["a/b/c.py", "a/w.pyw", "a/z.py", "b.py"]
    assert find("a") == ["a/b/c.py", "a/w.pyw", "a/z.py"]
    assert find("./a/../a/z.py") == ["a/z.py"]


def test_a_named_file_is_taken_whatever_its_suffix(tree: Path) -> None:
    make("script", "b.py")
    assert find("script", "b.py") == ["b.py", "script"]


def test_each_file_is_taken_once(tree: Path) -> None:
    make("a/b.py")
    assert find("a", "a/b.py", ".", str(tree / "a" / "b.py")) == [str(tree / "a" / "b.py")]
    assert find("a/b.py", "a") == ["a/b.py"]


def test_a_missing_path_is_named(tree: Path) -> None:
    with pytest.raises(files.MissingPathError, match=r"^nowhere\.py: there is no such file"):
        find("nowhere.py")
    with pytest.raises(files.MissingPathError, match=r"^'': there is no such file"):
        find("")  # an unset variable in a script must not lint everything


@pytest.mark.parametrize("name", ["site-packages", ".venv", "build", "node_modules", "__pycache__"])
def test_what_is_not_one_s_own_code_is_left_out(tree: Path, name: str) -> None:
    assert name in EXCLUDED
    make(f"src/{name}/a.py", "src/b.py")
    assert find() == ["src/b.py"]


def test_one_exclude_counts_for_named_files_too_and_says_so(tree: Path) -> None:
    make("src/gen/a.py", "src/b.py")
    found = files.find(["src/gen/a.py", "src/b.py"], Config(root=tree, extend_exclude=("src/gen",)))
    assert found.paths == ["src/b.py"]
    assert found.notices == ["src/gen/a.py: skipped, it is excluded by `src/gen` (see --exclude)"]
    assert find(extend_exclude=("src/gen",)) == ["src/b.py"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*_pb2.py", ["a.py", "src/b.py", "src/gen/c.py"]),
        ("src/*.py", ["a.py", "a_pb2.py", "src/gen/c.py"]),
        ("/a.py", ["a_pb2.py", "src/b.py", "src/gen/c.py"]),
        ("**/gen/", ["a.py", "a_pb2.py", "src/b.py"]),
        ("gen", ["a.py", "a_pb2.py", "src/b.py"]),
    ],
)
def test_patterns_are_those_of_gitignore(tree: Path, pattern: str, left: list[str]) -> None:
    make("a.py", "a_pb2.py", "src/b.py", "src/gen/c.py")
    assert find(exclude=(pattern,)) == left


def test_patterns_are_relative_to_the_root(tree: Path) -> None:
    make("proj/src/gen/a.py", "proj/src/b.py", "src/gen/c.py")
    config = Config(root=tree / "proj", extend_exclude=("src/gen",))
    assert files.find(["."], config).paths == ["proj/src/b.py", "src/gen/c.py"]


def test_folders_above_the_root_do_not_count(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("build/proj/a.py", "elsewhere/x")
    monkeypatch.chdir("build/proj")
    assert find() == ["a.py"]
    monkeypatch.chdir("../../elsewhere")
    assert find("../build/proj") == ["../build/proj/a.py"]


def test_a_pattern_that_cannot_be_read_is_named(tree: Path) -> None:
    make("a.py")
    with pytest.raises(ConfigError, match="exclude: `!` is not a pattern"):
        find(exclude=("!",))


class TestGitignore:
    def test_is_honoured_nested_and_from_above(self, tree: Path) -> None:
        make(".git/HEAD", "a.py", "out/b.py", "src/c.py", "src/d.py", "src/sub/d.py", "src/sub/e.py")
        Path(".gitignore").write_text("out/\nd.py\n")
        Path("src/sub/.gitignore").write_text("!d.py\ne.py\n")
        assert find() == ["a.py", "src/c.py", "src/sub/d.py"]
        assert find("src") == ["src/c.py", "src/sub/d.py"]

    def test_can_be_turned_off(self, tree: Path) -> None:
        make(".git/HEAD", "a.py", "b.py")
        Path(".gitignore").write_text("b.py\n")
        assert find(respect_gitignore=False) == ["a.py", "b.py"]

    def test_info_exclude_counts(self, tree: Path) -> None:
        make(".git/HEAD", "a.py", "b.py")
        Path(".git/info").mkdir()
        Path(".git/info/exclude").write_text("b.py\n")
        assert find() == ["a.py"]

    def test_what_is_named_is_linted(self, tree: Path) -> None:
        make(".git/HEAD", "out/b.py")
        Path(".gitignore").write_text("out/\n")
        assert find() == []
        assert find("out/b.py") == ["out/b.py"]
        assert find("out") == ["out/b.py"]

    def test_stops_at_the_repository(self, tree: Path) -> None:
        make("inner/.git/HEAD", "inner/a.py")
        Path(".gitignore").write_text("a.py\n")
        assert find("inner") == ["inner/a.py"]

    def test_a_line_that_is_no_pattern_spoils_only_itself(self, tree: Path) -> None:
        make("a.py", "b.py")
        Path(".gitignore").write_text("!\nb.py\n")
        assert find() == ["a.py"]


def test_links_are_safe(tree: Path) -> None:
    make("src/a.py")
    Path("src/loop").symlink_to(tree / "src")
    Path("src/again.py").symlink_to(tree / "src" / "a.py")
    assert find() == ["src/a.py"]
    assert find("src/again.py") == ["src/again.py"]


def test_a_dangling_link_is_for_the_reader_to_report(tree: Path) -> None:
    Path("gone.py").symlink_to(tree / "nowhere.py")
    assert find() == ["gone.py"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_said(tree: Path) -> None:
    make("shut/a.py", "b.py")
    Path("shut").chmod(0)
    try:
        found = files.find(["."], Config(root=tree))
    finally:
        Path("shut").chmod(0o755)
    assert found.paths == ["b.py"]
    assert "shut" in found.notices[0]


def test_notebooks_are_found_and_their_checkpoints_are_not(tree: Path) -> None:
    make("a.py", "b.ipynb", ".ipynb_checkpoints/b-checkpoint.ipynb")
    assert find(".") == find("a.py", "b.ipynb") == ["a.py", "b.ipynb"]
    assert find(".", extend_exclude=("*.ipynb",)) == ["a.py"]
