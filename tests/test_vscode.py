"""The extension for VS Code: it is built and tested where npm has been run, and says what the server reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchlint.server import settings
from torchlint.server.wiring import FIX_ALL_COMMAND

HERE = Path(__file__).parent.parent / "editors" / "vscode"
PACKAGE = json.loads((HERE / "package.json").read_text(encoding="utf-8"))


def test_its_settings_are_those_of_the_server() -> None:
    found = {key.removeprefix("torchlint.") for key in PACKAGE["contributes"]["configuration"]["properties"]}
    assert found == {*settings.KEYS, "path", "trace.server"}
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    assert [key for key in sorted(found) if f"`torchlint.{key}`" not in readme] == []


def test_its_commands_are_not_those_of_the_server() -> None:
    """The client library registers the server's under their own names."""
    commands = [one["command"] for one in PACKAGE["contributes"]["commands"]]
    source = (HERE / "src" / "extension.ts").read_text(encoding="utf-8")
    assert FIX_ALL_COMMAND not in commands
    assert f'"{FIX_ALL_COMMAND}"' in source
    assert [command for command in commands if f'registerCommand("{command}"' not in source] == []


def test_the_lock_file_names_no_host() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert len(packages) > 10
    assert [name for name, one in packages.items() if "resolved" in one] == []
    assert all("integrity" in one for name, one in packages.items() if name)


@pytest.mark.skipif(
    shutil.which("npm") is None or not (HERE / "node_modules").is_dir(), reason="needs `npm ci` in editors/vscode"
)
@pytest.mark.parametrize("script", ["build", "test"])
def test_it_is_built_and_tested(script: str) -> None:
    npm = shutil.which("npm")
    assert npm is not None
    done = subprocess.run(
        [npm, "run", script],
        cwd=HERE,
        env={**os.environ, "TORCHLINT_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
