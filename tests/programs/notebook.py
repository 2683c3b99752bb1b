# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # How hard is it to predict a house price?
# A small network on a made-up table, with batch normalisation and dropout.

# %%
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)

# %%
rooms = torch.randint(1, 8, (600, 1)).float()
area = 20 * rooms + 10 * torch.rand(600, 1)
age = 50 * torch.rand(600, 1)
price = 3 * area + 15 * rooms - 0.8 * age + 20 * torch.randn(600, 1)

features = torch.cat([rooms, area, age], dim=1)
features = (features - features.mean(dim=0)) / features.std(dim=0)
target = (price - price.mean()) / price.std()
features.shape, target.shape

# %%
dataset = TensorDataset(features, target)
train_set, test_set = random_split(dataset, [500, 100])
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
test_loader = DataLoader(test_set, batch_size=50)

# %% [markdown]
# ## The network

# %%
net = nn.Sequential(
    nn.Linear(3, 32),
    nn.BatchNorm1d(32),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(32, 32),
    nn.ReLU(),
    nn.Linear(32, 1),
)
loss_fn = nn.MSELoss()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
net

# %%
history = []
for epoch in range(4):
    net.train()
    running = 0.0
    for x, y in train_loader:
        prediction = net(x)
        loss = loss_fn(prediction, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
    history.append(running / len(train_loader))
    print(f"epoch {epoch + 1}: training loss {history[-1]:.3f}")

# %% [markdown]
# ## How good is it on houses it has never seen?

# %%
net.eval()
errors = []
with torch.no_grad():
    for x, y in test_loader:
        errors.append((net(x) - y).abs() * price.std())
errors = torch.cat(errors)
print(f"the price is off by {errors.mean():.1f} on average, by {errors.median():.1f} in the median")

# %%
baseline = (target - target.mean()).abs().mean() * price.std()
print(f"always guessing the mean: {baseline:.1f}")
