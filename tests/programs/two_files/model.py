"""The model of train.py: attention over a sequence of sensor readings."""

import math

import torch
from torch import nn


class PositionalEncoding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        length = x.shape[1]
        position = torch.arange(length, dtype=torch.float32, device=x.device).unsqueeze(1)
        rates = torch.exp(
            torch.arange(0, self.width, 2, dtype=torch.float32, device=x.device) * (-math.log(10_000.0) / self.width)
        )
        encoding = torch.zeros(length, self.width, device=x.device)
        encoding[:, 0::2] = torch.sin(position * rates)
        encoding[:, 1::2] = torch.cos(position * rates)
        return x + encoding


class SensorEncoder(nn.Module):
    """Reads (batch, time, sensors) and says in which of the states the machine is."""

    def __init__(self, sensors, states, width=32, heads=4):
        super().__init__()
        self.embed = nn.Linear(sensors, width)
        self.positions = PositionalEncoding(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, states))

    def forward(self, readings):
        x = self.positions(self.embed(readings))
        attended, _ = self.attention(x, x, x, need_weights=False)
        return self.output(self.norm(x + attended).mean(dim=1))
