"""Settings for each file: the nearest configuration counts, files extend one another, the command line is over all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from shell import HEAD, MOVE, SAVE, found, torchlint, write

from torchlint import config
from torchlint.config import Pattern, Settings

MOVED, SAVED = "tensor-move-discarded", "whole-model-save"


@pytest.fixture(autouse=True)
def monorepo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three projects with two findings each; one, two and the top have settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("one/src/a.py", "two/a.py", "three/a.py"):
        write(name, HEAD, MOVE, SAVE)
    return tmp_path


def pyproject(folder: str, text: str) -> None:
    write(f"{folder}/pyproject.toml", "[tool.torchlint]\n", text)


def test_the_nearest_file_counts_for_each_file() -> None:
    pyproject(".", 'ignore = ["tensor-move-discarded"]\n')
    pyproject("one", 'select = ["tensor-move-discarded"]\n')
    write("two/torchlint.toml", 'per-file-ignores = {"a.py" = ["ALL"]}\n')
    write("one/src/pyproject.toml", "[tool.other]\n")
    expected = [f"one/src/a.py:4 {MOVED}", f"three/a.py:5 {SAVED}"]
    assert found(torchlint()) == expected
    assert found(torchlint("one", "two", "three")) == expected
    assert found(torchlint("three/a.py", "one/src/a.py", "two/a.py")) == expected
    assert found(torchlint("src/a.py", cwd="one")) == [f"src/a.py:4 {MOVED}"]
    assert found(torchlint("-j", "2", "--no-cache")) == expected
    assert found(torchlint("-", "--stdin-filename", "one/src/a.py", stdin=HEAD + MOVE + SAVE)) == [expected[0]]


def test_the_command_line_is_over_all() -> None:
    pyproject("one", 'select = ["tensor-move-discarded"]\n')
    pyproject("two", 'ignore = ["whole-model-save"]\n')
    done = torchlint("--select", SAVED)
    assert found(done) == [f"{name}/a.py:5 {SAVED}" for name in ("one/src", "three", "two")]
    assert found(torchlint("--isolated", "one/src")) == [f"one/src/a.py:4 {MOVED}", f"one/src/a.py:5 {SAVED}"]
    write("named.toml", 'select = ["whole-model-save"]\n')
    assert found(torchlint("--config", "named.toml")) == found(done)
    assert found(torchlint("--config", "select = ['whole-model-save']", "--ignore", "suspicious")) == [
        f"{name}/a.py:5 {SAVED}" for name in ("one/src", "three")
    ]


def test_severity_target_and_size_are_each_file_s() -> None:
    pyproject("one", 'severity = {tensor-move-discarded = "off", whole-model-save = "error"}\n')
    pyproject("two", "max-file-size = 10\n")
    done = torchlint("--output-format", "json", output_format="json")
    levels = {one["filename"]: one["severity"] for one in json.loads(done.out) if one["code"] == SAVED}
    assert levels == {"one/src/a.py": "error", "three/a.py": "warning"}
    assert "two/a.py: skipped, larger than max-file-size (10 bytes)" in done.err


def test_excludes_are_each_folder_s_and_relative_to_it() -> None:
    pyproject(".", 'extend-exclude = ["/three", "two/old"]\n')
    pyproject("one", 'exclude = ["src/gen"]\n')
    for name in ("one/src/gen/b.py", "one/build/b.py", "two/old/b.py", "two/src/gen/b.py"):
        write(name, HEAD, MOVE)
    files = sorted({one.partition(":")[0] for one in found(torchlint())})
    assert files == ["one/build/b.py", "one/src/a.py", "two/a.py", "two/src/gen/b.py"]
    done = torchlint("one/src/gen/b.py", "three/a.py")
    assert done.err.count("skipped, it is excluded by") == 2
    assert "one/src/gen/b.py: skipped, it is excluded by `src/gen`" in done.err
    # What is typed is meant from where it is typed, in every project.
    files = sorted({one.partition(":")[0] for one in found(torchlint("--extend-exclude", "one/build,two/a.py"))})
    assert files == ["one/src/a.py", "two/src/gen/b.py"]


def test_extend_takes_over_another_file() -> None:
    write("base/shared.toml", 'select = ["tensor-move-discarded", "whole-model-save"]\nextend-exclude = ["gen"]\n')
    write("base/shared.toml", 'preview = true\nextend-exclude = ["/../one/old", "x/y"]\nignore = ["correctness"]\n')
    write("torchlint.toml", 'extend = "base/shared.toml"\n')
    pyproject("one", 'extend = "../torchlint.toml"\nextend-exclude = ["gen"]\nignore = []\n')
    write("one/gen/b.py", HEAD, MOVE)
    assert found(torchlint()) == [
        f"one/src/a.py:4 {MOVED}",
        f"one/src/a.py:5 {SAVED}",
        f"three/a.py:5 {SAVED}",
        f"two/a.py:5 {SAVED}",
    ]
    shown = json.loads(torchlint("config", "one/src/a.py", "--json").out)
    settings = shown["settings"]
    here = Path.cwd()
    assert shown["root"] == str(here / "one")
    assert settings["preview"] == {"value": True, "origin": str(here / "base" / "shared.toml")}
    assert settings["ignore"] == {"value": [], "origin": str(here / "one" / "pyproject.toml")}
    assert settings["extend-exclude"]["value"] == ["/../one/old", "x/y", "gen"]
    assert settings["jobs"]["origin"] == "default"


def test_patterns_and_paths_of_an_extended_file_are_relative_to_it() -> None:
    text = (
        'extend-exclude = ["one/old/"]\nper-file-ignores = {"one/src/*" = ["correctness"]}\nbaseline = "known.json"\n'
    )
    pyproject(".", text)
    pyproject("one", 'extend = "../pyproject.toml"\n')
    write("one/old/b.py", HEAD, MOVE)
    write("known.json", '{"version": 1, "files": {}}')
    assert found(torchlint(cwd="one")) == [f"src/a.py:5 {SAVED}"]
    assert torchlint("--prune-baseline", cwd="one").err.rstrip().endswith("out of ../known.json")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"torchlint.toml": "extend = 1"}, "`extend` must be a string"),
        ({"torchlint.toml": 'extend = "no.toml"'}, "`extend`: there is no file {here}/no.toml"),
        ({"torchlint.toml": 'extend = "a.toml"', "a.toml": 'extend = "torchlint.toml"'}, "`extend` leads in a circle"),
        ({"torchlint.toml": 'extend = "a.toml"', "a.toml": "selct = []"}, "a.toml: there is no key `selct`"),
        ({"torchlint.toml": 'extnd = "a.toml"'}, "there is no key `extnd`; did you mean `extend`?"),
        ({"torchlint.toml": 'extend = "a/pyproject.toml"', "a/pyproject.toml": ""}, "there is no [tool.torchlint]"),
        ({"two/torchlint.toml": "select = ['nothing']"}, "two/torchlint.toml: `select`: there is no rule or group"),
        ({"two/torchlint.toml": "exclude = ['!']"}, "exclude: `!` is not a pattern"),
        ({"two/pyproject.toml": "[tool.torchlint\n"}, "two/pyproject.toml: is not valid TOML"),
    ],
)
def test_mistakes(files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        write(name, text)
    done = torchlint()
    assert (done.code, done.out) == (2, "")
    assert message.format(here=Path.cwd()) in done.err


def test_a_template_of_another_program_is_not_ours_to_read() -> None:
    write("two/pyproject.toml", "{% if poetry %}\n[tool.poetry]\n")
    assert len(found(torchlint())) == 6


def test_each_folder_is_looked_into_once(monorepo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyproject("one", "preview = true\n")
    looked: list[Path] = []
    look = config._in_folder

    def noting(folder: Path) -> Path | None:
        looked.append(folder)
        return look(folder)

    monkeypatch.setattr(config, "_in_folder", noting)
    settings = Settings({})
    for _ in range(3):
        for name in ("one/src", "two", "three", "one", "."):
            assert settings.at(str((monorepo / name).resolve())).preview is name.startswith("one")
    assert len(looked) == len(set(looked))


def test_a_pattern_keeps_its_folder_on_the_way_to_another_process() -> None:
    pattern = pickle.loads(pickle.dumps(Pattern("a/b", "/x")))
    assert (pattern, pattern.root) == ("a/b", "/x")


class TestProfile:
    @pytest.fixture(autouse=True)
    def _tests(self, monorepo: Path) -> None:
        for name in ("one", "two", "three"):
            (monorepo / name).rename(monorepo / f".{name}")
        self.names = ("tests/deep/a.py", "test/a.py", "test_a.py", "a_test.py", "conftest.py", "contest.py")
        for name in self.names:
            write(f"p/{name}", HEAD, MOVE, SAVE)

    def test_test_files_hear_of_certain_bugs_only(self) -> None:
        heard = {one for one in found(torchlint("p")) if one.endswith(SAVED)}
        assert heard == {f"p/contest.py:5 {SAVED}"}
        assert sum(one.endswith(MOVED) for one in found(torchlint("p"))) == len(self.names)

    @pytest.mark.parametrize(
        "options",
        [
            ("--profile", "strict"),
            ("--config", 'profile = "strict"'),
            ("--extend-select", SAVED),
            ("--extend-select", "portability"),
            ("--select", "ALL"),
        ],
    )
    def test_what_is_asked_for_is_told_everywhere(self, options: tuple[str, ...]) -> None:
        assert sum(one.endswith(SAVED) for one in found(torchlint("p", *options))) == len(self.names)

    def test_folders_above_the_project_do_not_count(self) -> None:
        write("tests/project/torchlint.toml", "")
        write("tests/project/a.py", HEAD, SAVE)
        assert found(torchlint("tests/project")) == [f"tests/project/a.py:5 {SAVED}".replace(":5", ":4")]
        assert found(torchlint(cwd="tests/project")) == [f"a.py:4 {SAVED}"]

    def test_a_comment_is_not_unneeded_where_its_rule_is_quiet(self) -> None:
        write("q/test_a.py", HEAD, f"{SAVE.rstrip()}  # torchlint: ignore[{SAVED}]\n")
        assert torchlint("q").code == 0

    def test_config_says_so(self) -> None:
        out = torchlint("config", "p/test_a.py", "p/contest.py").out
        assert "# p/test_a.py is a test file: suspicious and portability rules are off there (see profile)" in out
        assert "p/contest.py" not in out
        assert 'profile = "default"  # default' in out
        assert "test file" not in torchlint("config", "p/test_a.py", "--profile", "strict").out

    def test_a_profile_that_does_not_exist(self) -> None:
        write("torchlint.toml", 'profile = "quiet"\n')
        assert "`profile` must be one of default, strict; it is 'quiet'" in torchlint().err
