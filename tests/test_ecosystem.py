"""The tools of `tests/ecosystem/`, over made-up projects: nothing is fetched."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.ecosystem import check, recall, same
from tests.ecosystem.check import CheckError, Finding, Label

BUGGY = """import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""
FIXED = BUGGY.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()")
MANIFEST = '[[project]]\nname = "{}"\nversion = "1.0"\nkind = "made up"\nsha256 = "{}"\n'


# ------------------------------------------------------------------------------------------------------------ manifest


def test_manifest_of_this_checkout_names_each_project_once_with_its_hash() -> None:
    listed = check.projects(check.MANIFEST.read_text(encoding="utf-8"))
    assert len(listed) >= 100
    assert all(len(one.sha256) == 64 for one in listed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MANIFEST.format("a", 0) * 2, "more than once: a"),
        ('[[project]]\nname = "a"\n', "version"),
        (MANIFEST.format("a", 0) + 'colour = "red"\n', "colour"),
        ("[[project", "manifest: "),
    ],
)
def test_manifest_errors_name_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(CheckError, match=told):
        check.projects(text)


# -------------------------------------------------------------------------------------------------------------- labels


def label(row: int = 3, rule: str = "missing-zero-grad", digest: str = "aa", **changes: str) -> Label:
    fields = {"package": "shop", "file": "shop/train.py", "label": "true", "why": "nothing clears them"}
    return Label(**{**fields, **changes}, row=row, rule=rule, digest=digest)  # type: ignore[arg-type]


def finding(row: int = 3, rule: str = "missing-zero-grad", digest: str = "aa", group: str = "correctness") -> Finding:
    return Finding("shop", "shop/train.py", row, rule, digest, group, "gradients are never cleared")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2"),
        ("{}", "line 2"),
        (check.written([label(label="maybe")]), "line 2: the label must be one of true, false, unsure"),
        (check.written([label(why="  ")]), "with a why"),
    ],
)
def test_label_errors_name_the_line(line: str, told: str) -> None:
    with pytest.raises(CheckError, match=told):
        check.labels([check.written([label()]), line])


def test_labels_are_written_sorted_and_read_again() -> None:
    some = [label(9), label(2, rule="uncalled-method"), label(2), label(1, package="apart")]
    text = check.written(some)
    assert [(one.package, one.row, one.rule) for one in check.labels(text.splitlines())] == [
        ("apart", 1, "missing-zero-grad"),
        ("shop", 2, "missing-zero-grad"),
        ("shop", 2, "uncalled-method"),
        ("shop", 9, "missing-zero-grad"),
    ]
    assert check.written(check.labels(text.splitlines())) == text


@pytest.mark.parametrize(
    ("found", "known", "rows", "left"),
    [
        ([finding()], [label()], [3], []),
        ([finding(8)], [label(3)], [3], []),  # it moved
        ([finding()], [], [None], []),  # new
        ([], [label()], [], [3]),  # gone
        ([finding(digest="bb")], [label()], [None], [3]),  # the line was rewritten
        ([finding(rule="uncalled-method")], [label()], [None], [3]),
        ([finding(3), finding(9)], [label(9), label(3)], [3, 9], []),  # equal lines: each keeps its own
        ([finding(4), finding(9)], [label(9), label(3)], [3, 9], []),  # one of them moved
        ([finding(3), finding(9)], [label(9)], [None, 9], []),  # a second one came
        ([finding(3), finding(3)], [label(3)], [3, None], []),  # two on a line, one of them judged
    ],
)
def test_findings_are_paired_with_labels(
    found: list[Finding], known: list[Label], rows: list[int | None], left: list[int]
) -> None:
    pairs, rest = check.match(found, known)
    assert [one for one, _ in pairs] == found
    assert [known_ and known_.row for _, known_ in pairs] == rows
    assert [one.row for one in rest] == left


def test_rates_count_answers_a_group_and_a_rule() -> None:
    pairs = [
        (finding(1), label(1)),
        (finding(2), label(2)),
        (finding(3), label(3, label="false")),
        (finding(4), label(4, label="unsure")),
        (finding(5, rule="uncalled-method"), None),
        (finding(6, rule="softmax-without-dim", group="suspicious"), label(6, label="unsure")),
    ]
    lines = [" ".join(line.split()) for line in check.rates(pairs, 2000)]
    assert lines == [
        "true false unsure unlabelled right per 1,000 files",
        "correctness 2 1 1 1 66.7 % 2.50",
        "missing-zero-grad 2 1 1 0 66.7 % 2.00",
        "uncalled-method 0 0 0 1 - 0.50",
        "suspicious 0 0 1 0 - 0.50",
        "softmax-without-dim 0 0 1 0 - 0.50",
    ]
    assert check.rates([], 0) == check.rates([], 10)


# ------------------------------------------------------------------------------------------------------------ the check


class Shop:
    """A folder with one made-up project in it, its manifest and its labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train = folder / "shop-1.0" / "shop" / "train.py"
        self.train.parent.mkdir(parents=True)
        self.train.write_text(BUGGY, encoding="utf-8")
        (folder / "manifest.toml").write_text(MANIFEST.format("shop", "0" * 64), encoding="utf-8")
        self.labels = folder / "labels.jsonl"

    def check(self, *options: str) -> int:
        places = ["--manifest", str(self.folder / "manifest.toml"), "--labels", str(self.labels)]
        return check.main([str(self.folder), *options, *places])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_finding_is_told_labelled_followed_and_dropped(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = shop.folder / "sheet.jsonl"
    assert shop.check("--sheet", str(sheet)) == 1
    assert "unlabelled: shop shop/train.py:7 missing-zero-grad" in capsys.readouterr().out

    (row,) = map(json.loads, sheet.read_text(encoding="utf-8").splitlines())
    assert "    7     loss.backward()" in row["source"]
    row.update(label="true", why="nothing clears them")
    sheet.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert shop.check("--sheet", str(sheet)) == 0
    assert "correctness 1 0 0 0 100.0 % 1000.00" in " ".join(capsys.readouterr().out.split())
    assert sheet.read_text(encoding="utf-8") == ""
    assert "backward" not in shop.labels.read_text(encoding="utf-8")  # no source

    shop.train.write_text("# one line more\n" + BUGGY, encoding="utf-8")
    assert shop.check() == 0
    assert '"row": 7' in shop.labels.read_text(encoding="utf-8")
    assert shop.check("--update") == 0
    assert '"row": 8' in shop.labels.read_text(encoding="utf-8")

    shop.train.write_text(FIXED, encoding="utf-8")
    capsys.readouterr()
    assert shop.check("--update") == 0
    assert "gone (true): shop shop/train.py:8 missing-zero-grad" in capsys.readouterr().out
    assert shop.labels.read_text(encoding="utf-8") == ""


def test_a_checkout_goes_by_its_name_and_other_labels_stay(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    mine = shop.folder / "elsewhere"
    mine.mkdir()
    (mine / "train.py").write_text(FIXED, encoding="utf-8")
    (mine / "broken.py").write_text("import torch\nif:\n", encoding="utf-8")
    shop.labels.write_text(check.written([label()]), encoding="utf-8")
    assert shop.check(f"mine={mine}", "--package", "mine", "--update") == 0
    output = capsys.readouterr().out
    assert "failed: mine broken.py:2 syntax-error" in output
    assert "1 projects, 2 files, 0.0 findings" in output
    assert check.labels(shop.labels.read_text(encoding="utf-8").splitlines()) == [label()]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--package", "shopp"], "not in the manifest: shopp"),
        (["mine=nowhere"], "mine=nowhere: expected NAME=PATH with a folder"),
        (["nowhere"], "nowhere: expected NAME=PATH"),
    ],
)
def test_wrong_use_is_told(shop: Shop, capsys: pytest.CaptureFixture[str], options: list[str], told: str) -> None:
    assert shop.check(*options) == 2
    assert told in capsys.readouterr().err


def test_only_python_files_are_taken_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1], "shop-1.0-py3-none-any.whl"), "w") as wheel:
            wheel.writestr("shop/train.py", FIXED)
            wheel.writestr("shop/data.bin", "1")
            wheel.writestr("setup.cfg", "")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    project = check.Project("shop", "1.0", "made up", "0" * 64)
    place = check.fetched(project, tmp_path)
    assert [path.relative_to(place).as_posix() for path in place.rglob("*.*")] == ["shop/train.py"]
    assert check.fetched(project, tmp_path) == place
    assert len(asked) == 1  # what is there is not fetched again
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(asked[0])


def test_a_download_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="no such version"))
    with pytest.raises(CheckError, match=r"could not fetch shop 1\.0: no such version"):
        check.fetched(check.Project("shop", "1.0", "made up", "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------------- recall


def row(**changes: object) -> dict[str, object]:
    fields = {"repo": "o/shop", "path": "train.py", "line": 7, "pitfall": "missing-zero-grad", "scope": "function"}
    return {**fields, "fix": "f", "parent": "p", **changes}


def rows(folder: Path, *some: dict[str, object]) -> list[recall.Row]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in some), encoding="utf-8")
    return recall.read_rows(path)


@pytest.mark.parametrize("wrong", [{"line": "seven"}, {"line": None}])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: not a row"):
        rows(tmp_path, row(), row(**wrong))
    (tmp_path / "rows.jsonl").write_text('{"repo": "o/shop"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: not a row"):
        recall.read_rows(tmp_path / "rows.jsonl")


def laid_out(folder: Path, before: str, after: str, name: str = "train.py") -> None:
    for side, text in (("before", before), ("after", after)):
        (folder / "1" / side).mkdir(parents=True)
        (folder / "1" / side / name).write_text(text, encoding="utf-8")


FAR = BUGGY + "\n" * 40 + "def other():\n    pass\n"


@pytest.mark.parametrize(
    ("before", "after", "line", "word"),
    [
        (BUGGY, FIXED, 7, "hit, gone after the fix"),
        (BUGGY, BUGGY, 7, "hit, still there"),
        (FIXED, FIXED, 7, "missed"),
        (FAR, FAR, 50, "missed"),  # what is told elsewhere is no hit
        ("import torch\nif:\n", FIXED, 2, "not judged"),
    ],
)
def test_a_bug_is_judged(tmp_path: Path, before: str, after: str, line: int, word: str) -> None:
    laid_out(tmp_path, before, after)
    (one,) = rows(tmp_path, row(line=line))
    assert recall.judge(one, tmp_path).word == word


def test_a_bug_is_found_in_a_clone(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    revisions = []
    for text in (BUGGY, FIXED):
        (work / "train.py").write_text(text, encoding="utf-8")
        git("add", ".")
        git("commit", "--quiet", "--message", "one")
        revisions.append(git("rev-parse", "HEAD"))
    clones = tmp_path / "clones"
    clones.mkdir()
    git("clone", "--quiet", "--bare", str(work), str(clones / "o+shop"))
    found, lost = rows(tmp_path, row(parent=revisions[0], fix=revisions[1]), row(repo="o/other"))
    assert recall.judge(found, clones).gone
    assert "no clone of o/other" in recall.judge(lost, clones).problem
    unknown = recall.judge(rows(tmp_path, row(parent="0" * 40, fix=revisions[1]))[0], clones)
    assert unknown.word == "not judged"


@pytest.mark.parametrize(
    ("before", "after", "line", "expected"),
    [("a\nb\nc\n", "a\nx\nb\nc\n", 3, 4), ("a\nb\nc\n", "a\nc\n", 2, 1), ("a\n", "a\n", 1, 1)],
)
def test_a_line_is_followed_through_the_fix(before: str, after: str, line: int, expected: int) -> None:
    assert recall._line_after(before.encode(), after.encode(), line) == expected


# --------------------------------------------------------------------------------------------- the same, however asked


def test_what_is_found_is_the_same_however_it_is_asked_for(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    (shop.train.parent / "again.py").write_text(BUGGY, encoding="utf-8")
    assert same.main([str(shop.folder / "shop-1.0"), "--files", "1"]) == 0
    told = capsys.readouterr().out
    assert "warm -j2" in told
    assert told.endswith("1 files named alone\nall the same\n")


def test_a_difference_is_told(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one = json.dumps({"filename": "shop/train.py", "code": "x"}).encode() + b"\n"
    answers = {"-j1": one, "-j2": b"", "--no-cache": b""}

    def run(_: Path, what: str, *options: str) -> same.Run:
        return same.Run(answers["--no-cache" if what != "." else options[0]], 0.0, 0.0, 1)

    monkeypatch.setattr(same, "run", run)
    assert same.main([str(shop.folder / "shop-1.0")]) == 1
    told = capsys.readouterr().out
    assert "cold -j2 prints something else" in told
    assert "shop/train.py named alone tells something else" in told
