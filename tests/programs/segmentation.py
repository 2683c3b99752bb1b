"""A small U-Net finds bright discs in noisy pictures; Dice loss, cosine schedule."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def double_conv(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.down = double_conv(1, channels)
        self.bottom = double_conv(channels, 2 * channels)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.join = double_conv(2 * channels, channels)
        self.output = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        skip = self.down(x)
        x = self.bottom(nn.functional.max_pool2d(skip, 2))
        x = torch.cat([skip, self.up(x)], dim=1)
        return self.output(self.join(x))


def dice_loss(logits, masks, eps=1.0):
    probabilities = logits.sigmoid().flatten(1)
    masks = masks.flatten(1)
    overlap = (probabilities * masks).sum(dim=1)
    return (1 - (2 * overlap + eps) / (probabilities.sum(dim=1) + masks.sum(dim=1) + eps)).mean()


def make_pictures(samples, size=16):
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = torch.randint(4, size - 4, (samples, 2, 1, 1))
    distance = (rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2
    masks = (distance <= 9).float().unsqueeze(1)
    return TensorDataset(masks + 0.4 * torch.randn(samples, 1, size, size), masks)


def evaluate(net, loader):
    net.eval()
    score = 0.0
    for pictures, masks in loader:
        with torch.no_grad():
            prediction = (net(pictures) > 0).float()
        both = (prediction * masks).sum()
        score += (2 * both / (prediction.sum() + masks.sum() + 1e-6)).item()
    net.train()
    return score / len(loader)


def main(epochs=3):
    torch.manual_seed(0)
    train_loader = DataLoader(make_pictures(160), batch_size=16, shuffle=True)
    val_loader = DataLoader(make_pictures(48), batch_size=16)
    net = UNet()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    bce = nn.BCEWithLogitsLoss()
    for epoch in range(epochs):
        for pictures, masks in train_loader:
            logits = net(pictures)
            loss = bce(logits, masks) + dice_loss(logits, masks)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        scheduler.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, dice {evaluate(net, val_loader):.3f}")


if __name__ == "__main__":
    main()
