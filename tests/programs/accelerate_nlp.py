"""Sentiment of synthetic reviews, with Accelerate: prepare, accumulate, gather for metrics."""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.optim import AdamW
from torch.utils.data import DataLoader, Dataset


class Reviews(Dataset):
    """Sequences of word numbers; the even ones are kind, the odd ones are not."""

    def __init__(self, samples, length=16, words=100):
        self.texts = torch.randint(words, (samples, length))
        self.labels = (self.texts % 2).float().mean(dim=1).gt(0.5).long()

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return {"input_ids": self.texts[index], "labels": self.labels[index]}


class Classifier(nn.Module):
    def __init__(self, words=100, width=32, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.rnn = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, input_ids):
        hidden, _ = self.rnn(self.embedding(input_ids))
        return self.classifier(self.dropout(hidden.mean(dim=1)))


def get_dataloaders(batch_size):
    train = DataLoader(Reviews(256), shuffle=True, batch_size=batch_size, drop_last=True)
    evaluation = DataLoader(Reviews(64), shuffle=False, batch_size=32)
    return train, evaluation


def training_function(args):
    accelerator = Accelerator(gradient_accumulation_steps=args.gradient_accumulation_steps)
    set_seed(args.seed)
    train_dataloader, eval_dataloader = get_dataloaders(args.batch_size)
    model = Classifier()
    optimizer = AdamW(params=model.parameters(), lr=args.lr)
    criterion = nn.CrossEntropyLoss()
    model, optimizer, train_dataloader, eval_dataloader = accelerator.prepare(
        model, optimizer, train_dataloader, eval_dataloader
    )

    for epoch in range(args.num_epochs):
        model.train()
        for batch in train_dataloader:
            with accelerator.accumulate(model):
                outputs = model(batch["input_ids"])
                loss = criterion(outputs, batch["labels"])
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

        model.eval()
        correct = total = 0
        for batch in eval_dataloader:
            with torch.no_grad():
                outputs = model(batch["input_ids"])
            predictions = outputs.argmax(dim=-1)
            predictions, references = accelerator.gather_for_metrics((predictions, batch["labels"]))
            correct += (predictions == references).sum().item()
            total += len(references)
        accelerator.print(f"epoch {epoch}: accuracy {correct / total:.3f}")
    accelerator.end_training()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=2)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=42)
    training_function(parser.parse_args())


if __name__ == "__main__":
    main()
