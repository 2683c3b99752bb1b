"""The command as users and scripts meet it: arguments, streams, exit status."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import toys

from torchlint import cli
from torchlint.config import OUTPUT_FORMATS
from torchlint.confirm import harness


class Command:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *self.capsys.readouterr())


@pytest.fixture
def torchlint(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    toys.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for variable in ("GITHUB_ACTIONS", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(variable, raising=False)
    return Command(capsys)


def write(name: str, text: str = "alarm()\n") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


CONCISE = "a.py:1:1: toy-alarm [*] `alarm` is called\n"


class TestDefaultCommand:
    def test_check_may_be_left_out(self, torchlint: Command) -> None:
        write("a.py")
        outcomes = [
            torchlint("check", "-q", "--output-format", "concise", "a.py"),
            torchlint("-q", "--output-format", "concise", "a.py"),
            torchlint("a.py", "-q", "--output-format", "concise"),
            torchlint("-q", "--output-format", "concise"),
            torchlint("--quiet", "--output-format=concise", "."),
        ]
        assert outcomes == [(1, CONCISE, "")] * 5

    def test_without_anything_the_folder_is_linted(self, torchlint: Command) -> None:
        write("sub/a.py")
        code, out, _ = torchlint()
        assert code == 1
        assert out.startswith("sub/a.py:1:1: toy-alarm")

    def test_a_path_that_is_called_like_a_command_is_reached_by_check(self, torchlint: Command) -> None:
        write("rules/a.py")
        code, out, _ = torchlint("rules")
        assert (code, "GROUP" in out) == (0, True)
        code, out, _ = torchlint("check", "rules")
        assert (code, out.partition(":")[0]) == (1, "rules/a.py")

    def test_help_names_the_commands_and_version_is_told(self, torchlint: Command) -> None:
        code, out, _ = torchlint("--help")
        assert code == 0
        assert all(name in out for name in ("check", "confirm", "explain", "rules", "config"))
        from torchlint import __version__

        assert torchlint("--version")[:2] == (0, f"torchlint, version {__version__}\n")


class TestExitStatus:
    def test_nothing_found(self, torchlint: Command) -> None:
        write("a.py", "x = 1\n")
        assert torchlint("a.py") == (0, "All checks passed: 1 file.\n", "")

    def test_findings(self, torchlint: Command) -> None:
        write("a.py")
        code, out, err = torchlint("a.py")
        assert (code, err) == (1, "")
        assert out.endswith(
            "\n\nFound 1 error in 1 file. [*] 1 fixable with `--fix`.\n"
            "To learn why, run `torchlint explain toy-alarm`.\n"
        )
        assert torchlint("a.py", "--exit-zero")[0] == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("nowhere.py",), "torchlint: nowhere.py: there is no such file or folder"),
            (("--select", "toy-alrm"), "--select: there is no rule or group `toy-alrm`; did you mean `toy-alarm`?"),
            (("--ignore", "toy-alarm,corectness"), "`corectness`; did you mean `correctness`?"),
            (("--selct", "ALL"), "No such option"),
            (("--output-format", "xml"), "'xml' is not one of"),
            (("-j", "-1"), "-1"),
            (("--config", "nowhere.toml"), "there is no file nowhere.toml"),
            (("--config", "selct=[]"), "did you mean `select`?"),
            (("--target-torch", "new"), "--target-torch: must be a version of torch"),
            (("-", "a.py"), "cannot be mixed"),
            (("--stdin-filename", "b.py", "a.py"), "--stdin-filename goes with `-`"),
            (("--exclude", "!"), "exclude: `!` is not a pattern"),
            (("--output-file", "a.py/report"), "--output-file a.py/report: cannot be written"),
            (("explain", "toy-alrm"), "there is no rule `toy-alrm`; did you mean `toy-alarm`?"),
            (("confirm", "--seeds", "0"), "0 is not in the range"),
        ],
    )
    def test_wrong_use(self, torchlint: Command, arguments: tuple[str, ...], message: str) -> None:
        write("a.py", "x = 1\n")
        code, out, err = torchlint(*arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert "Traceback" not in err

    def test_wrong_configuration(self, torchlint: Command) -> None:
        write("a.py", "x = 1\n")
        write("pyproject.toml", "[tool.torchlint]\nselct = []\n")
        code, out, err = torchlint("a.py")
        assert (code, out) == (2, "")
        assert "pyproject.toml: there is no key `selct`; did you mean `select`?" in err
        assert torchlint("a.py", "--isolated")[0] == 0

    def test_a_crash_of_a_rule(self, torchlint: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash(facts: object) -> object:
            raise ZeroDivisionError("division by zero")

        toys.install(monkeypatch, (*toys.RULES, toys.rule("toy-crash", check=crash)))
        write("a.py", "alarm()\ncrash()\n")
        code, out, err = torchlint("a.py", "--output-format", "concise", "-q")
        assert (code, err) == (2, "")
        assert "a.py:1:1: internal-error rule toy-crash crashed: ZeroDivisionError: division by zero at" in out
        assert CONCISE in out

    def test_a_broken_rule_module_is_no_traceback(self, torchlint: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        from torchlint import registry

        def broken() -> None:
            raise registry.RuleError("rule toy: define `check(facts)`")

        monkeypatch.setattr(registry, "load", broken)
        assert torchlint("rules") == (2, "", "torchlint: rule toy: define `check(facts)`\n")

    def test_interruption(self, torchlint: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        from torchlint import run

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(run, "run", interrupted)
        write("a.py")
        code, out, err = torchlint("a.py")
        assert (code, out, err.strip()) == (130, "", "torchlint: interrupted")


class TestOutput:
    def test_github_actions_get_annotations(self, torchlint: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        write("a.py")
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        assert torchlint("a.py")[1].startswith("::error title=torchlint (toy-alarm),file=a.py,line=1")
        assert torchlint("a.py", "-q", "--output-format", "concise")[1] == CONCISE

    def test_json_is_all_there_is_on_standard_output(self, torchlint: Command) -> None:
        write("a.py")
        write("b.ipynb", "version https://git-lfs.github.com/spec/v1\n")
        code, out, err = torchlint("--output-format", "json")
        assert code == 1
        assert [one["code"] for one in json.loads(out)] == ["toy-alarm"]
        assert "b.ipynb: skipped" in err

    def test_two_runs_print_the_same(self, torchlint: Command) -> None:
        for name in ("b.py", "a.py", "sub/c.py"):
            write(name, "blaze(); alarm()\nalarm()\n")
        assert torchlint() == torchlint()

    def test_output_file(self, torchlint: Command) -> None:
        write("a.py")
        code, out, _ = torchlint("a.py", "--output-format", "concise", "--output-file", "out/report.txt")
        assert (code, out) == (1, "Found 1 error in 1 file. [*] 1 fixable with `--fix`.\n")
        assert Path("out/report.txt").read_text() == CONCISE

    @pytest.mark.parametrize("form", OUTPUT_FORMATS)
    def test_output_file_holds_what_would_be_printed(
        self, torchlint: Command, form: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("a.py", "alarm()\n'日本'; blaze()\n")
        monkeypatch.setenv("FORCE_COLOR", "1")
        options = ("-q", "--output-format", form, "--color")
        code, printed, _ = torchlint(*options, "never")
        assert torchlint(*options, "auto", "--output-file", "out") == (code, "", "")
        assert Path("out").read_text(encoding="utf-8") == printed
        assert "toy-blaze" in printed

    def test_statistics(self, torchlint: Command) -> None:
        write("a.py", "alarm()\nalarm()\nblaze()\n")
        assert torchlint("--statistics", "-q")[1] == "2  toy-alarm  [*] 2 fixable\n1  toy-blaze  1 unsafely\n"
        code, out, _ = torchlint("--statistics", "--output-format", "json")
        assert (code, [one["count"] for one in json.loads(out)]) == (1, [2, 1])
        assert torchlint("--statistics", "--select", "toy-crumb") == (0, "All checks passed: 1 file.\n", "")

    @pytest.mark.parametrize("form", ["sarif", "github", "gitlab", "junit", "rdjson"])
    def test_statistics_have_no_place_in_some_formats(self, torchlint: Command, form: str) -> None:
        write("a.py")
        code, out, err = torchlint("--statistics", "--output-format", form)
        assert (code, out) == (2, "")
        assert f"statistics: the format {form} tells findings and has no place for counts; use one of full, " in err

    def test_statistics_in_a_github_workflow(self, torchlint: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        write("a.py")
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        assert torchlint("--statistics", "-q") == (1, "1  toy-alarm  [*] 1 fixable\n", "")

    def test_quiet_twice_says_nothing(self, torchlint: Command) -> None:
        write("a.py")
        write("b.ipynb", "version https://git-lfs.github.com/spec/v1\n")
        assert torchlint("-qq") == (1, "", "")

    def test_verbose_names_files_and_settings(self, torchlint: Command) -> None:
        write("a.py")
        write("torchlint.toml", "jobs = 1\n")
        _, _, err = torchlint("-v")
        assert "checks a.py" in err
        assert f"settings from {Path.cwd() / 'torchlint.toml'}" in err

    def test_colour_on_demand(self, torchlint: Command) -> None:
        write("a.py")
        assert "\x1b[" in torchlint("--color", "always")[1]
        assert "\x1b[" not in torchlint()[1]

    def test_an_empty_folder_is_said(self, torchlint: Command) -> None:
        Path("empty").mkdir()
        assert torchlint("empty") == (0, "Nothing was checked: no files.\n", "torchlint: no Python files in empty\n")

    def test_the_last_line_tells_what_became_of_all_files(self, torchlint: Command) -> None:
        write(
            "a.py", "alarm()  # torchlint: ignore[toy-alarm] on purpose\nblaze()  # torchlint: ignore[toy-blaze] so\n"
        )
        assert torchlint() == (0, "All checks passed: 1 file. 2 findings suppressed by comments.\n", "")
        assert torchlint() == (
            0,
            "All checks passed: 1 file. 2 findings suppressed by comments.\n",
            "",
        )  # from the cache
        write("a.py", "x = (\n")
        assert torchlint()[1].endswith("\n\nFound 1 error in 1 file. 1 file could not be checked.\n"), (
            "nothing to explain"
        )
        write("a.py", "x = 1\n")
        code, out, err = torchlint("--config", "max-file-size=3")
        assert (code, out) == (0, "Nothing was checked: no files. 1 file skipped.\n")
        assert err == "torchlint: a.py: skipped, larger than max-file-size (3 bytes)\n"

    def test_who_finds_much_is_told_how_to_begin(self, torchlint: Command) -> None:
        write("a.py", "blaze()\n" * 12 + "alarm()\n" * 8)
        lines = torchlint()[1].splitlines()[-3:]
        assert lines[0].startswith("Found 8 errors, 12 warnings in 1 file.")
        assert lines[1] == "To learn why, run `torchlint explain toy-blaze`."
        assert "--write-baseline baseline.json" in lines[2]
        assert torchlint("--write-baseline", "baseline.json")[0] == 0, "the advice works"
        code, out, _ = torchlint("--baseline", "baseline.json")
        assert (code, out) == (0, "All checks passed: 1 file. 20 known findings in the baseline.\n")
        write("a.py", "blaze()\n" * 19)
        assert "baseline" not in torchlint()[1]

    def test_lists_with_commas_and_repeated(self, torchlint: Command) -> None:
        write("a.py", "alarm()\nblaze()\ncrumb()\n")

        def codes(*arguments: str) -> list[str]:
            out = torchlint("--output-format", "json", *arguments)[1]
            return [one["code"] for one in json.loads(out)]

        assert codes("--select", "toy-alarm, toy-crumb") == ["toy-alarm", "toy-crumb"]
        assert codes("--select", "toy-alarm", "--select", "pedantic") == ["toy-alarm", "toy-crumb"]
        assert codes("--extend-select", "pedantic", "--ignore", "correctness") == ["toy-blaze", "toy-crumb"]

    def test_exclude_and_gitignore(self, torchlint: Command) -> None:
        write("a.py")
        write("gen/b.py")
        write("old/c.py")
        write(".git/HEAD")
        write(".gitignore", "old/\n")

        def files(*arguments: str) -> list[str]:
            out = torchlint("--output-format", "json", *arguments)[1]
            return [one["filename"] for one in json.loads(out)]

        assert files() == ["a.py", "gen/b.py"]
        assert files("--extend-exclude", "gen") == ["a.py"]
        assert files("--no-respect-gitignore", "--exclude", "gen,a.py") == ["old/c.py"]


class TestFix:
    def test_mends_and_says_so(self, torchlint: Command) -> None:
        write("a.py", "alarm()\nblaze()\n")
        code, out, err = torchlint("--fix", "--show-fixes", "--output-format", "concise")
        assert (code, err) == (1, "")
        assert out == (
            "a.py:2:1: toy-blaze `blaze` is called\n"
            "Fixed a.py:\n  1 x toy-alarm\n"
            "Fixed 1 finding. Found 1 warning in 1 file. 1 fixable with `--fix --unsafe-fixes`.\n"
        )
        assert torchlint("--fix", "--unsafe-fixes")[0] == 0
        assert Path("a.py").read_text() == "calm()\ncalm()\n"

    @pytest.mark.parametrize("more", [(), ("--diff",)])
    def test_fixes_are_told_beside_what_programs_read(self, torchlint: Command, more: tuple[str, ...]) -> None:
        write("a.py", "alarm()\n")
        verb = "Would fix" if more else "Fixed"
        code, out, err = torchlint("--fix", "--show-fixes", "--output-format", "json", *more)
        assert err == f"{verb} a.py:\n  1 x toy-alarm\n{verb} 1 finding.\n"
        assert (code, out.startswith("---")) == ((1, True) if more else (0, False))

    def test_exit_non_zero_on_fix(self, torchlint: Command) -> None:
        write("a.py")
        assert torchlint("--fix", "--exit-non-zero-on-fix")[0] == 1
        assert torchlint("--fix", "--exit-non-zero-on-fix")[0] == 0

    def test_diff_is_shown_and_nothing_changed(self, torchlint: Command) -> None:
        write("a.py")
        code, out, err = torchlint("--diff")
        assert (code, err) == (1, "Would fix 1 finding.\n")
        assert out == "--- a.py\n+++ a.py\n@@ -1 +1 @@\n-alarm()\n+calm()\n"
        assert Path("a.py").read_text() == "alarm()\n"

    def test_no_fix_takes_a_setting_back(self, torchlint: Command) -> None:
        write("a.py")
        write("torchlint.toml", "fix = true\n")
        assert torchlint("--no-fix")[0] == 1
        assert Path("a.py").read_text() == "alarm()\n"
        assert torchlint()[0] == 0
        assert Path("a.py").read_text() == "calm()\n"


class TestStandardInput:
    @pytest.fixture(autouse=True)
    def _input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"alarm()\r\nblaze()")))

    def test_is_linted_as_the_file_it_is_said_to_be(self, torchlint: Command) -> None:
        code, out, _ = torchlint("-", "--stdin-filename", "sub/a.py", "--output-format", "concise", "-q")
        assert code == 1
        assert out.startswith("sub/a.py:1:1: toy-alarm [*]")

    def test_needs_no_name(self, torchlint: Command) -> None:
        code, out, _ = torchlint("-", "--output-format", "concise", "-q")
        assert (code, out.startswith("-:1:1: toy-alarm")) == (1, True)

    def test_is_printed_mended(self, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
        # The bytes count: line ends stay as they came.
        done = subprocess.run(
            [sys.executable, "-m", "torchlint", "--fix", "--isolated", "--stdin-filename", "a.py", "-"],
            input=b"x = 1\r\n# torchlint: ignore[whole-model-save]\r\ny = 2",
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"x = 1\r\ny = 2")
        assert done.stderr.strip() == b"Fixed 1 finding."

    def test_has_the_settings_of_its_file(self, torchlint: Command) -> None:
        write("sub/torchlint.toml", "select = ['toy-blaze']\n")
        out = torchlint("-", "--stdin-filename", "sub/a.py", "--output-format", "json")[1]
        assert [one["code"] for one in json.loads(out)] == ["toy-blaze"]

    def test_is_left_alone_where_its_file_is_excluded(self, torchlint: Command) -> None:
        code, _, err = torchlint("-", "--stdin-filename", "build/a.py")
        assert code == 0
        assert "build/a.py: skipped, it is excluded by `build`" in err


class TestPages:
    def test_rules(self, torchlint: Command) -> None:
        code, out, _ = torchlint("rules")
        assert code == 0
        lines = out.splitlines()
        assert lines[0].split() == ["RULE", "GROUP", "FIX", "PROOF"]
        assert lines[1].split() == ["toy-alarm", "correctness", "-", "-", "Flags", "`alarm()`."]
        assert len(lines) == 1 + len(toys.RULES)

    def test_rules_as_json(self, torchlint: Command) -> None:
        listed = json.loads(torchlint("rules", "--output-format", "json")[1])
        assert listed[4] == {
            "name": "toy-elder",
            "group": "migration",
            "severity": "warning",
            "default": True,
            "preview": False,
            "fix": None,
            "proof": None,
            "summary": "Flags `elder()`.",
            "since": "2.0",
            "until": "2.4",
        }
        assert [one["default"] for one in listed] == [True, True, False, False, True]

    @pytest.mark.parametrize("output_format", ["text", "markdown"])
    def test_explain(self, torchlint: Command, output_format: str) -> None:
        code, out, _ = torchlint("explain", "toy-alarm", "syntax-error", "--output-format", output_format)
        assert code == 0
        assert out.startswith("# toy-alarm\n\nFlags `alarm()`.\n\n*correctness, error; no fix*\n\n## What it finds\n")
        assert "## References\n\nReferences: text\n" in out
        assert "# syntax-error\n\nThe file is not valid Python" in out

    def test_explain_as_json(self, torchlint: Command) -> None:
        (page,) = json.loads(torchlint("explain", "toy-alarm", "--output-format", "json")[1])
        assert (page["name"], page["sections"]["Proof"]) == ("toy-alarm", "Proof: text")

    def test_config_tells_values_and_where_they_come_from(self, torchlint: Command) -> None:
        write("torchlint.toml", 'preview = true\nseverity = {toy-alarm = "warning"}\n')
        code, out, _ = torchlint("config", "--select", "toy-alarm,ALL")
        assert code == 0
        file = Path.cwd() / "torchlint.toml"
        assert f"preview = true  # {file}\n" in out
        assert f'severity = {{ "toy-alarm" = "warning" }}  # {file}\n' in out
        assert 'select = ["toy-alarm", "ALL"]  # --select\n' in out
        assert "jobs = 0  # default\n" in out

    def test_what_config_prints_is_a_configuration(self, torchlint: Command) -> None:
        from torchlint import config

        write("torchlint.toml", 'per-file-ignores = {"tests/*" = ["ALL"]}\ntarget-torch = "2.4"\n')
        out = torchlint("config")[1]
        write("again.toml", out)
        first, second = config.resolve({}), config.resolve({}, given=["again.toml"])
        assert {**config.values(first)} == {**config.values(second)}

    def test_config_as_json(self, torchlint: Command) -> None:
        shown = json.loads(torchlint("config", "--json", "--jobs", "3")[1])
        assert shown["root"] == str(Path.cwd())
        assert shown["settings"]["jobs"] == {"value": 3, "origin": "--jobs"}


def test_the_devices_of_confirm_are_those_it_knows() -> None:
    assert cli.DEVICES == harness.DEVICES


def test_every_setting_is_an_option_of_check_or_only_for_files() -> None:
    from torchlint.config import READERS

    options = {parameter.name for parameter in cli.check.params}
    assert set(READERS) - options == {"severity", "per_file_ignores", "max_file_size"}
