"""Learns the state of a machine from its sensors; the model is in model.py."""

import torch
from model import SensorEncoder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SENSORS, STATES, LENGTH = 6, 4, 24


def make_readings(samples):
    time = torch.arange(LENGTH) / LENGTH
    states = torch.randint(STATES, (samples,))
    waves = torch.sin(2 * torch.pi * (states + 1)[:, None] * time)
    readings = waves[:, :, None] * (1 + torch.rand(samples, 1, SENSORS)) + 0.1 * torch.randn(samples, LENGTH, SENSORS)
    return TensorDataset(readings, states)


def train_one_epoch(model, loader, criterion, optimizer, device):
    model.train()
    total = 0.0
    for readings, states in loader:
        readings, states = readings.to(device), states.to(device)
        loss = criterion(model(readings), states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    correct = 0
    for readings, states in loader:
        logits = model(readings.to(device))
        correct += (logits.argmax(dim=1) == states.to(device)).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_loader = DataLoader(make_readings(320), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_readings(96), batch_size=32)
    model = SensorEncoder(SENSORS, STATES).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(2):
        loss = train_one_epoch(model, train_loader, criterion, optimizer, device)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, accuracy {evaluate(model, test_loader, device):.1%}")


if __name__ == "__main__":
    main()
