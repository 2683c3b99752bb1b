"""States and files of weights: what `state_dict()` and `torch.load` return, and what becomes of it.

A state is a view: its tensors are the module's own until something copies them. What was read from a file is anything,
and turns out to be a module, a state or a checkpoint by what is done to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import libcst as cst

from torchlint.facts import (
    Api,
    Collection,
    Device,
    FileLoaded,
    Literal,
    Loaded,
    LoadedFile,
    LoadResult,
    Module,
    Site,
    StateDict,
    StateReturned,
    StateTaken,
    Unknown,
    Value,
    only,
    same,
    states_in,
)
from torchlint.semantics.machine import Machine
from torchlint.semantics.vocabulary import named_like_model

if TYPE_CHECKING:
    from torchlint.semantics.calls import Arguments

# ------------------------------------------------------------------------------------------------------ states


def taken(m: Machine, node: cst.Call, owner: Value) -> StateDict:
    """`owner.state_dict()`."""
    state = StateDict(site=m.site(node), origin="state_dict", of=owner)
    m.emit(StateTaken(*m.at(node), state=state, spelling=_spelled(node), tests=m.tests))
    return state


def copied(m: Machine, state: StateDict, node: Any) -> StateDict:
    """A copy of a state, tensors included. A dictionary of the same tensors counts as the state itself."""
    return StateDict(site=m.site(node), origin="state_dict", of=state.of, copied=True)


def entry(m: Machine, state: StateDict) -> Value:
    """One of the tensors of a state, whichever."""
    found = m.field_of(state, "[]")
    return found or m.derive(state, "[]", Unknown(origin="weight", holders=[state]))


_EDITING = frozenset({"update", "pop", "popitem", "setdefault", "clear", "move_to_end", "__setitem__", "__delitem__"})


def state_method(m: Machine, node: cst.Call, state: StateDict, name: str) -> Value:
    """A method of the dictionary."""
    if name in _EDITING:
        state.edited = True
    match name:
        case "items" | "values":
            return Collection(kind="items" if name == "items" else "list", items=[entry(m, state)], open=True)
        case "copy":
            return state
        case "get" | "pop" | "setdefault" | "__getitem__":
            return entry(m, state)
    return Unknown(origin="call")


def still_shared(m: Machine, weight: Value, name: str) -> bool:
    """True when a method of a state's tensor gives one with the same memory."""
    if not isinstance(weight, Unknown) or weight.origin != "weight":
        return False
    if name == "cpu":  # a copy, unless it lies there anyway
        states = [h for h in weight.holders if isinstance(h, StateDict)]
        return bool(states) and all(_on_cpu(m, s.of) for s in states)
    return name in ("detach", "requires_grad_", "contiguous", "detach_")


def _on_cpu(m: Machine, owner: Value) -> bool:
    places = [only(m.heap.get((one, "$device"))) for one in owner.options()]
    return all(isinstance(p, Device) and p.kind == "cpu" for p in places)


def collected(produced: list[Value]) -> StateDict | None:
    """The state that a dictionary comprehension gives when each value is that of a state, as it is; else None."""
    one = only(produced[0]) if len(produced) == 1 else None
    if isinstance(one, Unknown) and one.origin == "weight":
        return next((h for h in one.holders if isinstance(h, StateDict)), None)
    return None


def escaped(values: list[Value]) -> None:
    """Code out of sight was handed these: it may change the entries of a state, and use a file as it likes."""
    for value in values:
        for state in states_in(value):
            state.edited = True
        for one in value.options():
            if isinstance(one, LoadedFile):
                one.uses.setdefault("handed on", Site(None, None, None))


def returned(m: Machine, node: Any, value: Value) -> None:
    """Tells that a function returns a state."""
    if states_in(value):
        m.emit(StateReturned(*m.at(node), value=value, tests=m.tests))


# ------------------------------------------------------------------------------------------------------ files


def read_file(m: Machine, node: cst.Call, arguments: Arguments) -> Value:
    """`torch.load(...)`."""
    replaced = m.fields.get(m.api("torch"), {}).get("load")
    sites: dict[str, Site] = {}
    for position, argument in enumerate(node.args):
        if argument.keyword is not None:
            sites[argument.keyword.value] = m.site(argument.value)
        elif position == 0 and not argument.star:
            sites["f"] = m.site(argument.value)
    last = m.site(node.args[-1].value) if node.args else None
    found = LoadedFile(
        site=m.site(node),
        origin="load",
        path=arguments.get(0, "f"),
        weights_only=arguments.keywords.get("weights_only"),
        plain=not arguments.starred and replaced is None and arguments.get(2, "pickle_module") is None,
    )
    m.emit(
        FileLoaded(
            *m.at(node),
            value=found,
            weights_only=sites.get("weights_only"),
            path=sites.get("f"),
            last=last,
            source=source_of(m, found.path),
        )
    )
    return found


_MODULE_METHODS = frozenset(
    """
    eval train parameters named_parameters modules named_modules children named_children state_dict zero_grad
    load_state_dict forward requires_grad_ apply
    """.split()
)
_ENTRY_METHODS = frozenset({"get", "keys", "values", "items", "pop", "update", "setdefault", "copy"})
CONVERSIONS = frozenset({"to", "cuda", "cpu", "float", "half", "double", "bfloat16"})


def file_of(value: Value | None) -> LoadedFile | None:
    """The file that a value is, or was taken from by name."""
    one = only(value)
    if isinstance(one, Unknown) and one.origin in ("entry", "moved"):
        one = next((h for h in one.holders if isinstance(h, LoadedFile)), one)
    return one if isinstance(one, LoadedFile) else None


def note_method(m: Machine, node: cst.Call, receiver: Unknown, name: str, arguments: Arguments) -> Value | None:
    """What a method called on (an entry of) a file says of it; gives the result where it is the receiver itself."""
    file = file_of(receiver)
    if file is None:
        return None
    if name in _MODULE_METHODS and not (name in ("eval", "state_dict", "parameters") and arguments.positional):
        file.uses.setdefault("module" if receiver.origin != "entry" else "part", m.site(node))
    elif name in _ENTRY_METHODS and receiver is file:
        file.uses.setdefault("edited" if name in _EDITING else "entries", m.site(node))
        key = only(arguments.positional[0]) if arguments.positional else None
        if isinstance(key, Literal) and name in ("get", "pop"):
            return file_entry(m, file, key, node)
    return receiver if name in CONVERSIONS else None


def file_entry(m: Machine, file: LoadedFile, index: Value | None, node: Any) -> Value:
    """`file[key]`."""
    file.uses.setdefault("entries", m.site(node))
    if not isinstance(index, Literal):
        return Unknown(origin="item")
    key = str(index.value)
    file.reads.setdefault(key, m.site(node))
    found = m.field_of(file, f"[{key!r}]")
    name = f"{file.name}[{key!r}]" if file.name else ""
    return found or m.derive(file, f"[{key!r}]", Unknown(name=name, origin="entry", holders=[file], holds=False))


def note_called(m: Machine, node: cst.Call, callee: Value) -> None:
    """A file is called: it is a module."""
    file = file_of(callee)
    if file is not None:
        part = any(isinstance(o, Unknown) and o.origin == "entry" for o in callee.options())
        file.uses.setdefault("part" if part else "module", m.site(node))


def note_asked(values: list[Value]) -> None:
    """`isinstance(x, ...)`, `hasattr(x, ...)`: the program does not know itself what it has read."""
    for value in values:
        for one in value.options():
            file = file_of(one)
            if file is not None:
                file.uses.setdefault("asked", Site(None, None, None))


# ------------------------------------------------------------------------------------------------------ paths

_PATHS = frozenset(
    {"os.path.join", "os.path.abspath", "os.path.expanduser", "os.path.realpath", "os.path.normpath", "os.fspath"}
)
_DOWNLOADS = frozenset(
    """
    huggingface_hub.hf_hub_download huggingface_hub.snapshot_download huggingface_hub.cached_download
    huggingface_hub.file_download.hf_hub_download transformers.utils.cached_file transformers.utils.hub.cached_file
    urllib.request.urlopen requests.get wget.download gdown.download gdown.cached_download
    cached_path.cached_path kagglehub.model_download kagglehub.dataset_download
    """.split()
)
_TO_FILE = {
    "torch.hub.download_url_to_file": 1,
    "urllib.request.urlretrieve": 1,
    "gdown.download": 1,
    "wget.download": 1,
}
_WRAPPING = frozenset({"io.BytesIO", "builtins.open", "io.open", "gzip.open", "builtins.str"})


_KNOWN = _PATHS | _DOWNLOADS | _WRAPPING | _TO_FILE.keys() | {"os.getenv", "os.environ.get", "builtins.input"}
_PATH_CLASSES = frozenset({"pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "pathlib.WindowsPath"})


def path_call(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Value | None:
    """What functions give that make paths, open them or fetch them; None for any other function."""
    if path not in _KNOWN and path not in _PATH_CLASSES:
        return None
    if path in _TO_FILE and (target := arguments.get(_TO_FILE[path], "dst")) is not None:
        for one in target.options():
            m.fetched.add(one.value if isinstance(one, Literal) else id(one))
    if path in _DOWNLOADS:
        return Unknown(site=m.site(node), origin="download", source="a download")
    if path in ("os.getenv", "builtins.input", "os.environ.get"):
        source = "the user" if path == "builtins.input" else "the environment"
        return Unknown(site=m.site(node), origin="string", source=source)
    if path in _WRAPPING or path in _PATHS or path in _PATH_CLASSES:
        origin = "call" if path in _WRAPPING else "path"
        if path == "builtins.str":
            origin = "string"
        source = source_of(m, arguments.positional[0]) if arguments.positional else ""
        return Unknown(site=m.site(node), origin=origin, source=source)
    return None


def downloads(callee: str) -> bool:
    """True for a function of another file whose name says that it fetches a file."""
    last = callee.rsplit(".", 1)[-1].lower()
    return "download" in last or last.endswith("from_url")


def parsed_arguments(m: Machine, node: cst.Call, name: str) -> Value | None:
    """`parser.parse_args()` and its kin: what the user of the program gives."""
    if name in ("parse_args", "parse_intermixed_args"):
        return Unknown(site=m.site(node), origin="arguments", source="the command line")
    if name == "parse_known_args":
        given = Unknown(site=m.site(node), origin="arguments", source="the command line")
        return Collection(kind="tuple", items=[given, Unknown(origin="call")])
    return None


def source_of(m: Machine, value: Value | None) -> str:
    """Whence a value comes where that is not the program itself, on every path; "" when that is not certain."""
    found: set[str] = set()
    for one in value.options() if value is not None else ():
        if (one.value if isinstance(one, Literal) else id(one)) in m.fetched:
            found.add("a download")
        elif isinstance(one, Api):
            found.add({"sys.argv": "the command line", "os.environ": "the environment"}.get(one.path, ""))
        else:
            found.add(one.source if isinstance(one, Unknown) else "")
    return found.pop() if len(found) == 1 else ""


# ------------------------------------------------------------------------------------------------------ loading


def loaded(m: Machine, node: cst.Call, target: Value, arguments: Arguments, discarded: bool) -> LoadResult:
    """`target.load_state_dict(...)`."""
    state = arguments.get(0, "state_dict")
    strict = arguments.get(1, "strict")
    if arguments.starred:
        strict = strict or Unknown(origin="call")
    first = node.args[0] if node.args and not node.args[0].star else None
    result = LoadResult(site=m.site(node), origin="keys", of=target)
    for one in state.options() if state is not None else ():
        file = file_of(one)
        if file is not None:
            file.uses.setdefault("state", m.site(node))
    m.emit(
        Loaded(
            *m.at(node),
            target=target,
            state=state,
            strict=strict,
            result=result,
            discarded=discarded,
            argument=m.site(first.value) if first is not None and not m.expects_error else None,
            spelling=_spelled(node),
            receiver=m.site(node.func.value) if isinstance(node.func, cst.Attribute) else None,
        )
    )
    return result


def bound(m: Machine, node: cst.Assign, value: LoadResult) -> None:
    """The result of loading is assigned: notes whether the model is lost by it."""
    from torchlint.semantics.calls import plain_spelling

    if len(node.targets) != 1 or not isinstance(node.value, cst.Call):
        return
    target = node.targets[0].target
    value.bound, value.binding = plain_spelling(target), m.site(node)
    value.direct = value.site is not None and node.value is value.site.node
    before: Value | None = None
    if isinstance(target, cst.Name):
        before = m.lookup(target.value)
    elif isinstance(target, cst.Attribute):
        with m.detached():
            from torchlint.semantics.expressions import ev

            before = ev(m, target)
    nameless = all(isinstance(o, Module) and not o.name for o in value.of.options())
    value.lost = same(before, value.of) or (nameless and named_like_model(value.bound))


def misused(m: Machine, node: Any, value: Value, name: str) -> None:
    """A method or attribute of the result of loading is asked for."""
    for one in value.options():
        if isinstance(one, LoadResult):
            if name in _MODULE_METHODS or name in CONVERSIONS or name == "()":
                one.used = one.used or m.site(node)
            else:
                one.read = True


def _spelled(node: cst.Call) -> str:
    from torchlint.semantics.calls import plain_spelling

    return plain_spelling(node.func.value) if isinstance(node.func, cst.Attribute) else ""
