"""Programs as people write them: each pitfall planted in one is confirmed with a number, and none is seen in its twin.

The programs are in `programs/`; `programs/plants.py` says what is planted in them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from torchlint import registry

sys.path.insert(0, str(Path(__file__).parent))
from programs.plants import PLANTS, TWINS, Plant, Twin, write

pytest.importorskip("torch")
pytestmark = pytest.mark.training


@dataclass(frozen=True)
class Case:
    """One program to confirm: as it stands, or with a plant; on the CPU, or on an accelerator that is not there."""

    program: Twin
    plant: Plant | None = None
    pretend: bool = False

    def __str__(self) -> str:
        return f"{self.plant or self.program.name}{'-accelerated' if self.pretend else ''}"


@dataclass(frozen=True)
class Outcome:
    status: int
    report: dict[str, Any]
    said: str


PLANTED = [Case(plant.program, plant, plant.pretend) for plant in PLANTS]
# Every program on the CPU, and where one is planted that needs an accelerator, on that too.
CLEAN = [Case(twin) for twin in TWINS] + [
    Case(twin, pretend=True) for twin in TWINS if any(plant.program == twin and plant.pretend for plant in PLANTS)
]


def confirm(case: Case, folder: Path) -> Outcome:
    """Runs `torchlint confirm` on the program in a folder of its own."""
    script = write(case.program, folder, case.plant)
    report = folder / "report.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "torchlint", "confirm", "--device", "pretend-cuda" if case.pretend else "cpu"),
            *("--output-format", "json", "--output-file", report),
            *(*case.program.launch, script.name, *case.program.argv),
        ],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return Outcome(ran.returncode, json.loads(report.read_text("utf-8")) if report.is_file() else {}, ran.stdout)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Says what became of a case. Those of all tests that were asked for run side by side, on every core."""
    folder, started = tmp_path_factory.mktemp("programs"), dict[Case, Future[Outcome]]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def outcome(case: Case) -> Outcome:
            missing = case.program.needs and importlib.util.find_spec(case.program.needs) is None
            if missing:
                pytest.skip(f"{case.program.needs} is not installed")
            if case not in started:
                started[case] = pool.submit(confirm, case, folder / str(case))
            return started[case].result()

        if "PYTEST_XDIST_WORKER" not in os.environ:  # each of which would start them all
            for item in request.session.items:
                case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
                if isinstance(case, Case) and (not case.program.needs or importlib.util.find_spec(case.program.needs)):
                    started[case] = pool.submit(confirm, case, folder / str(case))
        yield outcome
        pool.shutdown(cancel_futures=True)


def place(one: dict[str, Any]) -> tuple[str, str, int]:
    return one["code"], Path(one["filename"]).name, one["location"]["row"]


@pytest.mark.parametrize("case", PLANTED, ids=str)
def test_a_plant_is_confirmed_with_a_number(outcomes: Any, case: Case) -> None:
    plant = case.plant
    assert plant is not None
    outcome = outcomes(case)
    verdicts, shown = outcome.report["verdicts"], outcome.report["runtime_only"]
    planted = (plant.rule, Path(plant.target).name, plant.row)
    confirmed = [one for one in verdicts if one["verdict"] == "confirmed"]
    assert [place(one) for one in confirmed + shown] == [planted], outcome.said
    assert bool(confirmed) == plant.linted
    least, most = plant.number
    [number] = [one["value"] for one in confirmed + shown]
    assert least <= number <= most
    # A program that fails at the plant leaves other lines unreached, which say the same.
    assert {(one["code"], one["verdict"]) for one in verdicts if one not in confirmed} <= {(plant.rule, "not-reached")}
    assert outcome.status == 1


@pytest.mark.parametrize("case", CLEAN, ids=str)
def test_its_twin_is_clean(outcomes: Any, case: Case) -> None:
    outcome = outcomes(case)
    assert outcome.status == 0, outcome.said
    assert outcome.report["verdicts"] == outcome.report["runtime_only"] == []
    [run] = outcome.report["runs"]
    assert (run["status"], run["ended"]) == (0, "itself")
    assert run["steps"] >= 8, "it has trained"


def test_plants_are_of_many_rules_and_every_program_has_one() -> None:
    """The other rules are proven on their own programs, in fixtures/."""
    planted = {plant.rule for plant in PLANTS}
    assert planted <= {rule.name for rule in registry.load() if rule.probe is not None}
    assert len(planted) >= 11
    assert {plant.program for plant in PLANTS} == set(TWINS)
