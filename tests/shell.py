"""torchlint as a user runs it: a process of its own, real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# Each gives one finding, and `x.to(...)` has a safe fix.
MOVE = 'x.to("cuda")\n'  # tensor-move-discarded
SAVE = 'torch.save(torch.nn.Linear(1, 1), "x.pt")\n'  # whole-model-save
HEAD = "import torch\n\nx = torch.ones(3)\n"


class Done(NamedTuple):
    """What came of it."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """The environment without what would change what is printed."""
    kept = {k: v for k, v in os.environ.items() if k not in ("GITHUB_ACTIONS", "FORCE_COLOR", "GIT_DIR")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def torchlint(*arguments: str, stdin: str = "", cwd: str | Path = ".", output_format: str = "concise") -> Done:
    """Runs `torchlint ARGUMENTS`; `check` with findings one a line."""
    command = [sys.executable, "-m", "torchlint", *arguments]
    if not arguments or arguments[0] not in ("config", "clean", "rules", "explain"):
        command += ["--output-format", output_format]
    done = subprocess.run(
        command, input=stdin.encode(), capture_output=True, cwd=cwd, env=environment(), check=False, timeout=60
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def found(done: Done) -> list[str]:
    """The findings a run printed, as `file:row code`."""
    rows = [row.split(":", 3) for row in done.out.splitlines() if row.count(":") >= 3]
    return [f"{file}:{row} {rest.split()[0]}" for file, row, _, rest in rows]


def write(name: str, *text: str) -> Path:
    """Writes a file."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text), encoding="utf-8", newline="")
    return path
