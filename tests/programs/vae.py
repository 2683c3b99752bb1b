"""A variational autoencoder of synthetic images, with evaluation, samples and checkpoints."""

import argparse
from pathlib import Path

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader

SIZE = 12


class VAE(nn.Module):
    def __init__(self, hidden=96, latent=4):
        super().__init__()
        self.latent = latent
        self.fc1 = nn.Linear(SIZE * SIZE, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, SIZE * SIZE)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu, logvar):
        if not self.training:
            return mu
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.flatten(1))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x.flatten(1), reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


def squares(samples):
    """Images with one bright square each."""
    images = torch.zeros(samples, 1, SIZE, SIZE)
    for image in images:
        top, left = torch.randint(0, SIZE - 4, (2,))
        image[:, top : top + 4, left : left + 4] = 1
    return images


def train(model, device, loader, optimizer):
    model.train()
    total = 0.0
    for data in loader:
        data = data.to(device)
        optimizer.zero_grad()
        recon, mu, logvar = model(data)
        loss = loss_function(recon, data, mu, logvar)
        loss.backward()
        total += loss.item()
        optimizer.step()
    return total / len(loader.dataset)


def test(model, device, loader):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for data in loader:
            data = data.to(device)
            recon, mu, logvar = model(data)
            total += loss_function(recon, data, mu, logvar).item()
    return total / len(loader.dataset)


def save_checkpoint(model, optimizer, epoch, folder):
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(checkpoint, folder / f"vae_{epoch}.pt")


def main():
    parser = argparse.ArgumentParser(description="VAE")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    train_loader = DataLoader(squares(384), batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(squares(96), batch_size=args.batch_size)
    model = VAE().to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, args.epochs + 1):
        train_loss = train(model, device, train_loader, optimizer)
        test_loss = test(model, device, test_loader)
        print(f"====> Epoch: {epoch} train {train_loss:.3f} test {test_loss:.3f}")
        save_checkpoint(model, optimizer, epoch, args.checkpoints)


if __name__ == "__main__":
    main()
