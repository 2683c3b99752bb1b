"""Every fixture under real torch: the bad ones hurt, the good ones do not, and the mended ones no longer do.

What a run shows is what the rule's own probe measures, or the program's own failure. Where there is no GPU, programs of
the device rules run on a pretended one.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_fixtures import fixtures, linted, name, offered

from torchlint import engine, registry
from torchlint.confirm.proof import imported
from torchlint.fix import mend
from torchlint.source import Source

if TYPE_CHECKING:
    from torchlint.confirm.harness import Harness, Run

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]

RULES = registry.by_name()
# Packages that some fixtures import and no test installs: these programs are read, not run.
ABSENT = {"deepspeed", "mymodels", "mytraining", "timm", "torch_geometric", "tqdm", "transformers"}
# A fixture of which a run has to tell otherwise says why: `# run: the noise is what is wanted`.
_OTHERWISE = re.compile(r"^# run: \w.{10,}", re.MULTILINE)
# What the pretended accelerator cannot imitate: several GPUs.
NOT_PRETENDED = {"device_mismatch/good_data_parallel"}


def rule_of(path: Path) -> str:
    return path.parent.name.replace("_", "-")


def runnable(*kinds: str) -> list[Path]:
    return [path for path in fixtures(*kinds) if not imported(path) & ABSENT]


def otherwise(path: Path) -> bool:
    return _OTHERWISE.search(path.read_text(encoding="utf-8")) is not None


Result = tuple["Run", str]


def run(harness: Harness, rule: str, script: Path) -> Result:
    """Runs a program under the trace; the run, and what the probe of `rule` says of it."""
    from torchlint.confirm.harness import Program
    from torchlint.confirm.probe import judge
    from torchlint.confirm.proof import needs

    result = harness.run(Program(script, seed=0, timeout=60, **needs(RULES[rule])))
    probe = RULES[rule].probe
    assert probe is not None
    return result, judge(rule, probe, result.trace).outcome.value


def mended(path: Path, folder: Path) -> Path:
    """The program after torchlint's own fixes."""
    every = registry.load()
    source = mend(Source.read(path), lambda one: engine.analyse(one, every), unsafe=True).source
    script = folder / f"{path.parent.name}_{path.name}"
    script.write_text(source.text, encoding="utf-8")
    return script


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, Path], Future[Result]]]:
    """The runs that the chosen tests ask for, under way side by side."""
    from torchlint.confirm.harness import Harness

    folder = tmp_path_factory.mktemp("mended")
    wanted = [
        (item.function.__name__, item.callspec.params["path"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and isinstance(item.callspec.params["path"], Path)  # not so where no fixture is left to ask
    ]
    with Harness("cpu") as harness, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = {}
        for test, path in wanted:
            script = mended(path, folder) if "mended" in test else path
            futures[test, path] = pool.submit(run, harness, rule_of(path), script)
        yield futures
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def result(request: pytest.FixtureRequest, results: dict[tuple[str, Path], Future[Result]], path: Path) -> Result:
    return results[request.function.__name__, path].result()


@pytest.mark.parametrize("path", runnable("bad"), ids=name)
def test_bad_program_is_bad(result: Result, path: Path) -> None:
    program, outcome = result
    assert (outcome == "confirmed") != otherwise(path), f"{outcome}: {program.output}"


@pytest.mark.parametrize("path", [p for p in runnable("good") if name(p) not in NOT_PRETENDED], ids=name)
def test_good_program_runs_and_is_good(result: Result, path: Path) -> None:
    program, outcome = result
    assert program.status == 0, program.output
    assert (outcome == "confirmed") == otherwise(path), "the probe and the file disagree"


@pytest.mark.parametrize("path", [p for p in runnable("bad") if any(map(offered, linted(p)))], ids=name)
def test_mended_program_runs_and_is_good(result: Result, path: Path) -> None:
    program, outcome = result
    assert program.status == 0, f"{program.program.script.read_text(encoding='utf-8')}\n{program.output}"
    assert outcome != "confirmed", program.program.script.read_text(encoding="utf-8")
