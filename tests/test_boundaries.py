"""Who may import what: libcst in `source.py` and `semantics/` only, torch in `confirm/` only, pygls in `server/` only;
none without need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
PACKAGE = HERE / "torchlint"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(HERE / "rules").rglob("*.py")])


def imported(code: ast.AST) -> Iterator[str]:
    """The top-level packages that run-time imports name; those under `if TYPE_CHECKING:` do not count."""
    todo = [code]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                todo.extend(node.orelse)
                continue
            case ast.Import():
                yield from (name.name.partition(".")[0] for name in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(
                func=ast.Name("__import__") | ast.Attribute(attr="import_module"), args=[ast.Constant(str(module)), *_]
            ):
                yield module.partition(".")[0]
        todo.extend(ast.iter_child_nodes(node))


def allowed(path: Path, package: str) -> bool:
    match package:
        case "libcst":
            return path == PACKAGE / "source.py" or PACKAGE / "semantics" in path.parents
        case "torch":
            return PACKAGE / "confirm" in path.parents
        case "pygls" | "lsprotocol":
            return PACKAGE / "server" in path.parents
    return True


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HERE)))
def test_imports_keep_to_their_house(path: Path) -> None:
    packages = set(imported(ast.parse(path.read_bytes())))
    assert [package for package in sorted(packages) if not allowed(path, package)] == []


def test_this_test_can_fail() -> None:
    code = ast.parse(
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import libcst.matchers\nimport_module('torch.nn')\n"
    )
    assert set(imported(code)) == {"libcst"}
    assert set(imported(ast.parse("importlib.import_module('torch.nn')"))) == {"torch"}
    assert not allowed(PACKAGE / "engine.py", "libcst")
    assert not allowed(HERE / "rules" / "missing_zero_grad.py", "torch")
    assert allowed(PACKAGE / "semantics" / "walk.py", "libcst")
    assert not allowed(PACKAGE / "run.py", "lsprotocol")
    assert len(MODULES) > 20


REPORT = """
import sys
from torchlint import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as ended:
    names = ("libcst", "torch", "rich", "multiprocessing", "pygls", "lsprotocol", "torchlint.server")
    print(ended.code, *(name for name in names if name in sys.modules), file=sys.stderr)
"""


def run(*arguments: str, folder: Path) -> tuple[str, list[str]]:
    """What a run prints, and its exit status with the packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr.split()


TRAINING = (HERE / "fixtures" / "missing_zero_grad" / "bad.py").read_text()


def test_linting_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(TRAINING)
    out, (status, *modules) = run("a.py", folder=tmp_path)
    assert "missing-zero-grad" in out
    assert (status, "libcst" in modules, "torch" in modules) == ("1", True, False)


def test_a_run_with_nothing_to_parse_imports_no_libcst(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import json\n\nprint(json.dumps({}))\n")
    out, imports = run("a.py", folder=tmp_path)
    assert out == "All checks passed: 1 file.\n"
    assert imports == ["0"]


@pytest.mark.parametrize("arguments", [("rules",), ("explain", "missing-zero-grad"), ("config",), ("--version",)])
def test_looking_things_up_imports_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    _, imports = run(*arguments, folder=tmp_path)
    assert imports == ["0"]
