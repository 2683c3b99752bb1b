"""Distributed training on CPUs: torchrun --nproc-per-node 2 ddp.py"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler


class Spirals(Dataset):
    """Points of three spiral arms."""

    def __init__(self, samples, seed):
        generator = torch.Generator().manual_seed(seed)
        self.arm = torch.randint(3, (samples,), generator=generator)
        radius = torch.rand(samples, generator=generator)
        angle = 4 * radius + 2 * torch.pi * self.arm / 3 + 0.1 * torch.randn(samples, generator=generator)
        self.points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index], self.arm[index]


def make_model():
    return nn.Sequential(
        nn.Linear(2, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(64, 3),
    )


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    correct = total = torch.zeros(1)
    for points, arms in loader:
        correct = correct + (model(points).argmax(dim=1) == arms).sum()
        total = total + len(arms)
    dist.all_reduce(correct)
    dist.all_reduce(total)
    return (correct / total).item()


def run(rank, args):
    torch.manual_seed(args.seed)
    train_set, test_set = Spirals(384, seed=1), Spirals(96, seed=2)
    sampler = DistributedSampler(train_set, shuffle=True)
    train_loader = DataLoader(train_set, batch_size=args.batch_size, sampler=sampler)
    test_loader = DataLoader(test_set, batch_size=32, sampler=DistributedSampler(test_set, shuffle=False))
    model = DDP(make_model())
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        model.train()
        for points, arms in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(points), arms)
            loss.backward()
            optimizer.step()
        score = accuracy(model.module, test_loader)
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {score:.1%}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dist.init_process_group("gloo")
    run(int(os.environ["RANK"]), args)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
