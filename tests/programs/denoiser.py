"""Removes noise from signals. The data is made by worker processes of the DataLoader."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class NoisySignals(Dataset):
    """Sums of two sines and the same with noise; made anew from the index each time."""

    def __init__(self, samples, length=64, noise=0.3, seed=0):
        self.samples, self.length, self.noise, self.seed = samples, length, noise, seed

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(self.seed * 100_000 + index)
        t = torch.linspace(0, 1, self.length)
        frequency = 1 + 4 * torch.rand(2, 1, generator=generator)
        clean = torch.sin(2 * torch.pi * frequency * t).mean(dim=0, keepdim=True)
        noisy = clean + self.noise * torch.randn(1, self.length, generator=generator)
        return noisy, clean


class Denoiser(nn.Module):
    def __init__(self, channels=16):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(1, channels, 5, padding=2),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 5, padding=2),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, 1, 5, padding=2),
        )

    def forward(self, noisy):
        return noisy - self.net(noisy)


def make_loader(samples, seed, shuffle):
    return DataLoader(
        NoisySignals(samples, seed=seed), batch_size=32, shuffle=shuffle, num_workers=2, persistent_workers=True
    )


def evaluate(model, loader, criterion):
    model.eval()
    outputs, total = [], 0.0
    with torch.inference_mode():
        for noisy, clean in loader:
            restored = model(noisy)
            total += criterion(restored, clean).item()
            outputs.append(restored)
    gain = torch.cat(outputs).std().item()
    return total / len(loader), gain


def main(epochs=2):
    torch.manual_seed(0)
    train_loader = make_loader(320, seed=1, shuffle=True)
    valid_loader = make_loader(96, seed=2, shuffle=False)
    model = Denoiser()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(epochs):
        model.train()
        for noisy, clean in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(noisy), clean)
            loss.backward()
            optimizer.step()
        valid_loss, spread = evaluate(model, valid_loader, criterion)
        print(f"epoch {epoch + 1}: loss {valid_loss:.4f} on new signals (spread {spread:.2f})")


if __name__ == "__main__":
    main()
