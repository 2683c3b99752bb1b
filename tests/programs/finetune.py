"""Pretrains a backbone on ten classes, then fine-tunes it for three with a new head and a lower rate below it."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SmallResNet(nn.Module):
    """A stem, a residual stage and a classifier called `fc`, as in torchvision."""

    def __init__(self, num_classes=10, width=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stage = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.stage(x))
        return self.fc(self.pool(x).flatten(1))


def make_images(samples, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    colours = torch.rand(classes, 3, 1, 1, generator=generator)
    images = colours[labels] + 0.2 * torch.randn(samples, 3, 10, 10, generator=generator)
    return TensorDataset(images, labels)


def train(model, loader, optimizer, epochs):
    criterion = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        print(f"  epoch {epoch + 1}: loss {loss.item():.3f}")


def accuracy(model, dataset):
    model.eval()
    images, labels = dataset.tensors
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).float().mean().item()


def main():
    torch.manual_seed(0)
    print("pretraining")
    model = SmallResNet()
    pretraining = DataLoader(make_images(256, 10, seed=1), batch_size=32, shuffle=True)
    train(model, pretraining, torch.optim.Adam(model.parameters(), lr=3e-3), epochs=2)

    print("fine-tuning")
    dataset = make_images(256, 3, seed=2)
    loader = DataLoader(dataset, batch_size=32, shuffle=True)
    model.fc = nn.Linear(model.fc.in_features, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    train(model, loader, optimizer, epochs=3)
    print(f"accuracy {accuracy(model, dataset):.1%}")


if __name__ == "__main__":
    main()
