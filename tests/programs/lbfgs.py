"""Fits a damped oscillation to noisy measurements with L-BFGS, which asks for the loss through a closure."""

import torch
from torch import nn


class Oscillation(nn.Module):
    """amplitude * exp(-decay t) * cos(frequency t + phase) + offset"""

    def __init__(self, amplitude=1.0, decay=0.1, frequency=1.5, phase=0.0, offset=0.0):
        super().__init__()
        self.amplitude = nn.Parameter(torch.tensor(amplitude))
        self.decay = nn.Parameter(torch.tensor(decay))
        self.frequency = nn.Parameter(torch.tensor(frequency))
        self.phase = nn.Parameter(torch.tensor(phase))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, t):
        wave = torch.cos(self.frequency * t + self.phase)
        return self.amplitude * torch.exp(-self.decay * t) * wave + self.offset


def measure(samples=200):
    t = torch.linspace(0, 10, samples)
    truth = Oscillation(amplitude=2.0, decay=0.25, frequency=1.8, phase=0.4, offset=0.3)
    with torch.no_grad():
        return t, truth(t) + 0.05 * torch.randn(samples)


def fit(model, t, y, rounds=8):
    criterion = nn.MSELoss()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=10, history_size=10)

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(t), y)
        loss.backward()
        return loss

    for round_number in range(rounds):
        loss = optimizer.step(closure)
        print(f"round {round_number + 1}: loss {loss.item():.6f}")
        if not torch.isfinite(loss):
            print("the fit has diverged")
            break


def report(model):
    for name, parameter in model.named_parameters():
        print(f"{name:>10} = {parameter.item():.3f}")


def main():
    torch.manual_seed(3)
    t, y = measure()
    model = Oscillation()
    fit(model, t, y)
    report(model)


if __name__ == "__main__":
    main()
