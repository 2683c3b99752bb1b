"""A trainer class: fits, validates after every epoch, keeps the best weights, stops early."""

import copy
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    epochs: int = 4
    batch_size: int = 32
    lr: float = 5e-3
    patience: int = 3
    seed: int = 0


class ResidualBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, width)
        )

    def forward(self, x):
        return x + self.body(x)


class TabularNet(nn.Module):
    def __init__(self, features, classes, width=48, depth=2):
        super().__init__()
        self.stem = nn.Linear(features, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(torch.relu(self.blocks(self.stem(x))))


@dataclass
class Trainer:
    model: nn.Module
    config: Config
    history: list = field(default_factory=list)

    def __post_init__(self):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = self.model.to(self.device)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.config.lr)
        self.best, self.best_state, self.waited = float("inf"), None, 0

    def fit(self, train_loader, valid_loader):
        for epoch in range(self.config.epochs):
            self.model.train()
            train_loss = self._train_epoch(train_loader)
            valid_loss, accuracy = self.validate(valid_loader)
            self.history.append((train_loss, valid_loss))
            print(f"epoch {epoch + 1}: train {train_loss:.3f} valid {valid_loss:.3f} accuracy {accuracy:.1%}")
            if self._should_stop(valid_loss):
                break
        self.model.load_state_dict(self.best_state)

    def _train_epoch(self, loader):
        total = 0.0
        for x, y in loader:
            x, y = x.to(self.device), y.to(self.device)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(loader)

    @torch.no_grad()
    def validate(self, loader):
        self.model.eval()
        total, correct = 0.0, 0
        for x, y in loader:
            x, y = x.to(self.device), y.to(self.device)
            logits = self.model(x)
            total += self.criterion(logits, y).item()
            correct += (logits.argmax(dim=1) == y).sum().item()
        return total / len(loader), correct / len(loader.dataset)

    def _should_stop(self, loss):
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(self.model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.config.patience


def make_table(samples, features=10, classes=4):
    x = torch.randn(samples, features)
    y = (x[:, :classes] + x[:, classes : 2 * classes]).argmax(dim=1)
    return TensorDataset(x, y)


def main():
    config = Config()
    torch.manual_seed(config.seed)
    train_loader = DataLoader(make_table(320), batch_size=config.batch_size, shuffle=True, drop_last=True)
    valid_loader = DataLoader(make_table(96), batch_size=config.batch_size)
    Trainer(TabularNet(10, 4), config).fit(train_loader, valid_loader)


if __name__ == "__main__":
    main()
