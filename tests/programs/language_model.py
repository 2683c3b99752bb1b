"""A character-level transformer on synthetic text, in bfloat16, with gradients accumulated over several batches."""

import argparse
import math

import torch
from torch import nn
from torch.amp import GradScaler, autocast

VOCABULARY = "abcdefghij .\n"


def make_text(words=3000):
    """Words of a made-up language: the next letter hangs on the last."""
    generator = torch.Generator().manual_seed(0)
    text, letter = [], 0
    for _ in range(words):
        for _ in range(int(torch.randint(2, 6, (1,), generator=generator))):
            letter = (letter + int(torch.randint(1, 3, (1,), generator=generator))) % 10
            text.append(letter)
        text.append(VOCABULARY.index(" "))
    return torch.tensor(text)


def get_batch(data, batch_size, length, device):
    start = torch.randint(len(data) - length - 1, (batch_size,))
    x = torch.stack([data[i : i + length] for i in start])
    y = torch.stack([data[i + 1 : i + 1 + length] for i in start])
    return x.to(device), y.to(device)


class LanguageModel(nn.Module):
    def __init__(self, vocabulary, width=32, heads=4, layers=2, length=64, dropout=0.1):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        length = tokens.shape[1]
        places = torch.arange(length, device=tokens.device)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.token(tokens) + self.position(places)
        x = self.blocks(x, mask=mask, is_causal=True)
        return self.head(self.norm(x))


@torch.no_grad()
def estimate_loss(model, data, criterion, args, device):
    model.eval()
    losses = []
    for _ in range(args.eval_iters):
        x, y = get_batch(data, args.batch_size, args.length, device)
        with autocast(device.type, dtype=torch.bfloat16):
            logits = model(x)
            losses.append(criterion(logits.flatten(0, 1), y.flatten()).item())
    model.train()
    return sum(losses) / len(losses)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max_iters", type=int, default=12)
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--eval_interval", type=int, default=6)
    parser.add_argument("--eval_iters", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = make_text()
    split = int(0.9 * len(data))
    model = LanguageModel(len(VOCABULARY)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.1)
    scaler = GradScaler(device.type)

    for iteration in range(args.max_iters):
        if iteration % args.eval_interval == 0:
            loss = estimate_loss(model, data[split:], criterion, args, device)
            print(f"iteration {iteration:4d}  validation perplexity {math.exp(loss):.2f}")
        for _ in range(args.accumulate):
            x, y = get_batch(data[:split], args.batch_size, args.length, device)
            with autocast(device.type, dtype=torch.bfloat16):
                logits = model(x)
                loss = criterion(logits.flatten(0, 1), y.flatten()) / args.accumulate
            scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
