"""The package as users get it: wheel, sdist, editable install, bare tree. Built and installed for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parent.parent
RULES = sorted(p.stem.replace("_", "-") for p in (ROOT / "rules").glob("*.py"))
PITFALL = "missing-zero-grad"
BAD = (ROOT / "fixtures" / "missing_zero_grad" / "bad.py").read_text(encoding="utf-8")
SCRIPTS = "Scripts" if os.name == "nt" else "bin"


def run(*command: str | Path, cwd: Path, status: int = 0, **environment: str) -> str:
    """What a command prints. It runs without what pytest's own Python knows, and must end with `status`."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GIT_", "GITHUB_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=keep | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == status, f"{command}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def new_venv(at: Path, *install: str) -> Path:
    """An empty environment with `install` in it; gives its Python."""
    run(sys.executable, "-m", "venv", at, cwd=at.parent)
    python = at / SCRIPTS / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *install, cwd=at.parent)
    return python


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what it asks for."""
    return new_venv(tmp_path_factory.mktemp("wheel") / "venv", str(built[1]))


@pytest.fixture(scope="module")
def unpacked(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bare tree of the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built[0]) as archive:
        archive.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(folder)
    (tree,) = folder.iterdir()
    return tree


def site_packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run(python, "-c", code, cwd=python.parent).strip())


def codes(output: str) -> set[str]:
    return {finding["code"] for finding in json.loads(output)}


def test_the_wheel_holds_the_package_alone_with_all_rules_and_fixtures(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[1]).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"torchlint"}
    for rule in RULES:
        module = rule.replace("-", "_")
        assert f"torchlint/rules/{module}.py" in names
        assert f"torchlint/fixtures/{module}/bad.py" in names
    assert "torchlint/rules/ja/missing_zero_grad.md" in names
    assert "torchlint/py.typed" in names
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)


def test_the_sdist_holds_what_its_tests_need(unpacked: Path) -> None:
    assert {"pyproject.toml", "dev.py", "README.md", "LICENSE", "rules", "fixtures", "tests", "torchlint"} <= {
        p.name for p in unpacked.iterdir()
    }
    assert (unpacked / "tests" / Path(__file__).name).is_file()


def test_the_installed_wheel_lints(installed: Path, tmp_path: Path) -> None:
    command = installed.parent / "torchlint"
    from torchlint import __version__

    assert __version__ in run(command, "--version", cwd=tmp_path)
    (tmp_path / "train.py").write_text(BAD, encoding="utf-8")
    assert codes(run(command, "--output-format", "json", "train.py", cwd=tmp_path, status=1)) == {PITFALL}
    listed = json.loads(run(command, "rules", "--output-format", "json", cwd=tmp_path))
    assert sorted(rule["name"] for rule in listed) == RULES


def test_the_installed_wheel_brings_nothing_heavy(installed: Path) -> None:
    found = {p.name.lower() for p in site_packages(installed).iterdir()}
    assert "torchlint" in found
    assert not found & {"torch", "numpy", "rules", "fixtures", "tests", "dev.py", "hatch_build.py"}
    packages = json.loads(run(installed, "-m", "pip", "list", "--format", "json", cwd=installed.parent))
    assert {p["name"].lower() for p in packages} <= {
        *("torchlint", "pip", "setuptools"),
        *("click", "libcst", "pathspec", "rich"),
        *("pyyaml", "pyyaml-ft", "typing-extensions", "typing_extensions", "markdown-it-py", "mdurl", "pygments"),
        *("tomli", "colorama"),
    }


def test_the_proof_of_the_installed_wheel_says_what_it_lacks(installed: Path, tmp_path: Path) -> None:
    """Without torch there is no proof, and a clear word about it instead of a traceback."""
    done = subprocess.run(
        [str(installed.parent / "torchlint"), "confirm"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert "torchlint[confirm]" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_editable_install_runs_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    python = new_venv(tmp_path / "venv", "--editable", str(unpacked))
    code = "import torchlint.rules.missing_zero_grad as m; print(m.__file__)"
    where = Path(run(python, "-c", code, cwd=tmp_path).strip())
    assert where == unpacked / "rules" / "missing_zero_grad.py"
    assert not (site_packages(python) / "torchlint").exists(), "a copy that would go stale"
    (tmp_path / "train.py").write_text(BAD, encoding="utf-8")
    command = python.parent / "torchlint"
    assert codes(run(command, "--output-format", "json", "train.py", cwd=tmp_path, status=1)) == {PITFALL}


def test_a_bare_tree_runs(unpacked: Path) -> None:
    """`python -m torchlint` in a tree that is not installed, with its requirements in reach."""
    libraries = sysconfig.get_path("purelib")
    code = "import torchlint.rules.missing_zero_grad as m; print(m.__file__)"
    assert Path(run(sys.executable, "-c", code, cwd=unpacked, PYTHONPATH=libraries).strip()).is_relative_to(unpacked)
    output = run(
        *(sys.executable, "-m", "torchlint", "--output-format", "json", "fixtures/missing_zero_grad/bad.py"),
        cwd=unpacked,
        status=1,
        PYTHONPATH=libraries,
    )
    assert codes(output) == {PITFALL}
