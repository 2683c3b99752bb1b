"""What is planted in the programs beside this file: for each pitfall, the line or two in which it differs.

The programs as they stand are the clean twins. `python plants.py FOLDER` writes every planted program to a folder, to
be read, linted and confirmed.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Twin:
    """A program of this folder and how it is run."""

    script: str  # in this folder; a program of several files has a folder of its own
    argv: tuple[str, ...] = ()
    needs: str = ""  # a package without which it cannot run
    launch: tuple[str, ...] = ()  # what starts the script, where that is not Python itself

    @property
    def name(self) -> str:
        return self.script.partition("/")[0].removesuffix(".py")


@dataclass(frozen=True)
class Plant:
    """One pitfall: `old` in `file` becomes `new`."""

    program: Twin
    rule: str
    old: str
    new: str
    line: str  # the stripped line that the finding stands at
    number: tuple[float, float]  # the least and the most that may be measured
    nth: int = 1  # which of the lines with this text
    file: str = ""  # the file it is in, where that is not the script
    linted: bool = True  # False: only the run can show it
    pretend: bool = False  # needs an accelerator

    def __str__(self) -> str:
        return f"{self.program.name}-{self.rule}"

    @property
    def row(self) -> int:
        """Where the finding stands in the planted file, 1-based."""
        lines = self.planted().splitlines()
        return [number for number, text in enumerate(lines, 1) if text.strip() == self.line][self.nth - 1]

    @property
    def target(self) -> str:
        return self.file or self.program.script

    def planted(self) -> str:
        """The text of the file with the pitfall. Raises ValueError where `old` does not stand in it exactly once."""
        text = (HERE / self.target).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.target}: {self.old!r} stands there {text.count(self.old)} times")
        return text.replace(self.old, self.new)


MNIST = Twin("mnist.py")
GAN = Twin("gan.py")
DQN = Twin("dqn.py")
LANGUAGE_MODEL = Twin("language_model.py")
LIGHTNING = Twin("lightning_gan.py", needs="lightning")
ACCELERATE = Twin("accelerate_nlp.py", needs="accelerate")
NOTEBOOK = Twin("notebook.py")
TWO_FILES = Twin("two_files/train.py")
DDP = Twin("ddp.py", launch=("-m", "torch.distributed.run", "--nproc-per-node=2"))
TRAINER = Twin("trainer.py")
LBFGS = Twin("lbfgs.py")
VAE = Twin("vae.py")
FINETUNE = Twin("finetune.py")
CHAR_RNN = Twin("char_rnn.py")
DENOISER = Twin("denoiser.py")
COMPILED = Twin("compiled.py", argv=("--backend", "eager"))  # inductor takes half a minute to compile
SIAMESE = Twin("siamese.py")
SEGMENTATION = Twin("segmentation.py")
DIFFUSION = Twin("diffusion.py")

TWINS = (
    *(MNIST, GAN, DQN, LANGUAGE_MODEL, LIGHTNING, ACCELERATE, NOTEBOOK, TWO_FILES, DDP, TRAINER, LBFGS, VAE, FINETUNE),
    *(CHAR_RNN, DENOISER, COMPILED, SIAMESE, SEGMENTATION, DIFFUSION),
)

PLANTS = (
    Plant(
        MNIST, "missing-zero-grad",
        old="        optimizer.zero_grad()\n", new="",
        line="loss.backward()", number=(2, 2),
    ),
    Plant(
        MNIST, "inference-without-eval",
        old="    model.eval()\n", new="",
        line="output = model(data)", nth=2, number=(0.01, 100),
    ),
    Plant(
        GAN, "missing-zero-grad",
        old="    optimizer_d.zero_grad()\n", new="",
        line="d_loss.backward()", number=(2, 2),
    ),
    Plant(
        DQN, "tensor-move-discarded",
        old="        target = target.detach()\n", new="        target.detach()\n",
        line="target.detach()", number=(1, 1),
    ),
    Plant(
        LANGUAGE_MODEL, "missing-zero-grad",
        old="        optimizer.zero_grad(set_to_none=True)\n", new="",
        line="scaler.scale(loss).backward()", number=(2, 2),
    ),
    Plant(
        LANGUAGE_MODEL, "train-mode-not-restored",
        old="    model.train()\n", new="",
        line="model.eval()", number=(1, 24),
    ),
    Plant(
        LIGHTNING, "missing-zero-grad",
        old="        opt_critic.zero_grad()\n", new="",
        line="self.manual_backward(genuine + forged)", number=(2, 2),
    ),
    Plant(
        ACCELERATE, "missing-zero-grad",
        old="                optimizer.zero_grad()\n", new="",
        line="accelerator.backward(loss)", number=(2, 2),
    ),
    Plant(
        ACCELERATE, "inference-without-eval",
        old="        model.eval()\n", new="",
        line='outputs = model(batch["input_ids"])', nth=2, number=(0.01, 100),
    ),
    Plant(
        NOTEBOOK, "inference-without-eval",
        old="net.eval()\n", new="",
        line="errors.append((net(x) - y).abs() * price.std())", number=(0.01, 100),
    ),
    Plant(
        TWO_FILES, "tensor-without-device", file="two_files/model.py",
        old="        encoding = torch.zeros(length, self.width, device=x.device)\n",
        new="        encoding = torch.zeros(length, self.width)\n",
        line="encoding = torch.zeros(length, self.width)", number=(1, 1), pretend=True,
    ),
    Plant(
        TWO_FILES, "train-mode-not-restored",
        old="    model.train()\n", new="",
        line="model.eval()", number=(1, 10),
    ),
    Plant(
        DDP, "train-mode-not-restored",
        old="        model.train()\n", new="",
        line="model.eval()", number=(1, 12),
    ),
    Plant(
        TRAINER, "train-mode-not-restored",
        old="        for epoch in range(self.config.epochs):\n            self.model.train()\n",
        new="        self.model.train()\n        for epoch in range(self.config.epochs):\n",
        line="self.model.eval()", number=(1, 30),
    ),
    Plant(
        LBFGS, "missing-zero-grad",
        old="        optimizer.zero_grad()\n", new="",
        line="loss.backward()", number=(2, 12),  # L-BFGS asks ten times in a step
    ),
    Plant(
        VAE, "whole-model-save",
        old='"model": model.state_dict()', new='"model": model',
        line='torch.save(checkpoint, folder / f"vae_{epoch}.pt")', number=(1, 1),
    ),
    Plant(
        VAE, "inference-without-no-grad",
        old="""    with torch.no_grad():
        for data in loader:
            data = data.to(device)
            recon, mu, logvar = model(data)
            total += loss_function(recon, data, mu, logvar).item()
""",
        new="""    for data in loader:
        data = data.to(device)
        recon, mu, logvar = model(data)
        total += loss_function(recon, data, mu, logvar).item()
""",
        line="recon, mu, logvar = model(data)", nth=2, number=(1, 10**7),
    ),
    Plant(
        FINETUNE, "parameter-replaced-after-optimizer",
        old="""    model.fc = nn.Linear(model.fc.in_features, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
""",
        new="""    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    model.fc = nn.Linear(model.fc.in_features, 3)
""",
        line="model.fc = nn.Linear(model.fc.in_features, 3)", number=(2, 2),
    ),
    Plant(
        CHAR_RNN, "device-mismatch",
        old="        return torch.zeros(*shape, device=device), torch.zeros(*shape, device=device)\n",
        new="        return torch.zeros(*shape), torch.zeros(*shape)\n",
        line="logits, state = model(x, state)", number=(1, 1), pretend=True, linted=False,
    ),
    Plant(
        DENOISER, "inference-without-no-grad",
        old="""    with torch.inference_mode():
        for noisy, clean in loader:
            restored = model(noisy)
            total += criterion(restored, clean).item()
            outputs.append(restored)
""",
        new="""    for noisy, clean in loader:
        restored = model(noisy)
        total += criterion(restored, clean).item()
        outputs.append(restored)
""",
        line="restored = model(noisy)", number=(1, 10**8),
    ),
    Plant(
        COMPILED, "missing-zero-grad",
        old="        optimizer.zero_grad()\n", new="",
        line="loss.backward()", number=(2, 2),
    ),
    Plant(
        SIAMESE, "missing-super-init",
        old="margin=1.0):\n        super().__init__()\n", new="margin=1.0):\n",
        line="def __init__(self, margin=1.0):", number=(1, 1),
    ),
    Plant(
        SEGMENTATION, "attribute-before-super-init",
        old="        super().__init__()\n        self.down = double_conv(1, channels)\n",
        new="        self.down = double_conv(1, channels)\n        super().__init__()\n",
        line="self.down = double_conv(1, channels)", number=(1, 1),
    ),
    Plant(
        DIFFUSION, "device-mismatch",
        old="        noise = torch.randn(x.shape, device=x.device)\n", new="        noise = torch.randn(x.shape)\n",
        line="return kept.sqrt() * x + (1 - kept).sqrt() * noise", number=(1, 1), pretend=True,
    ),
)  # fmt: skip


def write(program: Twin, folder: Path, plant: Plant | None = None) -> Path:
    """Writes the program, with the pitfall or without, to `folder` and returns its script."""
    source = HERE / program.script
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.parent.glob("*.py") if source.parent != HERE else [source]:
        shutil.copy(file, folder)
    if plant is not None:
        (folder / Path(plant.target).name).write_text(plant.planted(), encoding="utf-8")
    return folder / source.name


if __name__ == "__main__":
    for plant in PLANTS:
        print(write(plant.program, Path(sys.argv[1], str(plant)), plant))
