"""A denoising diffusion model of two moons, with an exponential moving average of the weights."""

import copy
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = "cuda" if torch.cuda.is_available() else "cpu"


class NoisePredictor(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.inputs = nn.Linear(2, width)
        self.output = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, t):
        return self.output(self.inputs(x) + self.time(t))


class Diffusion:
    def __init__(self, steps=50):
        self.steps = steps
        beta = torch.linspace(1e-4, 0.2, steps, device=device)
        self.beta = beta
        self.alpha_bar = torch.cumprod(1 - beta, dim=0)

    def add_noise(self, x, t, noise):
        kept = self.alpha_bar[t].unsqueeze(1)
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def loss(self, model, x):
        t = torch.randint(self.steps, (len(x),), device=x.device)
        noise = torch.randn(x.shape, device=x.device)
        noisy = self.add_noise(x, t, noise)
        predicted = model(noisy, t.unsqueeze(1) / self.steps)
        return nn.functional.mse_loss(predicted, noise)

    @torch.no_grad()
    def sample(self, model, count):
        x = torch.randn(count, 2, device=device)
        for step in reversed(range(self.steps)):
            t = torch.full((count, 1), step / self.steps, device=device)
            noise = model(x, t)
            beta, kept = self.beta[step], self.alpha_bar[step]
            x = (x - beta / (1 - kept).sqrt() * noise) / (1 - beta).sqrt()
            if step:
                x = x + beta.sqrt() * torch.randn_like(x)
        return x


def two_moons(samples):
    angle = math.pi * torch.rand(samples)
    upper = torch.rand(samples) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack([x, y], dim=1) + 0.05 * torch.randn(samples, 2)


@torch.no_grad()
def update_average(average, model, decay=0.95):
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def main(epochs=3):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(two_moons(640)), batch_size=64, shuffle=True)
    model = NoisePredictor().to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    diffusion = Diffusion()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(epochs):
        for (points,) in loader:
            points = points.to(device)
            loss = diffusion.loss(model, points)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update_average(average, model)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    sample = diffusion.sample(average, 200)
    print(f"mean of the samples: {sample.mean(dim=0).tolist()}")


if __name__ == "__main__":
    main()
