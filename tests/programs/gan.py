"""A GAN learns a ring of points: generator and discriminator have an optimizer each."""

import argparse
import math

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--batch_size", type=int, default=64)
parser.add_argument("--lr", type=float, default=2e-4)
parser.add_argument("--latent_dim", type=int, default=8)
opt = parser.parse_args()

torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def block(in_feat, out_feat, normalize=True):
            layers = [nn.Linear(in_feat, out_feat)]
            if normalize:
                layers.append(nn.BatchNorm1d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(
            *block(opt.latent_dim, 32, normalize=False),
            *block(32, 64),
            nn.Linear(64, 2),
        )

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(2, 64),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(64, 32),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(32, 1),
        )

    def forward(self, points):
        return self.model(points)


def real_points(count):
    angle = 2 * math.pi * torch.rand(count, 1)
    ring = torch.cat([angle.cos(), angle.sin()], dim=1)
    return ring + 0.05 * torch.randn(count, 2)


adversarial_loss = nn.BCEWithLogitsLoss()
generator = Generator().to(device)
discriminator = Discriminator().to(device)
optimizer_g = torch.optim.Adam(generator.parameters(), lr=opt.lr, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=opt.lr, betas=(0.5, 0.999))

for step in range(opt.steps):
    valid = torch.ones(opt.batch_size, 1, device=device)
    fake = torch.zeros(opt.batch_size, 1, device=device)
    real = real_points(opt.batch_size).to(device)

    # The generator learns to make the discriminator say "valid".
    optimizer_g.zero_grad()
    z = torch.randn(opt.batch_size, opt.latent_dim, device=device)
    generated = generator(z)
    g_loss = adversarial_loss(discriminator(generated), valid)
    g_loss.backward()
    optimizer_g.step()

    # The discriminator learns to tell the two apart.
    optimizer_d.zero_grad()
    real_loss = adversarial_loss(discriminator(real), valid)
    fake_loss = adversarial_loss(discriminator(generated.detach()), fake)
    d_loss = (real_loss + fake_loss) / 2
    d_loss.backward()
    optimizer_d.step()

    if step % 5 == 0:
        print(f"[step {step}/{opt.steps}] [D loss: {d_loss.item():.4f}] [G loss: {g_loss.item():.4f}]")

generator.eval()
with torch.no_grad():
    sample = generator(torch.randn(256, opt.latent_dim, device=device))
print(f"mean radius of the generated points: {sample.norm(dim=1).mean().item():.3f}")
