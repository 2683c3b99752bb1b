"""`--add-ignore`: all that is found is suppressed by comments, and nothing else about the code changes."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from shell import HEAD, MOVE, SAVE, found, torchlint, write

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ignore(name: str) -> str:
    return f"# torchlint: ignore[{name}]"


MOVED = ignore("tensor-move-discarded")
LONG = f"x.to('cuda')  # {'why ' * 24}".rstrip()

# What follows HEAD, and what becomes of it.
CASES = {
    "a statement": (MOVE, f'x.to("cuda")  {MOVED} later\n'),
    "no final newline": ("x.cuda()", f"x.cuda()  {MOVED} later"),
    "spaces at the end": ("x.cuda()  \t\n", f"x.cuda()  {MOVED} later\n"),
    "Windows": ("x.cuda()\r\ny = 1\r\n", f"x.cuda()  {MOVED} later\r\ny = 1\r\n"),
    "tabs": ("if x is x:\n\tx.cuda()\n", f"if x is x:\n\tx.cuda()  {MOVED} later\n"),
    "several rows": ("x.to(\n    'cuda',\n)\n", f"x.to(\n    'cuda',\n)  {MOVED} later\n"),
    "a backslash": ("x \\\n    .cuda()\n", f"x \\\n    .cuda()  {MOVED} later\n"),
    "a string of several rows": (
        "x.cuda(), '''\n# no comment'''\n",
        f"x.cuda(), '''\n# no comment'''  {MOVED} later\n",
    ),
    "two statements in a row": ("x.cuda(); y = 1\n", f"x.cuda(); y = 1  {MOVED} later\n"),
    "two rules in a row": (
        f"x.cuda(); {SAVE}",
        f"x.cuda(); {SAVE.rstrip()}  {ignore('tensor-move-discarded, whole-model-save')} later\n",
    ),
    "two findings of one rule": ("x.cuda(); x.cuda()\n", f"x.cuda(); x.cuda()  {MOVED} later\n"),
    "a one-line suite": ("if x is x: x.cuda()\n", f"if x is x: x.cuda()  {MOVED} later\n"),
    "behind a remark": ("x.cuda()  # a remark\n", f"x.cuda()  # a remark  {MOVED} later\n"),
    "behind type: ignore": ("x.cuda()  # type: ignore\n", f"x.cuda()  # type: ignore  {MOVED} later\n"),
    "behind noqa": ("x.cuda()  # noqa: E501\n", f"x.cuda()  # noqa: E501  {MOVED} later\n"),
    "into a comment that is there": (
        f"x.cuda(); {SAVE.rstrip()}  # torchlint: ignore[whole-model-save] a drill\n",
        f"x.cuda(); {SAVE.rstrip()}  # torchlint: ignore[whole-model-save, tensor-move-discarded] a drill\n",
    ),
    "into a comment above": (
        f"# torchlint: ignore[whole-model-save] a drill\nx.cuda(); {SAVE}",
        f"# torchlint: ignore[whole-model-save, tensor-move-discarded] a drill\nx.cuda(); {SAVE}",
    ),
    "into one that named nothing": ("x.cuda()  # torchlint: ignore\n", f"x.cuda()  {MOVED}\n"),
    "into an empty list": ("x.cuda()  # torchlint: ignore[ ] why\n", f"x.cuda()  {MOVED} why\n"),
    "into noqa": (
        f"x.cuda(); {SAVE.rstrip()}  # noqa: E702, whole-model-save\n",
        f"x.cuda(); {SAVE.rstrip()}  # noqa: E702, whole-model-save, tensor-move-discarded\n",
    ),
    "above a long row": (f"if x is x:\n    {LONG}\n", f"if x is x:\n    {MOVED} later\n    {LONG}\n"),
    "above a long row with Windows ends": (f"{LONG}\r\n", f"{MOVED} later\r\n{LONG}\r\n"),
    "above a long statement of several rows": (
        f"x.to(\n    'cuda',\n)  # {'why ' * 25}\n",
        f"{MOVED} later\nx.to(\n    'cuda',\n)  # {'why ' * 25}\n",
    ),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, written and linted at once."""
    folder = tmp_path_factory.mktemp("cases")
    for number, (text, _) in enumerate(CASES.values()):
        write(str(folder / f"{number}.py"), HEAD, text)
    done = torchlint("--add-ignore=later", cwd=folder)
    assert (done.code, found(done)) == (0, [])
    assert "by comments." in done.out
    assert f"All checks passed: {len(CASES)} files." in torchlint(cwd=folder).out
    return folder


@pytest.mark.parametrize("case", CASES)
def test_the_comment(case: str, cases: Path) -> None:
    written = (cases / f"{list(CASES).index(case)}.py").read_bytes().decode()
    assert written == HEAD + CASES[case][1]


def test_without_a_reason_a_path_is_a_path() -> None:
    write("src/a.py", HEAD, MOVE)
    write("b.py", HEAD, MOVE)
    assert torchlint("--add-ignore", "src").code == 0
    assert Path("src/a.py").read_text() == f'{HEAD}x.to("cuda")  {MOVED}\n'
    assert Path("b.py").read_text() == HEAD + MOVE


def test_only_what_is_told_is_suppressed() -> None:
    path = write("a.py", HEAD, MOVE, SAVE)
    assert torchlint("--add-ignore", "--select", "whole-model-save").code == 0
    assert path.read_text() == f"{HEAD}{MOVE}{SAVE.rstrip()}  {ignore('whole-model-save')}\n"


def test_encodings_and_bytes_stay() -> None:
    path = Path("a.py")
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode() + "s = 'é'\r\n\x0cx.cuda()".encode())
    assert torchlint("--add-ignore=warum nicht, weil é").code == 0
    assert (
        path.read_bytes()
        == b"\xef\xbb\xbf" + HEAD.encode() + f"s = 'é'\r\n\x0cx.cuda()  {MOVED} warum nicht, weil é".encode()
    )
    path.write_bytes(b"# coding: latin-1\n" + HEAD.encode() + b"s = '\xe9'\nx.cuda()\n")
    assert torchlint("--add-ignore=é").code == 0
    assert path.read_bytes().endswith(f"x.cuda()  {MOVED} é\n".encode("latin-1"))


def test_a_reason_that_the_encoding_lacks_is_refused() -> None:
    path = write("a.py", "# coding: latin-1\n", HEAD, MOVE)
    before = path.read_bytes()
    done = torchlint("--add-ignore=日本")
    assert (done.code, path.read_bytes()) == (1, before)
    assert "a.py: no comments were added: the reason cannot be written in iso-8859-1" in done.err


def test_what_no_comment_suppresses_is_still_told() -> None:
    write("a.py", HEAD, MOVE, "y = 1  # torchlint: ignore[whole-model-save]\n")
    write("b.py", "x = (\n")
    done = torchlint("--add-ignore")
    assert (done.code, found(done)) == (1, ["a.py:5 unused-suppression", "b.py:1 syntax-error"])
    assert Path("b.py").read_text() == "x = (\n"


def test_diff_shows_and_changes_nothing() -> None:
    path = write("a.py", HEAD, MOVE)
    done = torchlint("--add-ignore", "--diff")
    assert done.code == 1
    assert f'-x.to("cuda")\n+x.to("cuda")  {MOVED}\n' in done.out
    assert "Would suppress 1 finding by comments." in done.err
    assert path.read_text() == HEAD + MOVE
    assert torchlint("--add-ignore").code == 0
    done = torchlint("--add-ignore", "--diff")
    assert (done.code, done.out) == (0, "")


def test_standard_input_is_printed_with_comments() -> None:
    done = torchlint("--add-ignore", "-", stdin=HEAD + MOVE)
    assert (done.code, done.out) == (0, f'{HEAD}x.to("cuda")  {MOVED}\n')


def test_the_file_keeps_its_mode_and_is_left_alone_where_nothing_is_found() -> None:
    path = write("a.py", HEAD, MOVE)
    path.chmod(0o755)
    other = write("b.py", HEAD)
    before = other.stat().st_mtime_ns
    torchlint("--add-ignore")
    assert path.stat().st_mode & 0o777 == 0o755
    assert other.stat().st_mtime_ns == before


def test_a_setting_that_mends_does_not_count() -> None:
    write("torchlint.toml", "fix = true\n")
    path = write("a.py", HEAD, MOVE)
    assert torchlint("--add-ignore").code == 0
    assert path.read_text() == f'{HEAD}x.to("cuda")  {MOVED}\n'


@pytest.mark.parametrize("other", ["--fix", "--write-baseline=b.json"])
def test_what_cannot_go_together(other: str) -> None:
    write("a.py", HEAD, MOVE)
    done = torchlint("--add-ignore", other, "--baseline", "")
    assert done.code == 2
    assert "cannot go together" in done.err


def test_every_bad_fixture(tmp_path: Path) -> None:
    """The property over all of them: nothing is found afterwards, nothing more is added, and Python sees the same."""
    shutil.copytree(FIXTURES, "code")
    before = {path: path.read_bytes() for path in Path("code").rglob("*.py")}
    options = ("code", "--extend-select", "ALL", "--preview")
    first = torchlint(*options, "--add-ignore=a pitfall, on purpose")
    assert "by comments." in first.out
    after = {path: path.read_bytes() for path in before}
    changed = [path for path in before if before[path] != after[path]]
    assert len(changed) > 200
    assert {path.name for path in changed} >= {"bad.py"}
    for path in changed:
        assert ast.dump(ast.parse(before[path])) == ast.dump(ast.parse(after[path])), path
    left = torchlint(*options)
    assert found(left) == found(first)
    assert {one.rpartition(" ")[2] for one in found(left)} <= {"unused-suppression"}
    torchlint(*options, "--add-ignore=again")
    assert {path: path.read_bytes() for path in before} == after
