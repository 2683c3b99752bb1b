"""Deep Q-learning in a corridor: walk right to the goal, with a replay memory and a target network."""

import random
from collections import deque

import torch
from torch import nn, optim


class Corridor:
    """Cells 0..length; the agent starts in the middle and is paid 1 at the right end."""

    def __init__(self, length=8):
        self.length = length

    def reset(self):
        self.position, self.time = self.length // 2, 0
        return self._state()

    def step(self, action):
        self.position = max(0, self.position + (1 if action == 1 else -1))
        self.time += 1
        arrived = self.position == self.length
        reward = 1.0 if arrived else -0.01
        return self._state(), reward, arrived or self.time >= 40

    def _state(self):
        return [self.position / self.length, self.time / 40]


class QNetwork(nn.Module):
    def __init__(self, states=2, actions=2, hidden=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(states, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, actions)
        )

    def forward(self, state):
        return self.net(state)


class Agent:
    def __init__(self, gamma=0.97, lr=1e-3, batch_size=32):
        self.gamma, self.batch_size = gamma, batch_size
        self.q = QNetwork()
        self.target_q = QNetwork()
        self.target_q.load_state_dict(self.q.state_dict())
        self.optimizer = optim.Adam(self.q.parameters(), lr=lr)
        self.memory = deque(maxlen=2000)

    def act(self, state, epsilon):
        if random.random() < epsilon:
            return random.randrange(2)
        with torch.no_grad():
            return self.q(torch.tensor([state])).argmax(dim=1).item()

    def learn(self):
        batch = random.sample(self.memory, self.batch_size)
        states, actions, rewards, next_states, dones = zip(*batch, strict=True)
        states, next_states = torch.tensor(states), torch.tensor(next_states)
        actions = torch.tensor(actions).unsqueeze(1)
        rewards, dones = torch.tensor(rewards), torch.tensor(dones, dtype=torch.float32)

        best = self.q(next_states).argmax(dim=1, keepdim=True)
        future = self.target_q(next_states).gather(1, best).squeeze(1)
        target = rewards + self.gamma * (1 - dones) * future
        target = target.detach()
        value = self.q(states).gather(1, actions).squeeze(1)
        loss = nn.functional.smooth_l1_loss(value, target)

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.q.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def sync(self):
        self.target_q.load_state_dict(self.q.state_dict())


def main(episodes=6):
    random.seed(0)
    torch.manual_seed(0)
    env, agent = Corridor(), Agent()
    for episode in range(episodes):
        state, done, total, losses = env.reset(), False, 0.0, []
        epsilon = max(0.1, 1.0 - episode / episodes)
        while not done:
            action = agent.act(state, epsilon)
            next_state, reward, done = env.step(action)
            agent.memory.append((state, action, reward, next_state, done))
            state, total = next_state, total + reward
            if len(agent.memory) >= 64 and len(agent.memory) % 4 == 0:
                losses.append(agent.learn())
        agent.sync()
        mean = sum(losses) / max(1, len(losses))
        print(f"episode {episode:3d}  return {total:6.2f}  loss {mean:.4f}")


if __name__ == "__main__":
    main()
