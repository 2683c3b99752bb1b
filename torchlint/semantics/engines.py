"""Objects of training frameworks that do a part of the loop: what their methods do, told in the words of torch's own.

An `Accelerator` or a `Fabric` prepares models and optimizers, and takes over the backward pass; a DeepSpeed engine is
the model itself; timm's scaler runs a whole step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from torchlint.facts import (
    Collection,
    Device,
    DeviceChosen,
    Duty,
    Engine,
    GroupJoined,
    Literal,
    Loader,
    Module,
    Optimizer,
    OptimizerStep,
    Prepared,
    Unknown,
    Value,
    Wrapped,
    ZeroGrad,
    only,
)
from torchlint.semantics import frameworks, states
from torchlint.semantics.machine import Machine, graphs_of, link, place

if TYPE_CHECKING:
    from torchlint.semantics.calls import Arguments

# Methods of an `Accelerator` and of a `Fabric` that leave models, modes and gradients as they are.
_HARMLESS = frozenset(
    """
    print log log_dict wait_for_everyone barrier end_training init_trackers get_tracker main_process_first
    local_main_process_first autocast no_sync no_backward_sync join_uneven_inputs accumulate profile save save_state
    save_model register_for_checkpointing on_main_process on_local_main_process on_last_process on_process
    set_trigger check_trigger seed_everything launch broadcast rank_zero_first no_init init_module init_tensor
    """.split()
)
# Methods that give what they are given, from all processes.
_GATHERING = frozenset({"gather", "gather_for_metrics", "pad_across_processes", "reduce", "all_gather", "all_reduce"})


def made(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Engine | None:
    """The engine that a call makes, where `path` is the class of one that loops are written around."""
    known = frameworks.works(path)
    if known is None:
        return None
    settings = {key: value for key, value in arguments.keywords.items() if not key.startswith("*")}
    found = Engine(site=m.site(node), api=path, settings=settings, open=arguments.starred)
    if known.does & Duty.RANK_ZERO_CHECKPOINT and path.startswith("accelerate."):
        m.emit(GroupJoined(*m.at(node), by=path))  # its launcher decides how many there are
    if known.does & Duty.MOVE_MODEL:
        m.emit(DeviceChosen(*m.at(node), engine=found))
    return found


def method(m: Machine, node: cst.Call, owner: Engine, name: str, arguments: Arguments, discarded: bool) -> Value | None:
    """What a method of an engine does and gives; None for one that nothing is known of."""
    from torchlint.semantics.calls import backward_of, clipped, prepared

    known = frameworks.engine(owner.api)
    if known is None:
        return None
    does = known.methods.get(name, Duty.NONE)
    if does & Duty.STEP:
        _whole_step(m, node, owner, does, arguments)
        return Unknown(origin="number")
    if name in known.prepares and arguments.all():
        sites = [m.site(argument.value) for argument in node.args]
        all_given, more = arguments.all(), arguments.starred
        m.emit(Prepared(*m.at(node), engine=owner, given=all_given, sites=sites, open=more, discarded=discarded))
        return prepared(m, arguments)
    if does == Duty.BACKWARD:
        backward_of(m, node, arguments.get(0, "loss") or arguments.get(0, "tensor"), owner)
        return Unknown(origin="call")
    if does == Duty.CLIPPING:
        given = arguments.get(0, "parameters") or arguments.get(0, "module")
        limit = arguments.get(1, "clip_value" if name == "clip_grad_value_" else "max_norm")
        clipped(m, node, given, limit, discarded)
        return Unknown(origin="number")
    if name == "unwrap_model" and arguments.positional:
        return arguments.positional[0]
    if name == "get_state_dict" and arguments.positional:
        return states.taken(m, node, arguments.positional[0])
    if name == "skip_first_batches":
        return arguments.get(0, "dataloader")
    if name in _GATHERING and arguments.all():
        return Unknown(site=m.site(node), origin="call", graph=graphs_of(arguments.all()))
    if name in _HARMLESS:
        return Unknown(origin="call")
    return None


def attribute(m: Machine, owner: Engine, name: str) -> Value:
    """`owner.name`: where the program runs, or a number or an answer."""
    known = m.field_of(owner, name)
    if known is not None:
        return known
    if name == "device":
        return m.derive(owner, name, Device(name=f"{owner.name}.device", kind="open"))
    return m.derive(owner, name, Unknown(name=f"{owner.name}.{name}" if owner.name else "", origin="number"))


def _whole_step(m: Machine, node: cst.Call, owner: Engine, does: Duty, arguments: Arguments) -> None:
    """`loss_scaler(loss, optimizer, ...)`: a backward pass, and a step unless it is told not to."""
    from torchlint.semantics.calls import backward_of

    loss, optimizer = arguments.get(0, "loss"), arguments.get(1, "optimizer")
    if does & Duty.BACKWARD:
        backward_of(m, node, loss, owner)
    if optimizer is None:
        return

    def step() -> None:
        m.emit(OptimizerStep(*m.at(node), optimizer=optimizer, scaled=True))
        if does & Duty.ZERO_GRAD:
            m.emit(ZeroGrad(*m.at(node), target=optimizer))

    wanted = only(arguments.get(6, "need_update"))
    if wanted is None and not arguments.starred:
        step()
    elif not (isinstance(wanted, Literal) and wanted.value is False):
        m.branch([step, lambda: None])


def deepspeed(m: Machine, node: cst.Call, arguments: Arguments) -> Value:
    """`deepspeed.initialize(...)`: the model as an engine, its optimizer, a loader and a scheduler."""
    model, optimizer = arguments.get(1, "model"), arguments.get(2, "optimizer")
    one = only(model)
    if not isinstance(one, Module) or arguments.starred:
        m.unknown_call(node, "deepspeed.initialize", arguments.all())
        return Unknown(origin="call", holds=True)
    place(m, one, Device(name="engine", kind="open"))
    one.places_inputs = True
    view = Wrapped(site=m.site(node), alternatives=[one], kind="deepspeed")
    stepper: Value = (
        optimizer if isinstance(only(optimizer), Optimizer) and optimizer is not None else Unknown(holds=True)
    )
    if isinstance(only(stepper), Optimizer):
        m.derive(one, "$engine", stepper)
    rest = Unknown(origin="call", holds=True)
    for value in arguments.all():
        for option in value.options():
            if isinstance(option, (Module, Optimizer, Loader)):
                link(option, rest)
    m.emit(GroupJoined(*m.at(node), by="deepspeed.initialize"))
    return Collection(kind="tuple", items=[view, stepper, rest, rest])


def deepspeed_method(m: Machine, node: cst.Call, model: Module, name: str, arguments: Arguments) -> Value | None:
    """`engine.backward(loss)` and `engine.step()`, which steps and clears; None for all other methods."""
    from torchlint.semantics.calls import backward_of

    if name == "backward" and arguments.all():
        backward_of(m, node, arguments.get(0, "loss"), model)
        return Unknown(origin="call")
    if name == "step":
        optimizer = m.field_of(model, "$engine")
        if optimizer is not None:
            m.emit(OptimizerStep(*m.at(node), optimizer=optimizer, scaled=True))
        m.emit(ZeroGrad(*m.at(node), target=model))
        return Unknown(origin="call")
    return None
