"""What is known of the training frameworks: names, hooks and duties; checked against those that are installed."""

from __future__ import annotations

import importlib
import importlib.util
import inspect

import pytest

from torchlint.facts import Duty, Evidence, Grad, Optimizer, OptimizerStep, only
from torchlint.semantics import frameworks
from torchlint.semantics.build import build
from torchlint.semantics.vocabulary import canonical
from torchlint.source import Source

NAMES = {
    "pytorch_lightning.LightningModule": "lightning.LightningModule",
    "pytorch_lightning.core.lightning.LightningModule": "lightning.LightningModule",
    "lightning.pytorch.LightningModule": "lightning.LightningModule",
    "lightning.pytorch.callbacks.EarlyStopping": "lightning.callbacks.EarlyStopping",
    "pytorch_lightning.callbacks.EarlyStopping": "lightning.callbacks.EarlyStopping",
    "lightning.pytorch": "lightning",
    "lightning.pytorchish.x": "lightning.pytorchish.x",
    "lightning.fabric.Fabric": "lightning.Fabric",
    "lightning_fabric.Fabric": "lightning.Fabric",
    "accelerate.accelerator.Accelerator": "accelerate.Accelerator",
    "ignite.engine.engine.Engine": "ignite.Engine",
    "transformers.modeling_utils.PreTrainedModel": "transformers.PreTrainedModel",
    "transformers.optimization.AdamW": "transformers.optimization.AdamW",
    "lightningx.Trainer": "lightningx.Trainer",
}


@pytest.mark.parametrize("path", NAMES)
def test_one_name_for_each_thing(path: str) -> None:
    assert canonical(path) == NAMES[path]
    assert canonical(NAMES[path]) == NAMES[path]


@pytest.mark.parametrize(
    ("words", "duty", "answer"),
    [
        ({"model", "Accelerator"}, Duty.SET_EPOCH, True),
        ({"model", "optimizer"}, Duty.SET_EPOCH, False),
        ({"GradScaler"}, Duty.SCALING, True),
        ({"GradScaler"}, Duty.SET_EPOCH, False),
        ({"lightning"}, Duty.STEP, False),  # not where optimization is manual
        ({"register_post_accumulate_grad_hook"}, Duty.STEP, True),
        ({"skorch"}, Duty.OWN_FORWARD, True),
        ({"deepspeed"}, Duty.ZERO_GRAD | Duty.STEP, True),
    ],
)
def test_what_a_file_is_relieved_of(words: set[str], duty: Duty, answer: bool) -> None:
    assert frameworks.relieved(words, duty) is answer


@pytest.mark.parametrize(
    ("base", "method", "training", "grad"),
    [
        ("lightning.LightningModule", "training_step", True, Grad.DEFAULT),
        ("lightning.LightningModule", "validation_step", False, Grad.OFF),
        ("lightning.LightningModule", "on_validation_epoch_end", False, Grad.OFF),
        ("lightning.Callback", "on_predict_start", False, Grad.OFF),
        ("speechbrain.Brain", "evaluate_batch", False, Grad.OFF),
        ("speechbrain.Brain", "compute_forward", None, Grad.DEFAULT),
        ("mmengine.BaseModel", "val_step", False, Grad.OFF),
        ("skorch.NeuralNet", "validation_step", None, Grad.DEFAULT),
    ],
)
def test_what_is_in_force_in_a_hook(base: str, method: str, training: bool | None, grad: Grad) -> None:
    found = frameworks.hook(["torch.nn.Module", base], method)
    assert found is not None
    assert (found.training, found.grad) == (training, grad)


@pytest.mark.parametrize(
    ("base", "method"),
    [("lightning.LightningModule", "forward"), ("torch.nn.Module", "training_step"), ("lightning.Trainer", "fit")],
)
def test_what_is_no_hook(base: str, method: str) -> None:
    assert frameworks.hook([base], method) is None


# Lightning 1 had these, and code for it is still about; the last one is called where a module has it.
GONE = frozenset(
    """
    training_step_end training_epoch_end validation_step_end test_step_end validation_epoch_end test_epoch_end
    on_predict_model_train
    """.split()
)


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed")
def test_lightning_has_what_the_table_says() -> None:
    lightning = importlib.import_module("lightning")
    table = frameworks.LIGHTNING
    for name in table.modules | table.engines.keys():
        assert inspect.isclass(getattr(lightning, name)), name
    hooks = frozenset[str]().union(*(hook.names for hook in table.hooks))
    for name in (hooks | table.methods.keys()) - GONE:
        assert callable(getattr(lightning.LightningModule, name)), name
    for name in table.engines["Fabric"].methods.keys() | table.engines["Fabric"].prepares:
        assert callable(getattr(lightning.Fabric, name)), name
    known = {n for n in dir(lightning.LightningModule) if n.startswith("on_") and n.endswith(("_start", "_end"))}
    assert known <= hooks


MODULE = """
import torch
from elsewhere import Base, make
from lightning.pytorch import LightningModule

class Net({bases}):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        {setting}

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).mean()
        return {loss}

    def configure_optimizers(self):
        opt = torch.optim.SGD(self.parameters(), lr=0.1)
        sched = torch.optim.lr_scheduler.StepLR(opt, 1)
        return {returned}

    {more}
"""
AUTOMATIC = [
    {"returned": "opt"},
    {"returned": "[opt]"},
    {"returned": "[opt], [sched]"},
    {"returned": "[opt], []"},
    {"returned": "{'optimizer': opt}"},
    {"returned": "{'optimizer': opt, 'lr_scheduler': {'scheduler': sched, 'interval': 'step'}}"},
    {"returned": "[{'optimizer': opt, 'lr_scheduler': sched}]"},
    {"loss": "{'loss': loss, 'x': 1}"},
]
NOT_CERTAINLY = [
    {"returned": "make(opt)"},
    {"returned": "opt, torch.optim.SGD(self.parameters(), lr=1.0)"},
    {"returned": "None"},
    {"loss": "None"},
    {"loss": "{'x': loss}"},
    {"loss": "loss if batch_idx else None"},
    {"setting": "self.automatic_optimization = False"},
    {"setting": "self.automatic_optimization = make()"},
    {"more": "automatic_optimization = False"},
    {"more": "def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure): make(optimizer)"},
    {"bases": "Base, LightningModule"},
    {"bases": "torch.nn.Module"},
]


def trainers_steps(parts: dict[str, str]) -> list[OptimizerStep]:
    """What the trainer is taken to do by itself in a module that is written so."""
    usual = {"bases": "LightningModule", "setting": "", "loss": "loss", "returned": "opt", "more": ""}
    facts = build(Source("net.py", MODULE.format(**(usual | parts)).encode()))
    return [step for root in facts.roots for step in root.of(OptimizerStep) if step.by_trainer]


@pytest.mark.parametrize("parts", AUTOMATIC, ids=str)
def test_a_trainer_steps_what_it_is_given(parts: dict[str, str]) -> None:
    (step,) = trainers_steps(parts)
    optimizer = only(step.optimizer)
    assert isinstance(optimizer, Optimizer) and optimizer.evidence is Evidence.MADE
    assert len(step.loops) == 2  # batches in epochs


@pytest.mark.parametrize("parts", NOT_CERTAINLY, ids=str)
def test_a_trainer_that_may_not_step_is_not_taken_to(parts: dict[str, str]) -> None:
    assert trainers_steps(parts) == []
