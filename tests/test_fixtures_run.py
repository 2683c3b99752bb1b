"""Every fixture under real torch: the bad ones hurt, the good ones do not, and the mended ones no longer do.

What a run shows is what the rule's own probe measures, or the program's own failure. Where there is no GPU, programs of
the device rules run on a pretended one.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_fixtures import fixtures, linted, name, offered

from torchlint import engine, registry
from torchlint.fix import mend
from torchlint.source import Source

if TYPE_CHECKING:
    from torchlint.confirm.harness import Harness, Run

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]

RULES = registry.by_name()
ACCELERATED = {"device-mismatch", "tensor-without-device", "tensor-move-discarded"}
# Packages that some fixtures import and no test installs: these programs are read, not run.
ABSENT = {"accelerate", "deepspeed", "lightning", "mymodels", "mytraining", "tqdm", "transformers"}
# Right, although a probe measures what would be harm elsewhere: here it is what the author wants.
MEANT = {
    "inference_without_eval/good_gan_samples",
    "inference_without_eval/good_monte_carlo_dropout",
    "inference_without_eval/good_smoke_test",
    "inference_without_eval/good_update_statistics",
    "inference_without_no_grad/good_single_prediction",
    "tensor_move_discarded/good_warm_up",
}
# What the pretended accelerator cannot imitate: several GPUs.
NOT_PRETENDED = {"device_mismatch/good_data_parallel"}


def rule_of(path: Path) -> str:
    return path.parent.name.replace("_", "-")


def runnable(*kinds: str) -> list[Path]:
    return [path for path in fixtures(*kinds) if not imports(path) & ABSENT]


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {one.partition(".")[0] for one in names}


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    from torchlint.confirm.harness import Harness

    with Harness("cpu", processes=2) as one:
        yield one


def run(harness: Harness, rule: str, script: Path) -> tuple[Run, str]:
    """Runs a program under the trace; the run, and what the probe of `rule` says of it."""
    from torchlint.confirm.harness import Program
    from torchlint.confirm.probe import judge

    result = harness.run(Program(script, seed=0, accelerator=rule in ACCELERATED, timeout=60))
    probe = RULES[rule].probe
    assert probe is not None
    return result, judge(rule, probe, result.trace).outcome.value


@pytest.mark.parametrize("path", runnable("bad"), ids=name)
def test_bad_program_is_bad(harness: Harness, path: Path) -> None:
    result, outcome = run(harness, rule_of(path), path)
    assert outcome == "confirmed" or result.status, result.output


@pytest.mark.parametrize("path", runnable("good"), ids=name)
def test_good_program_runs_and_is_good(harness: Harness, path: Path) -> None:
    if name(path) in NOT_PRETENDED:
        pytest.skip("needs what the pretended accelerator lacks")
    result, outcome = run(harness, rule_of(path), path)
    assert result.status == 0, result.output
    assert (outcome == "confirmed") == (name(path) in MEANT), "the probe says otherwise"


@pytest.mark.parametrize("path", runnable("bad"), ids=name)
def test_mended_program_runs_and_is_good(harness: Harness, path: Path, tmp_path: Path) -> None:
    if not any(offered(one) for one in linted(path)):
        pytest.skip("no fix is offered")
    every = registry.load()
    mended = mend(Source.read(path), lambda source: engine.analyse(source, every), unsafe=True)
    script = tmp_path / path.name
    script.write_text(mended.source.text, encoding="utf-8")
    result, outcome = run(harness, rule_of(path), script)
    assert result.status == 0, f"{mended.source.text}\n{result.output}"
    assert outcome != "confirmed", mended.source.text
