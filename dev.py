#!/usr/bin/env python3
"""The commands of a checkout. They need Python 3.10 or newer with venv, and make what else they need in `.venv`.

python3 dev.py lint [PATH ...]      lint; without a path the pitfalls in fixtures/, which are there to be found
python3 dev.py test [ARGUMENT ...]  Ruff, mypy --strict and pytest, real training included; arguments go to pytest
python3 dev.py prove                trains every rule's programs and records what was measured in rules/proofs.json
"""

from __future__ import annotations  # so that an older Python gets as far as being told

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
# Two files of tests at a time: many of them wait for a process that they have started. `-n0` takes it back.
TOGETHER = ("-n2", "--dist=loadfile")


def main(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "lint":
        install(".")
        status = run("-m", "torchlint", *(rest or ["fixtures"]), cwd=None if rest else ROOT)
        if not rest:
            print("\nThese are the pitfalls of fixtures/. Your own code: python3 dev.py lint PATH", flush=True)
        return status
    if command == "test":
        install(".[test]")
        checks = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict"], ["pytest", *TOGETHER, *rest])
        failed = [check[0] for check in checks if run("-m", *check, cwd=ROOT) != 0]
        if failed:
            print(f"dev.py: failed: {', '.join(failed)}", file=sys.stderr)
        return 1 if failed else 0
    if command == "prove":
        install(".[test]")
        return run("-m", "torchlint.confirm.record", *rest, cwd=ROOT)
    print(__doc__)
    return 0 if command in ("-h", "--help") else 2


def install(what: str) -> None:
    """The checkout, editable, and what it needs, in `.venv`; again only when pyproject.toml or Python has changed."""
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    stamps = [VENV / "installed-with-test", VENV / ("installed-with-test" if "test" in what else "installed")]
    if any(s.is_file() and s.read_text() == key for s in stamps):
        return
    if not PYTHON.exists():
        say(f"making {VENV.relative_to(ROOT)} ...")
        try:
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            sys.exit(f"dev.py: cannot make {VENV}: {error}\nOn Debian and Ubuntu: apt install python3-venv")
    say(f"installing {what} and what it needs" + (" (torch among it) ..." if "test" in what else " ..."))
    options = ("--quiet", "--disable-pip-version-check")
    if run("-m", "pip", "install", *options, "--editable", what, cwd=ROOT):
        sys.exit("dev.py: the installation failed; what pip says is above")
    stamps[-1].write_text(key)


def run(*command: str, cwd: Path | None) -> int:
    """Runs the Python of `.venv` and gives its exit status."""
    if command[1] != "pip":
        say(" ".join(command[1:]))
    return subprocess.run([PYTHON, *command], cwd=cwd, check=False).returncode


def say(what: str) -> None:
    print(f"dev.py: {what}", flush=True)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036  this is what tells the user so
        sys.exit(f"dev.py: Python 3.10 or newer is needed, this is {sys.version.split()[0]}")
    sys.exit(main(sys.argv[1:]))
