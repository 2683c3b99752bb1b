"""What is found in one file because of what another one says: `fixtures/projects/`, one folder a kind of fact."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from test_fixtures import marks

from torchlint import engine, imports, registry
from torchlint.source import Source

ROOT = Path(__file__).resolve().parents[1] / "fixtures" / "projects"
CASES = sorted(path for path in ROOT.iterdir() if path.is_dir())
FILES = sorted(ROOT.rglob("*.py"))


def found(path: Path) -> Counter[tuple[int, str]]:
    return Counter((one.span.row, one.code) for one in engine.analyse(Source.read(path), registry.load()))


@pytest.fixture(autouse=True)
def fresh() -> None:
    imports.forget()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_found_is_what_is_expected(path: Path) -> None:
    assert found(path) == marks(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_has_a_file_with_nothing_to_find_or_more_than_one_kind_of_it(case: Path) -> None:
    expectations = [marks(path.read_text(encoding="utf-8")) for path in case.rglob("*.py")]
    assert not all(expectations)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_copy_without_its_neighbours_says_less(case: Path, tmp_path: Path) -> None:
    """The findings hang on the other file: with it gone, none is there that the other file was needed for."""
    for path in case.rglob("*.py"):
        alone = tmp_path / path.name
        shutil.copy(path, alone)
        imports.forget()
        assert not found(alone) - marks(path.read_text(encoding="utf-8"))
        alone.unlink()


def test_the_order_of_files_changes_nothing() -> None:
    forwards = [found(path) for path in FILES]
    imports.forget()
    backwards = [found(path) for path in reversed(FILES)]
    assert forwards == backwards[::-1]
