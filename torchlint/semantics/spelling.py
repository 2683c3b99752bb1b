"""How a file writes a dotted name."""

from __future__ import annotations

from torchlint.facts import Api
from torchlint.semantics.machine import Machine


def spell(m: Machine, api: str) -> str | None:
    """`torch.no_grad` -> `torch.no_grad`, `th.no_grad` or `no_grad`, by what the file imports; None if it cannot."""
    best: str | None = None
    for name, value in m.module.locals.items():
        if not isinstance(value, Api):
            continue
        if value.path == api:
            return name
        if api.startswith(value.path + "."):
            candidate = name + api[len(value.path) :]
            if best is None or len(candidate) < len(best):
                best = candidate
    return best
