"""The baseline as a project meets it: known findings stay quiet, new ones are told, and it may only shrink."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from shell import HEAD, MOVE, SAVE, Done, found, torchlint, write

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BASELINE = "known.json"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files with two findings each, all of them known."""
    monkeypatch.chdir(tmp_path)
    write("pyproject.toml", f'[tool.torchlint]\nbaseline = "{BASELINE}"\n')
    write("src/a.py", HEAD, MOVE, SAVE)
    write("src/b.py", HEAD, MOVE, SAVE)
    assert torchlint("--write-baseline", BASELINE).code == 0


def entries() -> dict[str, dict[str, dict[str, int]]]:
    data = json.loads(Path(BASELINE).read_text())
    assert data["version"] == 1
    files: dict[str, dict[str, dict[str, int]]] = data["files"]
    return files


KNOWN = {
    "tensor-move-discarded": {'x.to("cuda")': 1},
    "whole-model-save": {'torch.save(torch.nn.Linear(1, 1), "x.pt")': 1},
}


def quiet(done: Done) -> bool:
    return done.code == 0 and "All checks passed" in done.out


def test_is_sorted_readable_and_the_same_each_time() -> None:
    text = Path(BASELINE).read_text()
    assert entries() == {"src/a.py": KNOWN, "src/b.py": KNOWN}
    assert text.endswith("}\n")
    assert text.index("src/a.py") < text.index("src/b.py")
    assert '\n        "x.to(\\"cuda\\")": 1\n' in text  # an entry a line
    torchlint("--write-baseline", BASELINE)
    assert Path(BASELINE).read_text() == text


def test_what_is_known_is_not_told() -> None:
    done = torchlint()
    assert quiet(done)
    assert "4 known findings in the baseline" in done.out
    assert torchlint("--isolated").code == 1


def test_code_may_move() -> None:
    write("src/a.py", HEAD, "\n\nif True:\n    ", MOVE, "# more\n", SAVE)
    assert quiet(torchlint())


def test_a_new_finding_is_told_and_only_that() -> None:
    write("src/a.py", HEAD, MOVE, SAVE, "x.cuda()\n")
    done = torchlint()
    assert (done.code, found(done)) == (1, ["src/a.py:6 tensor-move-discarded"])


def test_a_copy_of_a_known_row_is_new() -> None:
    write("src/a.py", HEAD, MOVE, MOVE, SAVE)
    assert found(torchlint()) == ["src/a.py:5 tensor-move-discarded"]


def test_an_entry_that_is_no_longer_needed_fails_until_it_is_pruned() -> None:
    write("src/a.py", HEAD, SAVE)
    done = torchlint()
    assert (done.code, found(done)) == (1, ["known.json:6 unneeded-baseline-entry"])
    assert 'tensor-move-discarded no longer finds `x.to("cuda")` in src/a.py' in done.out
    write("src/b.py", HEAD, MOVE, SAVE, "x.cuda()\n")
    done = torchlint("--prune-baseline")  # takes out, and takes nothing in
    assert (done.code, found(done)) == (1, ["src/b.py:6 tensor-move-discarded"])
    assert entries() == {"src/a.py": {"whole-model-save": KNOWN["whole-model-save"]}, "src/b.py": KNOWN}
    assert torchlint("--write-baseline", BASELINE).code == 0
    assert quiet(torchlint())
    assert entries()["src/b.py"]["tensor-move-discarded"] == {"x.cuda()": 1, 'x.to("cuda")': 1}


def test_one_of_two_equal_rows_that_is_mended_is_noticed() -> None:
    write("src/a.py", HEAD, MOVE, MOVE, SAVE)
    torchlint("--write-baseline", BASELINE)
    write("src/a.py", HEAD, MOVE, SAVE)
    done = torchlint()
    assert done.code == 1
    assert 'finds `x.to("cuda")` in src/a.py 1 times, not 2' in done.out


def test_machines_are_told_too() -> None:
    write("src/a.py", HEAD, SAVE)
    torchlint("--output-file", "out.json", output_format="json")
    (one,) = json.loads(Path("out.json").read_text())
    assert (one["code"], one["filename"], one["location"]["row"]) == ("unneeded-baseline-entry", "known.json", 6)


class TestOnlySome:
    def test_files(self) -> None:
        write("src/b.py", "x = 1\n")
        assert quiet(torchlint("src/a.py"))
        assert len(found(torchlint("src/b.py"))) == 2

    def test_rules(self) -> None:
        write("src/a.py", HEAD, SAVE)
        assert quiet(torchlint("--select", "whole-model-save"))
        assert len(found(torchlint("--select", "correctness"))) == 1

    def test_a_file_that_cannot_be_parsed_keeps_its_entries(self) -> None:
        write("src/a.py", "x = (\n")
        assert found(torchlint()) == ["src/a.py:1 syntax-error"]

    def test_an_excluded_file_keeps_its_entries(self) -> None:
        assert quiet(torchlint("--extend-exclude", "a.py"))

    def test_a_deleted_file_does_not(self) -> None:
        Path("src/a.py").unlink()
        for paths in ((), ("src/b.py",)):
            done = torchlint(*paths)
            assert (done.code, done.out.count("src/a.py is gone")) == (1, 2)

    def test_writing_keeps_the_entries_of_what_was_not_looked_at(self) -> None:
        write("src/a.py", HEAD, SAVE)
        torchlint("--write-baseline", BASELINE, "src/b.py")
        assert entries() == {"src/a.py": KNOWN, "src/b.py": KNOWN}
        torchlint("--write-baseline", BASELINE, "--select", "whole-model-save")
        assert entries() == {"src/a.py": KNOWN, "src/b.py": KNOWN}
        torchlint("--write-baseline", BASELINE)
        assert "tensor-move-discarded" not in entries()["src/a.py"]

    def test_a_subfolder_and_standard_input(self) -> None:
        assert quiet(torchlint(cwd="src"))
        text = Path("src/a.py").read_text()
        assert quiet(torchlint("-", "--stdin-filename", "src/a.py", stdin=text))
        assert quiet(torchlint("-", "--stdin-filename", "a.py", stdin=text, cwd="src"))
        assert found(torchlint("-", "--stdin-filename", "src/c.py", stdin=text)) != []
        assert quiet(torchlint("-", "--stdin-filename", "src/a.py", stdin="x = 1\n"))  # half typed

    def test_shards_together_say_what_the_whole_run_says(self) -> None:
        write("src/a.py", HEAD, SAVE)
        Path("src/b.py").unlink()
        whole = found(torchlint())
        assert len(whole) == 3
        assert sorted(found(torchlint("--shard", "1/2")) + found(torchlint("--shard", "2/2"))) == sorted(whole)


def test_files_that_moved_take_their_entries_along() -> None:
    shutil.move("src", "lib")
    done = torchlint()
    assert quiet(done)
    assert "src/a.py is lib/a.py now" in done.err
    assert quiet(torchlint("--shard", "1/2"))
    assert torchlint("--prune-baseline").code == 0
    assert entries() == {"lib/a.py": KNOWN, "lib/b.py": KNOWN}
    Path("more").mkdir()
    shutil.copy("lib/a.py", "more/a.py")  # a copy is no move
    assert len(found(torchlint())) == 2


def test_the_folder_of_the_baseline_may_move(tmp_path: Path) -> None:
    shutil.copytree(tmp_path, tmp_path / "elsewhere" / "project")
    assert quiet(torchlint(cwd="elsewhere/project"))
    Path("pyproject.toml").unlink()
    assert quiet(torchlint("--isolated", "--baseline", "elsewhere/project/known.json", "elsewhere"))


def test_known_findings_are_not_mended() -> None:
    write("src/a.py", HEAD, MOVE, "x.cuda()\n", SAVE)
    before = Path("src/b.py").read_bytes()
    done = torchlint("--fix")
    assert done.code == 0
    assert Path("src/a.py").read_text() == f"{HEAD}{MOVE}x = x.cuda()\n{SAVE}"
    assert Path("src/b.py").read_bytes() == before


def test_processes_and_cache_change_nothing(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "missing_zero_grad", "src/more")
    shutil.copytree(FIXTURES / "projects", "src/projects")
    assert torchlint("--write-baseline", BASELINE).code == 0
    write("src/more/bad.py", Path("src/more/bad.py").read_text(), "\n", HEAD, MOVE)
    runs = [torchlint(*options) for options in ((), (), ("-j", "1"), ("-j", "2"), ("--no-cache", "-j", "2"))]
    assert runs == runs[:1] * 5
    assert [one.partition(" ")[2] for one in found(runs[0])] == ["tensor-move-discarded"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{\n<<<<<<< HEAD\n", "settle the merge conflict in it"),
        ("[]", "is not a baseline of torchlint"),
        ('{"version": 2, "files": {}}', "has version 2, and this torchlint reads version 1"),
        ('{"version": 1}', "`files` must be an object"),
        ('{"version": 1, "files": {"a.py": []}}', "`a.py` must be an object"),
        ('{"version": 1, "files": {"a.py": {"rule": {"x": 0}}}}', "`x` must have a count, not 0"),
        ('{"version": 1, "files": {"a.py": {}, "a.py": {}}}', "`a.py` stands twice"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(text: str, message: str) -> None:
    write(BASELINE, text)
    for arguments in ((), ("--write-baseline", BASELINE), ("-", "--stdin-filename", "src/a.py")):
        done = torchlint(*arguments)
        assert (done.code, done.out) == (2, "")
        assert f"baseline {BASELINE}: " in done.err
        assert message in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--baseline", "nowhere.json"), "there is no such file; write it with `--write-baseline nowhere.json`"),
        (("--write-baseline", "src"), "cannot be read"),
        (("--write-baseline", "src/a.py/b.json"), "cannot be written"),
        (("--write-baseline", "b.json", "--since", "HEAD"), "--write-baseline and --since cannot go together"),
        (("--write-baseline", "b.json", "--diff"), "--write-baseline and --diff cannot go together"),
        (("--write-baseline", "b.json", "-"), "--write-baseline is for files"),
        (("--prune-baseline", "--isolated"), "--prune-baseline needs a baseline"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], message: str) -> None:
    done = torchlint(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_what_no_baseline_can_know_is_still_told() -> None:
    write("src/c.py", "x = (\n")
    done = torchlint("--write-baseline", BASELINE)
    assert (done.code, found(done)) == (1, ["src/c.py:1 syntax-error"])
    assert "src/c.py" not in entries()


def test_entries_of_rules_that_are_no_more_are_unneeded() -> None:
    data = {"version": 1, "files": {"src/a.py": {**KNOWN, "old-rule": {"x": 1}}, "src/b.py": KNOWN}}
    write(BASELINE, json.dumps(data))
    assert "old-rule no longer finds `x` in src/a.py" in torchlint().out
