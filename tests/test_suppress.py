"""Comments that suppress: where they count, what they may not do, and how a needless one is taken out."""

from __future__ import annotations

import textwrap

import pytest
import toys

from torchlint import builtin, engine, fix, suppress
from torchlint.diagnostic import Diagnostic, Remedy, Safety
from torchlint.source import Source

KNOWN = frozenset({"toy-alarm", "toy-blaze"})
RULES = [rule for rule in toys.RULES if rule.name in KNOWN]


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    toys.install(monkeypatch)


def lint(text: str) -> list[Diagnostic]:
    source = Source("a.py", textwrap.dedent(text).encode())
    return suppress.apply(source, engine.analyse(source, RULES), KNOWN, builtin.SUPPRESSION_CODES)


def codes(text: str) -> list[str]:
    return [found.code for found in lint(text)]


QUIET = {
    "at the end of the line": "alarm()  # torchlint: ignore[toy-alarm] it is a drill\n",
    "without spaces": "alarm()#torchlint:ignore[toy-alarm]\n",
    "two rules": "alarm(); blaze()  # torchlint: ignore[toy-alarm, toy-blaze]\n",
    "after another tool's": "alarm()  # type: ignore  # torchlint: ignore[toy-alarm]\n",
    "alone above": "# torchlint: ignore[toy-alarm] a drill\nalarm()\n",
    "above, with another comment between": "# torchlint: ignore[toy-alarm]\n# remark\n\nalarm()\n",
    "last row of a long statement": "x = [\n    alarm(),\n]  # torchlint: ignore[toy-alarm]\n",
    "first row of a long statement": "x = [  # torchlint: ignore[toy-alarm]\n    alarm(),\n]\n",
    "a row between": "x = [\n    # torchlint: ignore[toy-alarm]\n    1,\n    alarm(),\n]\n",
    "above a long statement": "# torchlint: ignore[toy-alarm]\nx = [\n    alarm(),\n]\n",
    "on a header": "if alarm():  # torchlint: ignore[toy-alarm]\n    pass\n",
    "above a decorator": "# torchlint: ignore[toy-alarm]\n@one\n@two\ndef f(x=alarm()):\n    pass\n",
    "below a decorator": "@one\n# torchlint: ignore[toy-alarm]\ndef f(x=alarm()):\n    pass\n",
    "in a block": "def f():\n    if x:\n        # torchlint: ignore[toy-alarm]\n        alarm()\n",
    "after a backslash": "x = 1 + \\\n    alarm()  # torchlint: ignore[toy-alarm]\n",
    "the whole file": "alarm()\n\n# torchlint: ignore-file[toy-alarm] drills\nalarm()\n",
    "noqa": "alarm()  # noqa: toy-alarm\n",
    "noqa among others": "alarm()  # noqa: E501, toy-alarm,W291\n",
    "NOQA with a reason": "alarm()  # NOQA: toy-alarm it is a drill\n",
    "no final newline": "alarm()  # torchlint: ignore[toy-alarm]",
    "windows": "# torchlint: ignore[toy-alarm]\r\nalarm()\r\n",
    "form feed": "x = 1\n\x0calarm()  # torchlint: ignore[toy-alarm]\n",
}


@pytest.mark.parametrize("text", QUIET.values(), ids=QUIET)
def test_suppresses(text: str) -> None:
    assert codes(text) == []


LOUD = {
    "another statement": "x = 1  # torchlint: ignore[toy-alarm]\nalarm()\n",
    "above another statement": "# torchlint: ignore[toy-alarm]\nx = 1\nalarm()\n",
    "the body of a header": "if x:  # torchlint: ignore[toy-alarm]\n    alarm()\n",
    "another rule": "alarm()  # torchlint: ignore[toy-blaze]\n",
}


@pytest.mark.parametrize("text", LOUD.values(), ids=LOUD)
def test_does_not_reach(text: str) -> None:
    assert sorted(codes(text)) == ["toy-alarm", "unused-suppression"]


def test_text_in_strings_is_no_comment() -> None:
    assert codes("s = '# torchlint: ignore-file[toy-alarm]'\nalarm()\n") == ["toy-alarm"]
    assert codes('s = """\n# torchlint: ignore-file\n"""\n') == []


def test_foreign_codes_and_bare_noqa_are_left_alone() -> None:
    assert codes("x = 1  # noqa: E501, W291\ny = 1  # noqa\n# toy-alarm\n") == []
    assert codes("alarm()  # noqa\n# toy-alarm\n") == ["toy-alarm"]


@pytest.mark.parametrize(
    "comment", ["# torchlint: ignore", "# torchlint: ignore[]", "# torchlint: ignore[ , ]", "# torchlint: ignore-file"]
)
def test_a_blanket_ignore_is_refused(comment: str) -> None:
    found = lint(f"alarm()  {comment}\n")
    assert [d.code for d in found] == ["toy-alarm", "blanket-suppression"]
    assert "names no rule" in found[1].message
    assert (found[1].span.row, found[1].span.column) == (1, 10)


def test_a_misspelled_rule_is_reported_with_the_right_one() -> None:
    found = lint("alarm()  # torchlint: ignore[toy_alarm]\n")
    assert [d.code for d in found] == ["toy-alarm", "invalid-suppression"]
    assert found[1].message == "there is no rule `toy_alarm`; did you mean `toy-alarm`?"


@pytest.mark.parametrize("comment", ["# torchlint: ignroe[toy-alarm]", "# torchlint: ignore[toy-alarm"])
def test_a_comment_that_cannot_be_read_is_reported(comment: str) -> None:
    found = lint(f"alarm()  {comment}\n")
    assert [d.code for d in found] == ["toy-alarm", "invalid-suppression"]
    assert "cannot be read" in found[1].message


def test_each_name_that_finds_nothing_is_told() -> None:
    (found,) = lint("x = 1  # torchlint: ignore[toy-alarm, toy-blaze]\n")
    assert found.message == "suppresses nothing: `toy-alarm`, `toy-blaze` find nothing here"
    (found,) = lint("alarm()  # torchlint: ignore[toy-alarm, toy-blaze]\n")
    assert found.message == "suppresses nothing: `toy-blaze` finds nothing here"


def test_nothing_is_unneeded_in_a_broken_file() -> None:
    assert codes("x = (  # torchlint: ignore[toy-alarm]\n") == ["syntax-error"]


def test_a_broken_file_cannot_be_hidden() -> None:
    found = codes("# torchlint: ignore-file[syntax-error]\nx = = 1\n")
    assert sorted(found) == ["invalid-suppression", "syntax-error"]


MENDED = {
    "a trailing comment": ("x = 1  # torchlint: ignore[toy-alarm] why\ny = 2\n", "x = 1\ny = 2\n"),
    "a row of its own": ("if x:\n    # torchlint: ignore[toy-alarm]\n    y = 2\n", "if x:\n    y = 2\n"),
    "the last row": ("x = 1\n# torchlint: ignore[toy-alarm]", "x = 1\n"),
    "windows": ("x = 1  # torchlint: ignore[toy-alarm]\r\ny = 2\r\n", "x = 1\r\ny = 2\r\n"),
    "one of two names": (
        "alarm()  # torchlint: ignore[toy-alarm, toy-blaze] why\n",
        "alarm()  # torchlint: ignore[toy-alarm] why\n",
    ),
    "before another tool's": ("x = 1  # torchlint: ignore[toy-alarm] a # type: int\n", "x = 1  # type: int\n"),
    "after another tool's": ("x = 1  # type: int # torchlint: ignore[toy-alarm]\n", "x = 1  # type: int\n"),
    "among foreign codes": ("x = 1  # noqa: E501, toy-alarm, W291\n", "x = 1  # noqa: E501, W291\n"),
    "the only code": ("x = 1  # noqa: toy-alarm\n", "x = 1\n"),
    "a code with a reason": ("x = 1  # noqa: toy-alarm it must be\n", "x = 1  # it must be\n"),
    "behind wide characters": ("x = '日本'  # torchlint: ignore[toy-alarm]\n", "x = '日本'\n"),
}


@pytest.mark.parametrize(("text", "wanted"), MENDED.values(), ids=MENDED)
def test_the_fix_takes_out_what_suppresses_nothing(text: str, wanted: str) -> None:
    found = [d for d in lint(text) if d.code == "unused-suppression"]
    assert len(found) == 1
    assert found[0].fix is not None
    assert fix.apply(text, [found[0].fix])[0] == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("@one\n@two\ndef f(x=alarm()):\n    pass\n", "@one\n@two\ndef f(x=alarm()):{}\n    pass\n"),
        ("@one(alarm())\ndef f():\n    pass\n", "@one(alarm())\ndef f():{}\n    pass\n"),
        ("if x:\n    pass\nelif alarm():\n    pass\n", "if x:\n    pass\nelif alarm():{}\n    pass\n"),
        ("with alarm():\n    alarm()\n", "with alarm():{}\n    alarm(){}\n"),
        ("def f(\n    x=alarm(),\n): pass\n", "def f(\n    x=alarm(),\n): pass{}\n"),
    ],
)
def test_a_comment_that_is_added_suppresses(text: str, wanted: str) -> None:
    source = Source("a.py", text.encode())
    edits = suppress.ignoring(source, engine.analyse(source, RULES), KNOWN, "why")
    added, _ = fix.apply(text, [Remedy(Safety.SAFE, "", (edit,)) for edit in edits])
    assert added == wanted.replace("{}", "  # torchlint: ignore[toy-alarm] why")
    assert codes(added) == []


def test_files_without_the_word_are_not_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("tokenized")

    monkeypatch.setattr(suppress, "_comments", never)
    assert codes("alarm()  # noqa: E501\n") == ["toy-alarm"]
    with pytest.raises(AssertionError, match="tokenized"):
        codes("alarm()  # torchlint: ignore[toy-alarm]\n")


# --------------------------------------------------------------------------------------------------- writing a comment

WRITTEN = {
    "at the end": ("alarm()\n", "alarm()  # torchlint: ignore[toy-alarm]\n"),
    "both rules": ("alarm(); blaze()\n", "alarm(); blaze()  # torchlint: ignore[toy-alarm, toy-blaze]\n"),
    "one comment for two findings": ("alarm(); alarm()\n", "alarm(); alarm()  # torchlint: ignore[toy-alarm]\n"),
    "behind another tool's": ("alarm()  # noqa: E501\n", "alarm()  # noqa: E501  # torchlint: ignore[toy-alarm]\n"),
    "joins a comment, before its reason": (
        "alarm(); blaze()  # torchlint: ignore[toy-alarm] why\n",
        "alarm(); blaze()  # torchlint: ignore[toy-alarm, toy-blaze] why\n",
    ),
    "joins one above": (
        "# torchlint: ignore[toy-alarm]\nalarm(); blaze()\n",
        "# torchlint: ignore[toy-alarm, toy-blaze]\nalarm(); blaze()\n",
    ),
    "joins noqa": ("alarm(); blaze()  # noqa: toy-alarm\n", "alarm(); blaze()  # noqa: toy-alarm, toy-blaze\n"),
    "not the file's": (
        "# torchlint: ignore-file[toy-alarm] drills\nblaze()\n",
        "# torchlint: ignore-file[toy-alarm] drills\nblaze()  # torchlint: ignore[toy-blaze]\n",
    ),
    "one that names nothing": ("alarm()  # torchlint: ignore\n", "alarm()  # torchlint: ignore[toy-alarm]\n"),
    "behind a long statement": ("x = [\n    alarm(),\n]\n", "x = [\n    alarm(),\n]  # torchlint: ignore[toy-alarm]\n"),
    "behind a header": (
        "if alarm(\n    1\n):\n    # here\n    pass\n",
        "if alarm(\n    1\n):  # torchlint: ignore[toy-alarm]\n    # here\n    pass\n",
    ),
    "behind a backslash": ("x = 1 + \\\n    alarm()\n", "x = 1 + \\\n    alarm()  # torchlint: ignore[toy-alarm]\n"),
    "behind a string of several rows": (
        'x = alarm(), """\na\n"""\n',
        'x = alarm(), """\na\n"""  # torchlint: ignore[toy-alarm]\n',
    ),
    "no final newline, spaces at the end": ("alarm()  ", "alarm()  # torchlint: ignore[toy-alarm]"),
    "windows": ("alarm()\r\n", "alarm()  # torchlint: ignore[toy-alarm]\r\n"),
    "wide characters": ("x = '😀損'; alarm()\n", "x = '😀損'; alarm()  # torchlint: ignore[toy-alarm]\n"),
}


def ignored(text: str, reason: str = "") -> str:
    source = Source("a.py", text.encode())
    found = [one for one in lint(text) if one.code in KNOWN]
    edits = suppress.ignoring(source, found, KNOWN, reason)
    new, applied = fix.apply(text, [Remedy(Safety.SAFE, "", (edit,)) for edit in edits])
    assert len(applied) == len(edits)
    return new


@pytest.mark.parametrize(("text", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_a_comment_is_written_where_it_counts(text: str, expected: str) -> None:
    assert ignored(text) == expected
    assert [code for code in codes(expected) if code in KNOWN] == []
    assert ignored(expected) == expected


def test_a_reason_is_written_too() -> None:
    assert ignored("alarm()\n", "it is a drill") == "alarm()  # torchlint: ignore[toy-alarm] it is a drill\n"
