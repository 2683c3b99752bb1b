"""A CUDA device is written out in code that runs on the CPU too, where there is no GPU.

## What it finds
`.cuda()`, `.to("cuda")` or `device="cuda:0"` without a test, in a function that elsewhere chooses between CUDA and
the CPU (`"cuda" if torch.cuda.is_available() else "cpu"`), or whose module does, or that leaves the choice to an
`Accelerator`, a `Fabric`, or the trainer of a LightningModule. The finding stands at the call.

## Why it hurts
The program says that it works without a GPU, and does not: at this line it ends with "Torch not compiled with CUDA
enabled" or "no NVIDIA driver". With several GPUs the tensor may land on another one than the rest.

## Example
Wrong:

```python
import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Linear(4, 2).to(device)
for x in batches:
    y = model(x.cuda())
```

Right:

```python
import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Linear(4, 2).to(device)
for x in batches:
    y = model(x.to(device))
```

## Fix and its safety
Uses the device that was chosen, where it has a name in reach. Unsafe: on a machine with several devices the chosen
one may be another. Where it has no name in reach, or another GPU than the first is meant, there is no fix.

## Known limits
Programs that need a GPU throughout are let be: there is no choice in them, as where a trainer is told to use one
(`accelerator="gpu"`), and so are files with kernels of Triton. Quiet under any test that speaks of CUDA,
GPUs, devices or ranks, after one that has left the function, in a `try`, and about `torch.device("cuda")` alone,
which needs no GPU.

## Proof
The program is run on a machine without a GPU: it ends at that line. Healthy is a forward pass.

## References
- torch.cuda.is_available: https://docs.pytorch.org/docs/stable/generated/torch.cuda.is_available.html
- CUDA semantics: Device-agnostic code: https://docs.pytorch.org/docs/stable/notes/cuda.html#device-agnostic-code
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import DeviceChosen, DeviceNamed, Event, Module, Root, Site
from torchlint.rule import Change, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.PORTABILITY
words = [
    {"cuda"},
    {"is_available", "use_cuda", "cuda_available", "no_cuda", "use_gpu", "Accelerator", "Fabric", "training_step"},
]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if "triton" in facts.words:
        return  # kernels of its own, which need the GPU that is named
    first = facts.roots[0]
    for root in facts.roots:
        for event in root.of(DeviceNamed):
            if event.guarded or event.tried:
                continue
            chosen = _chosen(first, root, event)
            if chosen is None or (_by_framework(chosen) and facts.wants_gpu):
                continue
            text = facts.text(event.site)
            yield Finding(
                event.site,
                f"`{text if len(text) < 60 else 'cuda'}` needs a GPU, though the program runs without one too",
                "Where there is no GPU the program ends here.",
                related=((_chooser(chosen), chosen.site),),
                fix=_fix(facts, event, chosen),
            )


def _by_framework(chosen: Event) -> bool:
    return isinstance(chosen, DeviceChosen) and chosen.engine is not None


def _chooser(chosen: Event) -> str:
    by_trainer = isinstance(chosen, DeviceChosen) and isinstance(chosen.engine, Module)
    return "the trainer chooses the device of what this hook works on" if by_trainer else "the device is chosen here"


def _chosen(first: Root, root: Root, event: DeviceNamed) -> Event | None:
    """Where the CPU is provided for: in the same function, in one that calls it, or in the module's body."""
    for one in root.events:
        if one is event:
            break
        near = one.site.function is event.site.function or any(f is one.frame for f in event.frame.stack())
        if near and _provides(one, event):
            return one
    if root is not first:
        for one in first.events:
            if one.site.function is None and _provides(one, event):
                return one
    return None


def _provides(one: Event, event: DeviceNamed) -> bool:
    if isinstance(one, DeviceChosen):
        return one.site.statement is not event.site.statement
    return isinstance(one, DeviceNamed) and one.guarded and one.site.function is event.site.function


def _fix(facts: Facts, event: DeviceNamed, chosen: Event) -> Fix | None:
    statement = facts.text(Site(chosen.site.statement, chosen.site.statement, None))
    name, assigned, _ = statement.partition(" = ")
    if isinstance(chosen, DeviceChosen) and chosen.engine is not None:
        name = f"{chosen.engine.name}.device"
        if not facts.binds(event.site.function, chosen.engine.name.partition(".")[0]):
            return None
        assigned = name
    reach = chosen.site.function in (None, event.site.function)
    if not assigned or not name.replace(".", "_").isidentifier() or not reach or not isinstance(chosen, DeviceChosen):
        return None
    change: Change
    if event.argument is not None:
        if facts.text(event.argument).strip("\"'") not in ("cuda", "cuda:0"):
            return None
        change = Replace(event.argument, name)
    elif event.receiver is not None:
        change = Replace(event.site, f"{facts.text(event.receiver)}.to({name})")
    else:
        return None
    return Fix(f"Use `{name}`", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "lines that end the program without a GPU", "lines"
    for raised in trace.of(events.Raised):
        if "not compiled with CUDA" in raised.message or "NVIDIA" in raised.message or "No CUDA GPUs" in raised.message:
            yield Measurement(what, 1, 0, unit, True, raised.place, raised.message.splitlines()[0])
    for forward in trace.of(events.Forward):
        yield Measurement(what, 0, 0, unit, False, forward.place, f"{forward.kind} ran on {forward.device or 'cpu'}")
