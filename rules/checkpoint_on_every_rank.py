"""Every process of a distributed program writes its checkpoint to one and the same file.

## What it finds
`torch.save` of a model's or an optimizer's state in a program of several processes (`init_process_group`, an
`Accelerator`), where no test of the rank stands around it or has sent the other processes away before, and the path is
the same in each of them. The finding stands at the call; a second location shows where the processes were joined.

## Why it hurts
All processes open the file at once, and each writes its own copy over what the others are writing. They are rarely done
at the same time: what is left can be the beginning of one copy and the end of another, a file that cannot be read when
the program is resumed. On a shared file system it costs as many times the bandwidth as there are processes.

## Example
Wrong:

```python
import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("gloo")
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
...
torch.save(model.module.state_dict(), "model.pt")
```

Right:

```python
import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("gloo")
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
...
if dist.get_rank() == 0:
    torch.save(model.module.state_dict(), "model.pt")
```

## Fix and its safety
Writes the test of the rank around the statement. Unsafe: a process that reads the file afterwards has to wait for it
(`dist.barrier()`). No fix is offered where the state is taken in the statement itself from a sharded model, which all
processes have to do together, and where the group may not have been joined.

## Known limits
Any test around the call that could hang on the process keeps it quiet (`if is_main:`, `if writer is not None:`), and so
does a path with a word of the rank, of the time, of a measured number or of a temporary folder in it, or in what its
names are made of. Quiet
about other data than states, which each process may have of its own, about `accelerator.save`, which asks for the rank
itself, and about checkpoints that are sharded on purpose (`torch.distributed.checkpoint`).

## Proof
How many processes wrote one file, counted through the store at which they meet. Healthy is 1.

## References
- Getting Started with Distributed Data Parallel, Save and Load Checkpoints: https://docs.pytorch.org/tutorials/intermediate/ddp_tutorial.html
- torch.distributed: https://docs.pytorch.org/docs/stable/distributed.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import GroupJoined, Literal, ModelWrapped, Module, Root, Saved, Unknown, states_in, walk
from torchlint.rule import Facts, Finding, Fix, Group, Safety, Wrap

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"save"}, {"init_process_group", "Accelerator"}, {"torch"}]
fixable = "sometimes"
processes = 2  # its proof needs several


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for saved in root.of(Saved):
            if saved.site.node in seen or saved.site.caller is not None or not _weights(saved):
                continue
            joined = _joined(facts, root, saved)
            if joined is None or _one_process(facts, saved) or not _one_file(facts, saved):
                continue
            seen.add(saved.site.node)
            yield Finding(
                saved.site,
                f"every process writes `{facts.text(saved.path_site) if saved.path_site is not None else saved.path}`",
                "They write it at the same time: what is left may be a mixture that cannot be read.",
                related=(("the processes are joined here", joined.site),),
                fix=_fix(facts, root, saved, joined),
            )


def _weights(saved: Saved) -> bool:
    """True for the state of a model or an optimizer, or for a model itself."""
    return bool(states_in(saved.value)) or all(isinstance(one, Module) for one in saved.value.options())


def _joined(facts: Facts, root: Root, saved: Saved) -> GroupJoined | None:
    """Where this process was made one of several before it saves, on some path."""
    for joined in root.of(GroupJoined):
        if saved in walk(joined.next, "", lambda state, event: state):
            return joined
    owner = saved.frame.function.owner if saved.frame.function is not None else None
    for event in facts.everything if owner is not None else ():
        maker = event.frame.function
        if isinstance(event, GroupJoined) and maker is not None and maker.owner is owner and maker.name == "__init__":
            return event
    return None


# Parts of names that speak of one process among several ...
_RANK = frozenset(
    """
    rank ranks rank0 main master primary process processes proc chief leader coordinator zero first root world host
    node worker distributed dist ddp fsdp
    """.split()
)
# ... of these, what a function is called that only the first one runs ...
_FIRST = frozenset({"rank", "rank0", "process", "master", "primary", "chief", "leader", "zero", "first"})
# ... and what may: what only one of them has, or is told.
_SINGLED_OUT = frozenset(
    """
    local global multi parallel gpu gpus cuda device only initialized available log logs logger logging writer print
    verbose silent debug save saving saver checkpoint checkpoints ckpt wandb tensorboard tb run should is can may lead
    tp pp dp cp ep mp
    """.split()
)
# With these in the same name it is about how often, or how well, something is done.
_HARMLESS = frozenset(
    """
    every freq frequency interval intervals step steps period epoch epochs iter iters iteration iterations n num best
    better last final improved lower min max
    """.split()
)
# Parts of names that make a path another one in each process, or at each time.
_VARYING = frozenset(
    """
    rank ranks rank0 process processes proc pid getpid worker world node host hostname gethostname local uuid uuid4 time
    now strftime timestamp random randint choice tmp temp tempfile mkdtemp temporary bytesio buffer device gpu shard
    shards tp pp dp cp ep mp loss acc accuracy score metric f1
    """.split()
)


def _parts(word: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])|\d+", word)}


def _one_process(facts: Facts, saved: Saved) -> bool:
    """True when a test, or what a function around is called or decorated with, may let a single process through."""
    for function in (frame.function for frame in saved.frame.stack() if frame.function is not None):
        if _parts(function.name) & _FIRST or any(_parts(name) & _RANK for name in function.decorators):
            return True
    asked = saved.asked - {"__name__", '"__main__"', "'__main__'"}
    return any(_parts(word) & _RANK or _singles_out(word) for word in facts.behind(asked, answers=True))


def _singles_out(word: str) -> bool:
    parts = _parts(word)
    return bool(parts & _SINGLED_OUT) and not parts & _HARMLESS


def _one_file(facts: Facts, saved: Saved) -> bool:
    """True when the path is certainly the same in every process."""
    if saved.path is None or saved.path_site is None:
        return False
    for one in saved.path.options():
        known = isinstance(one, Literal) or (
            isinstance(one, Unknown) and one.origin in ("string", "path", "attribute", "arguments", "item", "parameter")
        )
        if not known:
            return False
    written = set(re.findall(r"[A-Za-z_]\w*", facts.text(saved.path_site)))
    return not any(_parts(word) & _VARYING for word in facts.behind(written))


def _fix(facts: Facts, root: Root, saved: Saved, joined: GroupJoined) -> Fix | None:
    if not saved.alone or joined.by != "torch.distributed.init_process_group":
        return None
    if any(isinstance(e, ModelWrapped) and e.kind != "ddp" for e in facts.everything):
        return None  # all processes have to take part where the state of a sharded model is taken
    asked = facts.spell("torch.distributed.get_rank")
    surely = walk([root.entry], "alone", lambda state, event: "joined" if event is joined else state)
    if asked is None or surely.get(saved) != {"joined"}:
        return None
    return Fix("Save on the first process only", Safety.UNSAFE, (Wrap(saved.site, f"if {asked}() == 0:"),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "processes that write one file", "processes"
    for saved in trace.of(events.Saved):
        if saved.processes > 1 and saved.writers:
            harmed = saved.writers > 1
            message = f"one of {saved.processes} processes wrote this file"
            if harmed:
                message = f"{saved.writers} of {saved.processes} processes have written this file"
            yield Measurement(what, saved.writers, 1, unit, harmed, saved.place, message)
