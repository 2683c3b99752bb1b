"""Devices that are written out, and whether a test of what there is stands before them."""

from __future__ import annotations

import libcst as cst

from torchlint.facts import Api, Class, DeviceNamed, Literal, Site, Value
from torchlint.semantics.machine import Activation, Machine

_GUARDS = ("cuda", "gpu", "device", "avail", "distributed", "ddp", "parallel", "rank", "accelerator")


def named(m: Machine, node: cst.Call, value: Value | None, argument: object) -> None:
    """Tells of a device argument, where it is a constant that means CUDA."""
    text = value.value if type(value) is Literal else None
    if isinstance(argument, cst.SimpleString) and isinstance(text, str) and text.partition(":")[0] == "cuda":
        m.emit(DeviceNamed(*m.at(node), argument=m.site(argument), guarded=_guarded(m), tried=bool(m.tries)))


def moved(m: Machine, node: cst.Call, receiver: Value, method: str, given: list[Value]) -> None:
    """Tells of `.cuda()` and `.to("cuda")`."""
    if isinstance(receiver, (Api, Class)) or not isinstance(node.func, cst.Attribute):
        return
    if method == "to":
        if node.args and given:
            named(m, node, given[0], node.args[0].value)
        return
    if not node.args:
        site = Site(node.func.value, m.statement, m.suite, m.active.info)
        m.emit(DeviceNamed(*m.at(node), receiver=site, guarded=_guarded(m), tried=bool(m.tries)))


def _guarded(m: Machine) -> bool:
    """True when a test of the devices decides whether the program gets here."""
    if any(map(_speaks_of_devices, m.tests)):
        return True
    around: Activation | None = m.active
    while around is not None:
        if _speaks_of_devices(around.left):
            return True
        around = around.outer
    return False


def _speaks_of_devices(words: frozenset[str]) -> bool:
    return any(guard in word.lower() for word in words for guard in _GUARDS)
