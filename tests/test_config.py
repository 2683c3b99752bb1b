"""Settings: where they come from, which wins, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torchlint import config as settings
from torchlint.config import Config, ConfigError

KNOWN = ["missing-zero-grad", "whole-model-save", "correctness", "suspicious", "ALL"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def resolve(options: dict[str, Any] | None = None, *paths: str, **more: Any) -> Config:
    return settings.resolve(options or {}, paths, selectors=KNOWN, **more)


def pyproject(text: str, folder: str = ".") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "pyproject.toml").write_text("[tool.torchlint]\n" + text)


def test_every_setting_has_a_reader_and_every_reader_a_setting() -> None:
    fields = set(Config.__dataclass_fields__) - {"root", "origins"}
    assert fields == set(settings.READERS)


def test_defaults_need_no_file() -> None:
    config = resolve()
    assert config == Config(root=Path.cwd())
    assert config.origins == {}


def test_the_nearest_file_counts_and_gives_the_root() -> None:
    pyproject("preview = true\n")
    pyproject("jobs = 3\n", "a/b")
    Path("a/b/c").mkdir()
    Path("a/b/c/pyproject.toml").write_text("[tool.other]\n")
    config = resolve({}, "a/b/c")
    assert (config.jobs, config.preview, config.root) == (3, False, Path("a/b").resolve())
    assert resolve({}, "a/b/c", "a").preview


def test_torchlint_toml_has_the_keys_at_its_top_and_goes_first() -> None:
    pyproject("jobs = 3\n")
    Path("torchlint.toml").write_text("jobs = 4\n")
    assert resolve().jobs == 4


def test_a_file_that_is_named_replaces_the_nearest() -> None:
    pyproject("jobs = 3\npreview = true\n")
    Path("other.toml").write_text("jobs = 4\n")
    config = resolve({}, given=["other.toml"])
    assert (config.jobs, config.preview, config.root) == (4, False, Path.cwd())


def test_isolated_reads_no_file_but_what_is_given() -> None:
    pyproject("jobs = 3\n")
    assert resolve({}, isolated=True).jobs == 0
    assert resolve({}, isolated=True, given=["jobs=5"]).jobs == 5


def test_later_layers_win_and_origins_say_which() -> None:
    pyproject('jobs = 3\noutput-format = "json"\npreview = true\n')
    config = resolve({"output_format": "concise"}, given=["jobs = 4"])
    assert (config.jobs, config.output_format, config.preview) == (4, "concise", True)
    assert config.origins == {
        "jobs": "--config",
        "output_format": "--output-format",
        "preview": str(Path.cwd() / "pyproject.toml"),
    }


def test_options_add_to_lists_and_a_selection_starts_anew() -> None:
    pyproject('select = ["correctness"]\nignore = ["missing-zero-grad"]\n')
    config = resolve({"ignore": ("whole-model-save",)})
    assert (config.select, config.ignore) == (("correctness",), ("missing-zero-grad", "whole-model-save"))
    config = resolve({"select": ("missing-zero-grad",)})
    assert (config.select, config.ignore) == (("missing-zero-grad",), ())


def test_patterns_typed_in_a_folder_are_meant_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pyproject('extend-exclude = ["a/gen"]\n')
    Path("a/b").mkdir(parents=True)
    monkeypatch.chdir("a")
    config = resolve({"extend_exclude": ("b/x.py", "name")})
    assert [getattr(one, "root", None) for one in config.extend_exclude] == [None, str(Path.cwd()), None]
    assert config.extend_exclude == ("a/gen", "b/x.py", "name")


def test_underscores_are_understood() -> None:
    pyproject('extend_select = ["suspicious"]\n')
    assert resolve().extend_select == ("suspicious",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("selct = []\n", "there is no key `selct`; did you mean `select`?"),
        ("per-file-ignore = {}\n", "did you mean `per-file-ignores`?"),
        ("select = 'ALL'\n", "`select` must be a list of strings; it is 'ALL'"),
        ("select = [1]\n", "`select` must be a list of strings; it is [1]"),
        ("preview = 1\n", "`preview` must be true or false; it is 1"),
        ("jobs = true\n", "`jobs` must be a whole number, 0 or more; it is True"),
        ("jobs = -1\n", "`jobs` must be a whole number, 0 or more"),
        ("output-format = 'xml'\n", "`output-format` must be one of full, "),
        ("target-torch = 'new'\n", '`target-torch` must be a version of torch such as "2.4"'),
        ("severity = {missing-zero-grad = 'loud'}\n", "each value one of error, warning, info, off"),
        ("per-file-ignores = {'a.py' = 'ALL'}\n", "each value a list of strings"),
        ("ignore = ['missing-zerograd']\n", "no rule or group `missing-zerograd`; did you mean `missing-zero-grad`?"),
        ("severity = {suspicius = 'off'}\n", "no rule or group `suspicius`; did you mean `suspicious`?"),
        ("per-file-ignores = {'a.py' = ['al']}\n", "no rule or group `al`"),
        ("jobs = \n", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(text: str, message: str) -> None:
    pyproject(text)
    with pytest.raises(ConfigError) as caught:
        resolve()
    assert str(caught.value).startswith(str(Path.cwd() / "pyproject.toml"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere.toml"], "--config: there is no file nowhere.toml"),
        (["one.toml", "two.toml"], "one.toml was given already"),
        (["preview=maybe"], "--config preview=maybe: is not TOML"),
        (["previw=true"], "--config: there is no key `previw`; did you mean `preview`?"),
        (["bare/pyproject.toml"], "there is no [tool.torchlint] in it"),
    ],
)
def test_mistakes_in_config_options(given: list[str], message: str) -> None:
    Path("one.toml").write_text("")
    Path("two.toml").write_text("")
    Path("bare").mkdir()
    Path("bare/pyproject.toml").write_text("[project]\n")
    with pytest.raises(ConfigError) as caught:
        resolve({}, given=given)
    assert message in str(caught.value)


def test_a_misspelled_name_in_an_option_is_said_of_the_option() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"select": ("missing-zero",)})
    assert str(caught.value) == "--select: there is no rule or group `missing-zero`; did you mean `missing-zero-grad`?"
