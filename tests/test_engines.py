"""Objects of frameworks that do a part of the loop: each program, and what is found in it."""

from __future__ import annotations

import textwrap

import pytest

from torchlint import engine, registry
from torchlint.source import Source

HEAD = """
import torch
from torch import nn

def made():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
"""
ACCELERATE = """
from accelerate import Accelerator

def main(loader, val):
    accelerator = Accelerator({settings})
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader, val = accelerator.prepare(model, optimizer, loader, val)
    for x, y in loader:
        {step}
    {after}
"""
STEP = "optimizer.zero_grad(); accelerator.backward(nn.functional.cross_entropy(model(x), y)); optimizer.step()"


def accelerated(step: str = STEP, after: str = "pass", settings: str = "") -> str:
    return ACCELERATE.format(step=step, after=after, settings=settings)


PROGRAMS: dict[str, tuple[str, set[str]]] = {
    "the right loop": (accelerated(), set()),
    "never cleared": (accelerated(STEP.partition("; ")[2]), {"missing-zero-grad"}),
    "a detached loss": (accelerated(STEP.replace("y));", "y).detach());")), {"detached-loss"}),
    "clipping before the backward pass": (
        accelerated(STEP.replace("accel", "accelerator.clip_grad_norm_(model.parameters(), 1.0); accel", 1)),
        {"misplaced-gradient-clipping"},
    ),
    "clipping after it": (
        accelerated(
            STEP.replace("optimizer.step", "accelerator.clip_grad_norm_(model.parameters(), 1.0); optimizer.step")
        ),
        set(),
    ),
    "a model in training mode is evaluated": (
        accelerated(after="\n    with torch.no_grad():\n        for x, y in val:\n            print(model(x))"),
        {"inference-without-eval"},
    ),
    "what was gathered is no model": (
        accelerated(
            after="\n    model.eval()\n    with torch.no_grad():\n        for x, y in val:\n"
            "            print(accelerator.gather_for_metrics((model(x).argmax(-1), y)))"
        ),
        set(),
    ),
    "saved by all processes": (
        accelerated(after="torch.save(accelerator.unwrap_model(model).state_dict(), 'model.pt')"),
        {"checkpoint-on-every-rank"},
    ),
    "saved by the Accelerator": (accelerated(after="accelerator.save(model.state_dict(), 'model.pt')"), set()),
    "saved by the main process": (
        accelerated(
            after="\n    if accelerator.is_main_process:\n        torch.save(accelerator.get_state_dict(model), 'm.pt')"
        ),
        set(),
    ),
    "float16, and past it": (
        accelerated(
            "optimizer.zero_grad(); loss = nn.functional.cross_entropy(model(x), y); loss.backward(); optimizer.step()",
            settings="mixed_precision='fp16'",
        ),
        {"backward-past-framework"},
    ),
    "an Accelerator that is handed in": (
        """
        from accelerate import Accelerator

        def train(accelerator: Accelerator, model: nn.Module, loader):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            model, optimizer = accelerator.prepare(model, optimizer)
            for x, y in loader:
                accelerator.backward(nn.functional.cross_entropy(model(x), y))
                optimizer.step()
        """,
        {"missing-zero-grad"},
    ),
    "a DeepSpeed engine is its model": (
        """
        import deepspeed

        def main(args, loader, val):
            net = made()
            engine, optimizer, _, _ = deepspeed.initialize(args=args, model=net, model_parameters=net.parameters())
            for x, y in loader:
                engine.backward(nn.functional.cross_entropy(engine(x), y))
                engine.step()
            with torch.no_grad():
                for x, y in val:
                    print(engine(x))
        """,
        {"inference-without-eval"},
    ),
    "a DeepSpeed engine clears and steps": (
        """
        import deepspeed

        def main(args, loader):
            net = made()
            optimizer = torch.optim.Adam(net.parameters())
            engine, optimizer, _, _ = deepspeed.initialize(args=args, model=net, optimizer=optimizer)
            for x, y in loader:
                engine.backward(nn.functional.cross_entropy(engine(x), y))
                engine.step()
        """,
        set(),
    ),
    "timm's scaler steps": (
        """
        from timm.utils import NativeScaler

        def main(loader):
            model, scaler = made(), NativeScaler()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for x, y in loader:
                optimizer.zero_grad()
                scaler(nn.functional.cross_entropy(model(x), y), optimizer, parameters=model.parameters())
        """,
        set(),
    ),
    "a function that is compiled": (
        """
        model = made()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        compiled = torch.compile(step)
        for x, y in batches:
            compiled(x, y)
        """,
        {"missing-zero-grad"},
    ),
    "the optimizer steps in the backward pass": (
        """
        model = made()
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

        def hook(parameter):
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(hook)

        def main(loader):
            for x, y in loader:
                nn.functional.cross_entropy(model(x), y).backward()
        """,
        set(),
    ),
    "a module as a function of its parameters": (
        """
        from torch.func import functional_call, grad

        model = made()
        parameters = dict(model.named_parameters())

        def loss(parameters, x, y):
            return nn.functional.cross_entropy(functional_call(model, parameters, (x,)), y)

        def main(loader):
            global parameters
            for x, y in loader:
                slopes = grad(loss)(parameters, x, y)
                parameters = {name: p - 0.1 * slopes[name] for name, p in parameters.items()}
        """,
        set(),
    ),
}
SCALERS = (
    "torch.GradScaler",
    "torch.amp.GradScaler",
    "torch.cuda.amp.GradScaler",
    "torch.cuda.amp.grad_scaler.GradScaler",
)


def found(program: str) -> set[str]:
    source = Source("program.py", (HEAD + textwrap.dedent(program)).encode())
    return {one.code for one in engine.analyse(source, registry.load())}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_found(name: str) -> None:
    program, expected = PROGRAMS[name]
    assert found(program) == expected


@pytest.mark.parametrize("scaler", SCALERS)
def test_every_name_of_the_scaler(scaler: str) -> None:
    program = f"""
    def main(loader):
        model = made()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        factor = {scaler}()
        for x, y in loader:
            optimizer.zero_grad()
            factor.scale(nn.functional.cross_entropy(model(x), y)).backward()
            optimizer.step()
    """
    assert found(program) == {"scaler-bypassed"}
