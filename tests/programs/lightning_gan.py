"""A LightningModule with manual optimization: an autoencoder and a critic that grades its reconstructions."""

import logging

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Autoencoder(nn.Module):
    def __init__(self, features, code):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, code))
        self.decoder = nn.Sequential(nn.Linear(code, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, features))

    def forward(self, x):
        return self.decoder(self.encoder(x))


class AdversarialAutoencoder(L.LightningModule):
    def __init__(self, features=12, code=3, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.autoencoder = Autoencoder(features, code)
        self.critic = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.autoencoder(x)

    def training_step(self, batch, batch_idx):
        (x,) = batch
        opt_auto, opt_critic = self.optimizers()
        real = torch.ones(len(x), 1, device=self.device)
        fake = torch.zeros(len(x), 1, device=self.device)

        rebuilt = self(x)
        grade = nn.functional.binary_cross_entropy_with_logits(self.critic(rebuilt), real)
        loss = nn.functional.mse_loss(rebuilt, x) + 0.1 * grade
        opt_auto.zero_grad()
        self.manual_backward(loss)
        opt_auto.step()

        genuine = nn.functional.binary_cross_entropy_with_logits(self.critic(x), real)
        forged = nn.functional.binary_cross_entropy_with_logits(self.critic(rebuilt.detach()), fake)
        opt_critic.zero_grad()
        self.manual_backward(genuine + forged)
        opt_critic.step()
        self.log_dict({"loss": loss, "critic": genuine + forged})

    def validation_step(self, batch, batch_idx):
        (x,) = batch
        self.log("val_loss", nn.functional.mse_loss(self(x), x))

    def configure_optimizers(self):
        auto = torch.optim.Adam(self.autoencoder.parameters(), lr=self.hparams.lr)
        critic = torch.optim.Adam(self.critic.parameters(), lr=self.hparams.lr)
        return auto, critic


def make_data(samples=256, features=12, code=3):
    hidden = torch.randn(samples, code)
    return TensorDataset(torch.tanh(hidden @ torch.randn(code, features)))


def main():
    L.seed_everything(7, verbose=False)
    train_loader = DataLoader(make_data(), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(64), batch_size=32)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(AdversarialAutoencoder(), train_loader, val_loader)
    print({name: round(float(value), 4) for name, value in trainer.callback_metrics.items()})


if __name__ == "__main__":
    main()
