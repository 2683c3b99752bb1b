"""Many files: the same outcome for every number of processes, and files that are written with care."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys

from torchlint import registry, run, selection
from torchlint.config import Config
from torchlint.diagnostic import Diagnostic
from torchlint.rule import Facts, Finding
from torchlint.run import Plan, Record, Report
from torchlint.source import Source

FIXTURES = Path(__file__).parent.parent / "fixtures"


def plan(diff: bool = False, **settings: object) -> Plan:
    config = Config(**settings)  # type: ignore[arg-type]
    return Plan(config, selection.resolve(config, registry.load()), diff)


def write(path: Path, text: str) -> str:
    path.write_text(text, newline="")
    return str(path)


@pytest.mark.parametrize("fix", [False, True])
def test_every_number_of_processes_gives_the_same(fix: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAYS_FROM", 0)
    outcomes = []
    for jobs in (1, 2):
        folder = tmp_path / "copy"
        shutil.copytree(FIXTURES / "missing_zero_grad", folder)
        (folder / "broken.py").write_text("x = = 1\n")
        monkeypatch.chdir(folder)
        paths = sorted(path.name for path in folder.glob("*.py"))
        found = run.run(paths, plan(fix=fix, jobs=jobs))
        outcomes.append((found.records, {path: Path(path).read_bytes() for path in paths}))
        shutil.rmtree(folder)
    assert outcomes[0] == outcomes[1]
    records = outcomes[0][0]
    assert sum(len(record.findings) for record in records) > (0 if fix else 1)
    assert any(record.fixed for record in records) is fix


def test_a_crash_outside_the_rules_costs_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchlint import suppress

    def crash(source: Source, *_: object) -> list[Diagnostic]:
        if source.filename.endswith("a.py"):
            raise IndexError("out of range")
        return []

    monkeypatch.setattr(suppress, "apply", crash)
    one, two = run.run([write(tmp_path / "a.py", ""), write(tmp_path / "b.py", "")], plan()).records
    assert [found.code for found in one.findings] == ["internal-error"]
    assert "the check of this file crashed: IndexError: out of range at test_run.py:" in one.findings[0].message
    assert two.findings == ()


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="the bomb is only inherited by a fork")
def test_a_process_that_dies_costs_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bomb(worker: run.Worker, path: str) -> Record:
        if "bomb" in path:
            os._exit(9)
        return Record(path)

    monkeypatch.setattr(run, "PAYS_FROM", 0)
    monkeypatch.setattr(run.Worker, "file", bomb)
    paths = ["a.py", "bomb.py", *(f"c{number}.py" for number in range(30))]
    records = run.run(paths, plan(jobs=2)).records
    assert [record.filename for record in records] == paths
    assert [record.filename for record in records if record.findings] == ["bomb.py"]
    assert [one.code for one in records[1].findings] == ["internal-error"]
    assert Report(plan(), records).exit_code == 2


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_an_interruption_ends_every_process_at_once(tmp_path: Path) -> None:
    source = (FIXTURES / "missing_zero_grad" / "bad.py").read_text()
    for number in range(80):
        (tmp_path / f"{number}.py").write_text("\n".join([source] * 30))
    done = subprocess.Popen(
        [sys.executable, "-m", "torchlint", "-v", "-j2", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stderr is not None
    assert "checks" in done.stderr.readline()  # from here on files are read
    time.sleep(0.5)
    assert done.poll() is None, "too fast to be interrupted"
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=20)
    assert (done.returncode, out, "Traceback" in err) == (130, "", False)


class TestFixing:
    @pytest.fixture(autouse=True)
    def _toys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toys.install(monkeypatch)

    def mend(self, path: str, **settings: object) -> Record:
        return run.run([path], plan(**{"fix": True, **settings})).records[0]  # type: ignore[arg-type]

    def test_safe_fixes_are_made_and_the_rest_is_reported(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.py", "alarm()\nblaze()\nx = 1  # torchlint: ignore[toy-alarm]\n")
        record = self.mend(path)
        assert Path(path).read_text() == "calm()\nblaze()\nx = 1\n"
        assert sorted(one.code for one in record.fixed) == ["toy-alarm", "unused-suppression"]
        assert [one.code for one in record.findings] == ["toy-blaze"]

    def test_unsafe_ones_on_demand(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.py", "alarm()\nblaze()\n")
        assert self.mend(path, unsafe_fixes=True).findings == ()
        assert Path(path).read_text() == "calm()\ncalm()\n"

    def test_what_is_suppressed_or_not_selected_is_not_mended(self, tmp_path: Path) -> None:
        text = "alarm()  # torchlint: ignore[toy-alarm]\nblaze()\n"
        path = write(tmp_path / "a.py", text)
        record = self.mend(path, unsafe_fixes=True, ignore=("toy-blaze",))
        assert (record.findings, record.fixed, Path(path).read_text()) == ((), (), text)

    def test_bytes_that_are_not_mended_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "a.py"
        path.write_bytes(b"\xef\xbb\xbfx = 'caf\xc3\xa9'\r\nalarm()\r\n\x0cy = 1")
        self.mend(str(path))
        assert path.read_bytes() == b"\xef\xbb\xbfx = 'caf\xc3\xa9'\r\ncalm()\r\n\x0cy = 1"
        path.write_bytes(b"# coding: latin-1\nx = '\xe9'\nalarm()\n")
        self.mend(str(path))
        assert path.read_bytes() == b"# coding: latin-1\nx = '\xe9'\ncalm()\n"

    def test_mode_and_link_stay(self, tmp_path: Path) -> None:
        target = tmp_path / "real.py"
        write(target, "alarm()\n")
        target.chmod(0o755)
        link = tmp_path / "link.py"
        link.symlink_to(target)
        self.mend(str(link))
        assert link.is_symlink()
        assert target.read_text() == "calm()\n"
        assert target.stat().st_mode & 0o777 == 0o755
        assert sorted(p.name for p in tmp_path.iterdir()) == ["link.py", "real.py"]

    def test_a_file_with_nothing_to_mend_is_not_touched(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.py", "blaze()\n")
        os.utime(path, (1, 1))
        self.mend(path)
        assert Path(path).stat().st_mtime == 1

    def test_diff_changes_nothing(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.py", "alarm()\n")
        record = run.run([path], plan(diff=True, fix=True)).records[0]
        assert Path(path).read_text() == "alarm()\n"
        assert record.changes == (run.Change(path, "alarm()\n", "calm()\n"),)

    def test_a_file_that_cannot_be_written_is_a_finding(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path, data: bytes) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(run, "write", refuse)
        path = write(tmp_path / "a.py", "alarm()\n")
        record = self.mend(path)
        assert [(one.code, one.message) for one in record.findings] == [
            ("io-error", "cannot be written: Permission denied")
        ]
        assert record.fixed == ()

    def test_a_write_that_fails_leaves_no_trace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        path = tmp_path / "a.py"
        write(path, "alarm()\n")
        monkeypatch.setattr(shutil, "copymode", full)
        with pytest.raises(OSError, match="No space left"):
            run.write(path, b"calm()\n")
        assert [p.name for p in tmp_path.iterdir()] == ["a.py"]
        assert path.read_text() == "alarm()\n"


def test_an_unreadable_file_is_a_finding(tmp_path: Path) -> None:
    link = tmp_path / "gone.py"
    link.symlink_to(tmp_path / "nowhere.py")
    (record,) = run.run([str(link)], plan()).records
    assert [(one.code, one.message) for one in record.findings] == [
        ("io-error", "cannot be read: No such file or directory")
    ]


def test_a_file_over_the_limit_is_left_out_with_a_notice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", "x = = 1\n")
    (record,) = run.run([path], plan(max_file_size=5)).records
    assert record == Record(path, notice=f"{path}: skipped, larger than max-file-size (5 bytes)")
    assert run.run([path], plan(max_file_size=8)).records[0].findings


def test_severity_and_per_file_ignores_are_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.install(monkeypatch)
    one, two = write(tmp_path / "one.py", "alarm()\nblaze()\n"), write(tmp_path / "two.py", "alarm()\n")
    ignores = {"two.py": ("toy-alarm",)}
    found = run.run([one, two], plan(severity={"toy-alarm": "info"}, per_file_ignores=ignores, root=tmp_path))
    assert [(d.filename, d.code, d.severity.value) for d in found.findings] == [
        (one, "toy-alarm", "info"),
        (one, "toy-blaze", "warning"),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"per_file_ignores": {"a.py": ("toy-alarm", "toy-elder")}},
        {"ignore": ("toy-alarm",)},
        {"select": ("suppression",)},
        {"target_torch": "3.0"},
        {},
    ],
)
def test_a_comment_is_unneeded_where_no_rule_finds_anything_selected_or_not(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.install(monkeypatch)
    comment = "# torchlint: ignore[toy-alarm, toy-elder]\n"
    path = write(tmp_path / "a.py", f"alarm(); elder()  {comment}alarm()  {comment}x = 1  {comment}")
    found = run.run([path], plan(root=tmp_path, **settings)).findings
    assert [(one.span.row, one.message.partition(":")[2]) for one in found if one.code == "unused-suppression"] == [
        (2, " `toy-elder` finds nothing here"),
        (3, " `toy-alarm`, `toy-elder` find nothing here"),
    ]


def test_findings_of_all_files_are_in_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.install(monkeypatch)
    paths = [write(tmp_path / name, "blaze()\nalarm()\n") for name in ("b.py", "a.py")]
    found = run.run(paths, plan())
    assert [(Path(d.filename).name, d.span.row) for d in found.findings] == [
        ("a.py", 1),
        ("a.py", 2),
        ("b.py", 1),
        ("b.py", 2),
    ]


@pytest.mark.parametrize(("target", "rows"), [("", [1, 3]), ("2.5", [1, 2]), ("2.6.1", [1, 3])])
def test_a_finding_can_hold_for_some_versions_of_torch(
    monkeypatch: pytest.MonkeyPatch, target: str, rows: list[int]
) -> None:
    def check(facts: Facts) -> Iterator[Finding]:
        first, second, third = (site for _, site in facts.sites)  # type: ignore[attr-defined]
        yield Finding(first, "always", "Always.")
        yield Finding(second, "once", "Once.", until="2.5")
        yield Finding(third, "now", "Now.", since="2.6")

    toys.install(monkeypatch, (replace(toys.RULES[0], check=check),))
    record = run.Worker(plan(target_torch=target)).source(Source("a.py", b"alarm()\nalarm()\nalarm()\n"))
    assert [one.span.row for one in record.findings] == rows
