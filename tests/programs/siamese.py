"""Learns an embedding in which two views of one thing are close: a siamese network with a loss module of its own."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def forward(self, left, right, same):
        distance = F.pairwise_distance(left, right)
        pull = same * distance.square()
        push = (1 - same) * (self.margin - distance).clamp(min=0).square()
        return (pull + push).mean()


class Encoder(nn.Module):
    def __init__(self, features=10, embedding=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, embedding))

    def forward(self, x):
        return F.normalize(self.layers(x), dim=1)


def make_pairs(samples=320, things=6, features=10):
    prototypes = torch.randn(things, features)
    left = torch.randint(things, (samples,))
    same = torch.rand(samples) < 0.5
    right = torch.where(same, left, (left + torch.randint(1, things, (samples,))) % things)

    def view(which):
        return prototypes[which] + 0.3 * torch.randn(samples, features)

    return TensorDataset(view(left), view(right), same.float())


def train(encoder, loader, epochs=3):
    criterion = ContrastiveLoss(margin=0.8)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    for epoch in range(epochs):
        total = 0.0
        for left, right, same in loader:
            optimizer.zero_grad()
            loss = criterion(encoder(left), encoder(right), same)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}")


def main():
    torch.manual_seed(0)
    train(Encoder(), DataLoader(make_pairs(), batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
