"""What only a terminal is told, in a real one: colours, its width, carets, progress, and how an interruption ends."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
import terminal

from torchlint.report import progress

TORCHLINT = [sys.executable, "-m", "torchlint", "--isolated", "--no-cache"]

LOOP = """\
import torch

def train(model, loader, optimizer, loss_fn):
    for x, y in loader:
        loss = loss_fn(model(x), y)
        {}
        optimizer.step()
"""


@pytest.mark.parametrize(
    "line",
    [
        "loss.backward()",
        "'日本語のテキスト'; loss.backward()  # 日本語",
        "'e\u0301ﬁ ∑ ｱ 한'; loss.backward()",  # the emulator knows no marks without a combining class, and no flags
        "'👨\u200d👩\u200d👧 ⚠\ufe0f 👍🏽 🙂'; loss.backward()",
        "t\t=\t1;\tloss.backward()",
        "'" + "日" * 90 + "'; loss.backward(); '" + "é" * 90 + "'",
    ],
    ids=["plain", "wide", "marks", "emoji", "tabs", "long"],
)
@pytest.mark.parametrize("columns", [80, 38])
def test_carets_stand_right_on_the_screen(tmp_path: Path, line: str, columns: int) -> None:
    (tmp_path / "a.py").write_text(LOOP.format(line), encoding="utf-8")
    with terminal.opened([*TORCHLINT, str(tmp_path / "a.py")], columns, 60) as one:
        assert one.finish() == 1
        rows = one.screen.buffer
        # A wide character fills two cells of the screen, the second of them empty.
        (marked,) = (y for y in range(60) if any(rows[y][x].data == "^" for x in range(columns)))
        above = "".join(rows[marked - 1][x].data for x in range(columns) if rows[marked][x].data == "^")
    assert above == "loss.backward()"


def test_colours(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(LOOP.format("loss.backward()"))
    command = [*TORCHLINT, "-q", str(tmp_path / "a.py")]
    with terminal.opened(command) as one:
        one.finish()
        looks = {one.screen.buffer[0][x].fg for x in range(80)}
        assert "red" in looks
        plain = re.sub(rb"\x1b\[[0-9;]*m", b"", one.written)
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with terminal.opened(command, environment=environment) as one:
            one.finish()
            assert one.written == plain, environment


def slow(tmp_path: Path, seconds: float, jobs: int, after: float = 0.2) -> list[str]:
    """A command that lints a folder of 24 files, each of which takes its time; `after` that progress is told."""
    folder = tmp_path / "project"
    folder.mkdir()
    for number in range(24):
        (folder / f"m{number}.py").write_text("import torch\n" + LOOP.format("loss.backward()"))
    program = tmp_path / "slow.py"
    program.write_text(
        "import time\n"
        "from torchlint import cli, engine, run\n"
        "from torchlint.report import progress\n"
        "run.PAYS_FROM = 0\n"
        f"progress.AFTER = {after}\n"
        "real = engine.analyse\n"
        "def analyse(*args):\n"
        f"    time.sleep({seconds})\n"
        "    return real(*args)\n"
        "engine.analyse = analyse\n"
        "cli.main()\n"
    )
    return [sys.executable, str(program), "--isolated", "--no-cache", "-j", str(jobs), str(folder)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_long_run_says_how_far_it_is_and_leaves_nothing(tmp_path: Path, jobs: int) -> None:
    with terminal.opened([*slow(tmp_path, 0.04, jobs), "--statistics"]) as one:
        one.wait("of 24 files")
        assert one.finish() == 1
        told = [int(count) for count in re.findall(rb"torchlint: (\d+) of 24 files", one.written)]
        assert told == sorted(told)
        assert len(told) > 1
        assert one.lines == ["24  missing-zero-grad  [*] 24 fixable", *one.lines[1:]]
        assert "of 24 files" not in "\n".join(one.lines)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_erases_it(tmp_path: Path, jobs: int) -> None:
    with terminal.opened(slow(tmp_path, 0.5, jobs)) as one:
        one.wait("of 24 files")
        started = time.monotonic()
        one.type("\x03")
        assert one.finish() == 130
        assert time.monotonic() - started < 5
        assert [line for line in one.lines if line] == ["torchlint: interrupted"]


@pytest.mark.parametrize(("options", "environment"), [(("-q",), {}), ((), {"TERM": "dumb"})])
def test_who_wants_none_gets_none(tmp_path: Path, options: tuple[str, ...], environment: dict[str, str]) -> None:
    with terminal.opened([*slow(tmp_path, 0.02, 1, 0.0), *options], environment=environment) as one:
        assert one.finish() == 1
        assert b"of 24 files" not in one.written


def test_a_short_run_has_nothing_to_say(tmp_path: Path) -> None:
    assert progress.AFTER >= 1
    with terminal.opened(slow(tmp_path, 0, 1, 3600.0)) as one:
        assert one.finish() == 1
        assert b"of 24 files" not in one.written


@pytest.mark.parametrize("columns", [170, 80, 40])
def test_the_list_of_rules_keeps_to_the_terminal(columns: int) -> None:
    command = [sys.executable, "-m", "torchlint", "rules"]
    with terminal.opened(command, columns, 3000) as one:
        assert one.finish() == 0
        lines = re.sub(rb"\x1b\[[0-9;]*m", b"", one.written).decode().splitlines()
    assert max(map(len, lines)) <= columns, "nothing is wrapped by the terminal"
    if columns < 170:
        at = lines.index("missing-zero-grad")
        assert lines[at + 1].startswith("  A training loop steps its optimizer")
        assert "  correctness, fix: sometimes, confirmed" in lines[at:]
        assert lines[-1].endswith("rule's page.") or columns == 40
    else:
        assert lines[0].split() == ["RULE", "GROUP", "FIX", "PROOF"]


def test_what_was_set_stands_out_among_the_settings() -> None:
    command = [sys.executable, "-m", "torchlint", "config", "--isolated", "--select", "ALL"]
    with terminal.opened(command, 80, 200) as one:
        assert one.finish() == 0
        lines = one.written.decode().splitlines()
    assert 'select = ["ALL"]  # --select' in lines
    assert "\x1b[2mjobs = 0  # default\x1b[0m" in lines
