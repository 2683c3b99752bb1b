"""The fixture `torchlint_watch`, in test suites of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest_plugins = ["pytester"]
pytestmark = pytest.mark.training

TRAIN = """
import pytest
import torch
from torch import nn


def train(clears):
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(4):
        if clears:
            optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.ones(3, 4)), torch.zeros(3, dtype=torch.long))
        loss.backward()
        optimizer.step()
    return model


"""
LINE = 1 + TRAIN.strip().splitlines().index("        loss.backward()")


TESTS = """
def test_good(torchlint_watch):
    train(True)
    assert torchlint_watch.steps == 4

def test_unwatched():
    train(False)

def test_shape(torchlint_watch):  # who only calls a model does not train
    assert nn.Dropout()(nn.Linear(4, 2)(torch.ones(3, 4))).shape == (3, 2)

@pytest.mark.torchlint(ignore=["missing-zero-grad"])
class TestMarked:
    def test_in_class(self, torchlint_watch):
        train(False)

@pytest.mark.xfail(strict=True)
def test_expected(torchlint_watch):
    train(False)

def test_bad(torchlint_watch):
    train(False)

def test_own_failure(torchlint_watch):
    train(False)
    assert 1 == 2

@pytest.mark.torchlint(ignore=["missing-zero"])
def test_misspelt(torchlint_watch):
    pass

@pytest.mark.torchlint("missing-zero-grad")
def test_wrong_marker(torchlint_watch):
    pass
"""


def test_the_fixture_fails_the_test_that_confirms_a_pitfall(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(TRAIN + TESTS)
    # in a process of its own: torch cannot be taken out of one and imported again
    result = pytester.runpytest_subprocess("--strict-markers", "-rA", "-p", "no:cacheprovider", str(path))
    result.assert_outcomes(passed=4, xfailed=1, failed=2, errors=2)
    # errors come first, then failures, in the order of the file
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_misspelt*",
            "*unknown rule 'missing-zero'; did you mean `missing-zero-grad`?*",
            "*ERROR at setup of test_wrong_marker*",
            "*write @pytest.mark.torchlint(ignore=*",
            "*_ test_bad _*",
            "torchlint confirmed missing-zero-grad in this test",
            f"*.py:{LINE}: missing-zero-grad: at step 2 .grad held the gradients of 2 steps*",
            "    loss.backward()",
            "    steps' gradients in .grad: 2 steps' worth, where 1 is right",
            "*_ test_own_failure _*",
            "E*assert 1 == 2",
            "torchlint confirmed missing-zero-grad in this test",
            "FAILED *::test_bad*",
            "FAILED *::test_own_failure*",
        ]
    )


def test_a_run_that_does_not_ask_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('torchlint')\n"
        "    heavy = {name.partition('.')[0] for name in sys.modules} & {'torch', 'libcst', 'click', 'rich'}\n"
        "    assert not heavy\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout
