"""Trains the programs of all rules and writes down what was measured: `python -m torchlint.confirm.record`.

The numbers go to `rules/proofs.json`, which `torchlint rules`, `explain` and the documentation show. What is not
confirmed is left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torchlint.rules
from torchlint import proofs
from torchlint.confirm import command


def record(target: Path, device: str = "cpu") -> int:
    """Writes `target`. Returns the exit status of the proof: 1 when a rule is not confirmed, 2 when it cannot run."""
    with tempfile.TemporaryDirectory(prefix="torchlint-") as scratch:
        file = Path(scratch, "proof.json")
        status = command.confirm(device=device, output_format="json", output_file=file)
        if status == 2:
            return status
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    entries = {}
    for rule in report["rules"]:
        name = rule["code"]
        if rule["confirmed"]:
            entries[name] = _entry(name, report)
        else:
            print(f"torchlint: {name} is not confirmed: {'; '.join(rule['lapses'])}", file=sys.stderr)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items()))
    target.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"torchlint: {target.name}: {len(entries)} of {len(report['rules'])} rules confirmed")
    return status


def _entry(name: str, report: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, list[float]] = {}
    devices = set()
    for run in report["runs"]:
        if run["code"] == name:
            values.setdefault(run["program"], []).append(run["value"])
            devices.add(run["device"])
    shown = next(v for v in report["verdicts"] if v["code"] == name and v["program"] == "bad")
    return {
        "what": shown["measure"],
        "unit": shown["unit"],
        "bad": [_rounded(min(values["bad"])), _rounded(max(values["bad"]))],
        "good": _rounded(values["good"][0]),
        "fixed": _rounded(values["fixed"][0]) if "fixed" in values else None,
        "torch": report["torch"],
        "device": "/".join(sorted(devices)),
    }


def _rounded(value: float) -> float:
    """To four digits: more are noise of one machine."""
    return int(value) if value == int(value) else float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(record(Path(list(torchlint.rules.__path__)[-1], proofs.FILE), *sys.argv[1:2]))
