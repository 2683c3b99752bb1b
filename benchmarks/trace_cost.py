"""What the trace costs: a small CPU training loop as it is, and under `torchlint confirm`.

    python benchmarks/trace_cost.py [--steps 400] [--rounds 5] [--width 256]

Each round runs the same program once plain and once traced, one after the other, so that a busy machine slows both
alike. The program times its own loop: imports, which cost the same on both sides, are left out, and the second passes
that the trace makes at the first batches are not. The best of each side counts. The aim is a ratio of 1.5 or less.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import sys, time
import torch
from torch import nn

steps, width = map(int, sys.argv[1:])
torch.manual_seed(0)
torch.set_num_threads(1)
x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
model = nn.Sequential(
    nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1),
    nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10),
)
optimizer = torch.optim.Adam(model.parameters())
criterion = nn.CrossEntropyLoss()
for _ in range(3):  # what torch itself imports and allocates at first
    criterion(model(x), y).backward()
    optimizer.zero_grad()
started = time.process_time()  # of the processor: a busy machine does not matter
for _ in range(steps):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    loss.item()
print(time.process_time() - started)
"""


def main() -> int:
    """Prints the times and the ratio; returns 1 when it is over the aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    options = parser.parse_args()
    home = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}
    best = {"plain": float("inf"), "traced": float("inf")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text(PROGRAM, encoding="utf-8")
        program = ["train.py", str(options.steps), str(options.width)]
        traced = ["-m", "torchlint", "confirm", "--max-steps", "0", "--output-file", "report.txt", *program]
        for _ in range(options.rounds):
            for side, arguments in (("plain", program), ("traced", traced)):
                done = subprocess.run(
                    [sys.executable, *arguments],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                best[side] = min(best[side], float(done.stdout))
    ratio = best["traced"] / best["plain"]
    for side, seconds in best.items():
        print(f"{side:7} {seconds:8.3f} s  {1000 * seconds / options.steps:7.3f} ms a step")
    print(f"ratio   {ratio:8.2f}")
    return int(ratio > 1.5)


if __name__ == "__main__":
    sys.exit(main())
