"""A compiled MLP-Mixer on synthetic patches: python compiled.py --backend inductor"""

import argparse
import time

import torch
from torch import nn


class MixerBlock(nn.Module):
    def __init__(self, patches, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, patches=9, features=16, classes=5, width=32, depth=2):
        super().__init__()
        self.stem = nn.Linear(features, width)
        self.blocks = nn.Sequential(*(MixerBlock(patches, width) for _ in range(depth)))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.dropout(self.blocks(self.stem(x)).mean(dim=1)))


def batches(count, size, prototypes):
    for _ in range(count):
        labels = torch.randint(len(prototypes), (size,))
        yield prototypes[labels] + torch.randn(size, *prototypes.shape[1:]), labels


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()

    torch.manual_seed(0)
    prototypes = torch.randn(5, 9, 16)
    model = Mixer()
    compiled = torch.compile(model, backend=args.backend)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    started = time.perf_counter()
    compiled.train()
    for step, (x, y) in enumerate(batches(args.steps, args.batch_size, prototypes), start=1):
        loss = criterion(compiled(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 8 == 0:
            print(f"step {step}: loss {loss.item():.3f} after {time.perf_counter() - started:.1f} s")

    compiled.eval()
    correct = total = 0
    with torch.no_grad():
        for x, y in batches(3, args.batch_size, prototypes):
            correct += (compiled(x).argmax(dim=1) == y).sum().item()
            total += len(y)
    print(f"accuracy {correct / total:.1%}")


if __name__ == "__main__":
    main()
