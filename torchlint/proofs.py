"""What the proof of each rule measured when it was last recorded: `rules/proofs.json`, read.

`python3 dev.py prove` trains the programs of all rules and writes that file; a test holds the numbers to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FILE = "proofs.json"


@dataclass(slots=True, frozen=True)
class Proof:
    """The numbers of one rule: in `bad.py` the least and the most over all seeds, in `good.py`, and after the fix."""

    what: str  # "gradients in .grad when the optimizer steps"
    unit: str  # "steps' worth"
    bad: tuple[float, float]
    good: float
    fixed: float | None  # None: torchlint offers no fix in bad.py
    torch: str  # the version that trained
    device: str

    @property
    def harm(self) -> str:
        """What `bad.py` showed: one number, or the least and the most."""
        least, most = map(figure, self.bad)
        return least if least == most else f"{least} to {most}"


def figure(value: float) -> str:
    """A number as a table shows it: whole ones in full, others to three digits."""
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"


@lru_cache(maxsize=1)
def recorded() -> dict[str, Proof]:
    """All recorded proofs, by rule."""
    import torchlint.rules

    for folder in torchlint.rules.__path__:
        file = Path(folder, FILE)
        if file.is_file():
            entries = json.loads(file.read_text(encoding="utf-8"))
            return {name: Proof(**{**entry, "bad": tuple(entry["bad"])}) for name, entry in entries.items()}
    return {}
