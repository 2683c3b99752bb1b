"""A character RNN writes made-up names; trained with truncated backpropagation through time."""

import torch
from torch import nn

ALPHABET = "abcdefghijklmnopqrstuvwxyz."
SYLLABLES = ["an", "be", "cor", "do", "el", "fa", "gi", "ha", "il", "jo", "ka", "lu", "mi", "no"]
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class CharRNN(nn.Module):
    def __init__(self, characters, width=48, layers=1):
        super().__init__()
        self.layers, self.width = layers, width
        self.embedding = nn.Embedding(characters, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.output = nn.Linear(width, characters)

    def forward(self, tokens, state):
        hidden, state = self.lstm(self.embedding(tokens), state)
        return self.output(hidden), state

    def init_hidden(self, batch_size):
        shape = (self.layers, batch_size, self.width)
        return torch.zeros(*shape, device=device), torch.zeros(*shape, device=device)


def make_corpus(names=1200):
    pieces = []
    for _ in range(names):
        count = int(torch.randint(2, 4, (1,)))
        pieces += [SYLLABLES[i] for i in torch.randint(len(SYLLABLES), (count,))]
        pieces.append(".")
    return torch.tensor([ALPHABET.index(letter) for letter in "".join(pieces)])


def batchify(corpus, batch_size):
    length = len(corpus) // batch_size
    return corpus[: length * batch_size].view(batch_size, length)


def train(model, data, criterion, optimizer, length=20, epochs=1):
    model.train()
    for epoch in range(epochs):
        state = model.init_hidden(data.shape[0])
        losses = []
        for start in range(0, data.shape[1] - 1 - length, length):
            x = data[:, start : start + length].to(device)
            y = data[:, start + 1 : start + 1 + length].to(device)
            state = tuple(part.detach() for part in state)
            optimizer.zero_grad()
            logits, state = model(x, state)
            loss = criterion(logits.flatten(0, 1), y.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f} over {len(losses)} pieces")


@torch.no_grad()
def write(model, start="a", letters=40):
    model.eval()
    state = model.init_hidden(1)
    token = torch.tensor([[ALPHABET.index(start)]], device=device)
    text = start
    for _ in range(letters):
        logits, state = model(token, state)
        token = torch.multinomial(logits[:, -1].softmax(dim=-1), 1)
        text += ALPHABET[token.item()]
    return text


def main():
    torch.manual_seed(0)
    data = batchify(make_corpus(), batch_size=16)
    model = CharRNN(len(ALPHABET)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    train(model, data, criterion, optimizer)
    print(write(model))


if __name__ == "__main__":
    main()
