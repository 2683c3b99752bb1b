"""Source -> Facts: follows the module body, then every function that nothing in the file calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torchlint.facts import (
    ClassInfo,
    Derives,
    Duty,
    Event,
    Frame,
    Function,
    FunctionInfo,
    Grad,
    Imported,
    Instance,
    Join,
    Made,
    Module,
    Root,
    Site,
    Softmax,
    Unknown,
    Value,
)
from torchlint.imports import absolute
from torchlint.semantics import frameworks, hooks, project, vocabulary
from torchlint.semantics.functions import bind_unknown, decoration, run, self_of
from torchlint.semantics.machine import Activation, Machine
from torchlint.semantics.names import resolve_bases
from torchlint.semantics.walk import assigned_names, outline
from torchlint.source import Source

# A function is worth following into when it is called and acts on, or makes, what rules have words for.
_ACTIONS = frozenset(
    """
    backward step zero_grad eval train no_grad inference_mode set_grad_enabled Parameter parameters optim save
    load_state_dict cuda to cpu device half float double Adam AdamW SGD RMSprop DataLoader setattr prepare
    manual_backward grad detach parse_args parse_known_args dropout scaled_dot_product_attention nn torch th Sequential
    ModuleList models seed manual_seed requires_grad require_grad require_grads requires_grads init_process_group
    """.split()
).union(vocabulary.LOSS_FUNCTIONS, vocabulary.LOSS_MODULES)
# Of other files only these: following them costs more, and is worth it for what acts on models or makes them.
_DEEDS = frozenset(
    """
    backward step zero_grad grad eval train no_grad inference_mode set_grad_enabled Parameter parameters load_state_dict
    Adam AdamW SGD RMSprop DataLoader manual_backward Sequential ModuleList Linear Conv2d requires_grad
    """.split()
)
_FACTORIES = frozenset(path.rsplit(".", 1)[1] for path in (*vocabulary.FACTORIES, *vocabulary.FROM_CPU))
_LOSSES = vocabulary.LOSS_FUNCTIONS | frozenset(vocabulary.LOSS_MODULES)
_CRITERIA = frozenset("criterion loss_fn loss_fct loss_func loss_function criteria compute_loss ce_loss bce".split())
# It is worth following for its own sake, when nothing calls it, where one of these has a word of each of its sets in it
# or in what it calls: the shapes that the events of some rule need.
_SUBJECTS: tuple[tuple[frozenset[str], ...], ...] = (
    (frozenset({"DataLoader"}), frozenset({"sampler", "batch_sampler"})),
    (frozenset({"backward", "manual_backward"}), frozenset({"step", "optimizer_step", "zero_grad"})),
    (frozenset({"step"}), frozenset({"zero_grad"})),
    (frozenset({"eval", "no_grad", "inference_mode", "set_grad_enabled", "load_state_dict"}),),
    (frozenset({"save"}), frozenset({"torch", "th", "state_dict"})),
    (frozenset({"load"}), frozenset({"torch", "th"})),
    (frozenset({"to", "cuda"}), _FACTORIES | {"DataLoader"}),
    (frozenset({"forward"}),),
    (frozenset({"requires_grad", "require_grad", "require_grads", "requires_grads"}),),
    (_LOSSES,),
    (frozenset({"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"}),),
)


# What tells a trainer or an engine of a framework to use a GPU, also where the call is not followed.
_ON_GPU = re.compile(rb"\baccelerator\s*=\s*[\"'](?:gpu|cuda)|\bgpus\s*=")


@dataclass(slots=True, eq=False)
class FileFacts:
    """The facts of one file; implements `rule.Facts`."""

    filename: str
    source: Source
    machine: Machine
    roots: list[Root] = field(default_factory=list)
    constructions: list[tuple[ClassInfo, Root]] = field(default_factory=list)
    forwards: list[tuple[ClassInfo, Root]] = field(default_factory=list)

    @property
    def classes(self) -> list[ClassInfo]:
        return list(self.machine.outline.classes.values())

    @property
    def functions(self) -> list[FunctionInfo]:
        return list(self.machine.outline.functions.values())

    @property
    def words(self) -> frozenset[str]:
        return self.machine.outline.words

    @property
    def wants_gpu(self) -> bool:
        return _ON_GPU.search(self.source.data) is not None

    def relieved(self, duty: Duty) -> bool:
        return frameworks.relieved(self.words, duty)

    def behind(self, words: Iterable[str], answers: bool = False) -> frozenset[str]:
        from torchlint.semantics.origins import words_behind

        return words_behind(self.machine.tree, words, answers)

    def softmaxes(self) -> list[Softmax]:
        from torchlint.semantics.tails import softmaxes

        return softmaxes(self.machine)

    @property
    def others(self) -> list[Source]:
        return [other.source for other in self.machine.others.values() if other is not None]

    def text(self, site: Site) -> str:
        code = self.machine.tree.code_for_node(site.node)
        return " ".join(code.split())

    def spell(self, api: str) -> str | None:
        from torchlint.semantics.spelling import spell

        return spell(self.machine, api)

    def remarks(self, site: Site) -> str:
        code = self.machine.tree.code_for_node(site.statement) if site.statement is not None else ""
        return " ".join(line.partition("#")[2] for line in code.splitlines()).lower()

    def elsewhere(self, word: str) -> bool:
        from torchlint.semantics.neighbours import texts

        wanted = word.encode()
        return any(wanted in text for text in texts(self.machine))

    def binds(self, function: FunctionInfo | None, name: str) -> bool:
        known = self.machine.module.locals.get(name)
        if known is not None and not (isinstance(known, Unknown) and known.origin == "global"):
            return True
        if function is None:
            return False
        return name in function.parameters or name in assigned_names(function.node.body)

    def setters(self, cls: ClassInfo, attribute: str) -> list[FunctionInfo | None]:
        from torchlint.semantics.functions import setters

        return setters(self.machine, cls, attribute)

    @property
    def everything(self) -> list[Event]:
        return [*(event for root in self.roots for event in root.events), *self.machine.hidden]

    def reads(self, function: FunctionInfo | None, name: str) -> tuple[int, int]:
        from torchlint.semantics.readings import reads

        return reads(self.machine, function, name)

    def has_parameters(self, value: Value) -> bool:
        from torchlint.semantics.structure import has_parameters

        return has_parameters(self.machine, value)

    def made(self, value: Value) -> list[Made] | None:
        from torchlint.semantics.tails import made

        return made(self.machine, value)

    def depends_on_mode(self, value: Value) -> bool | None:
        from torchlint.semantics.structure import depends_on_mode

        return depends_on_mode(self.machine, value)


def build(source: Source) -> FileFacts:
    """Follows a file. Raises SourceError when it cannot be parsed."""
    tree = source.tree
    found = outline(tree)
    frame = Frame(None)
    module = Activation(frame=frame, info=None, file=absolute(source.filename))
    entry = Join(Site(None, None, None), frame, label="start")
    root = Root(entry, frame, [entry])
    m = Machine(tree=tree, outline=found, module=module, active=module, root=root, tail=[entry])
    m.functions.update(found.functions)
    m.classes.update(found.classes)
    m.lookalike = _imports_lookalike(tree)
    m.relevant = relevant(found.functions, found.classes, project.names_of(tree.body))
    facts = FileFacts(source.filename, source, m)
    from torchlint.semantics.flow import run_block

    run_block(m, _Block(tree.body))
    facts.roots.append(root)
    for info in found.classes.values():  # those in functions that nothing has called
        resolve_bases(m, info)
    _functions(m, facts)
    _constructions(m, facts)
    project.remember(source)
    return facts


@dataclass(slots=True, eq=False)
class _Block:
    body: Any


def _imports_lookalike(tree: Any) -> bool:
    import libcst as cst

    from torchlint.semantics.flow import dotted_name

    for statement in tree.body:
        for small in getattr(statement, "body", ()) if isinstance(statement, cst.SimpleStatementLine) else ():
            match small:
                case cst.Import(names=names):
                    if any(dotted_name(n.name).partition(".")[0] in vocabulary.LOOKALIKE_ROOTS for n in names):
                        return True
                case cst.ImportFrom(module=module, relative=()) if module is not None:
                    if dotted_name(module).partition(".")[0] in vocabulary.LOOKALIKE_ROOTS:
                        return True
    return False


def relevant(
    functions: dict[int, FunctionInfo], classes: dict[int, ClassInfo], imported: Iterable[str], abroad: bool = False
) -> frozenset[FunctionInfo]:
    """Functions that act on something, themselves or through others of the file, or use what it imports.

    Of another file (`abroad`) only what acts on models and optimizers or makes them, as far as the words tell.
    """
    wanted = {*(_DEEDS if abroad else _ACTIONS), *(c.name for c in classes.values())}
    wanted.update(name for name in imported if not abroad or not name.isupper())
    relevant: set[FunctionInfo] = set()
    rest = list(functions.values())
    grown = True
    while grown:
        grown = False
        left: list[FunctionInfo] = []
        for info in rest:
            if info.words & wanted or (info.owner is not None and info.words & _FACTORIES):
                relevant.add(info)
                if info.name not in wanted and not info.name.startswith("__"):
                    wanted.add(info.name)
                    grown = True
            else:
                left.append(info)
        rest = left
    return frozenset(relevant)


def _worth_following(m: Machine) -> list[FunctionInfo]:
    """Functions that have a subject of some rule in them or in what they call."""
    by_name: dict[str, list[FunctionInfo]] = {}
    for info in m.outline.functions.values():
        by_name.setdefault(info.name, []).append(info)
    found: list[FunctionInfo] = []
    losses = m.outline.words & _LOSSES
    plateau = "ReduceLROnPlateau" in m.outline.words
    for info in m.outline.functions.values():
        if info.outer is not None or info not in m.relevant:
            continue
        words = _reach(info, by_name)
        if words & _GIVEN:
            words |= _abroad(m, words)
        if losses and info.owner is not None and words & _CRITERIA:  # the criterion is an attribute
            found.append(info)
            continue
        if plateau and "step" in words:
            found.append(info)
            continue
        if (info.name == "__getitem__" or "worker" in info.name) and words & {"seed", "manual_seed"}:
            found.append(info)
            continue
        makes = info.owner is not None and info.owner.module is Derives.YES and words & _FACTORIES
        if info.discards or makes or any(all(words & needed for needed in subject) for subject in _SUBJECTS):
            found.append(info)
    return found


# What a function hands to those of other files that act on it.
_GIVEN = frozenset({"model", "net", "optimizer", "optim", "opt"})


def _abroad(m: Machine, words: frozenset[str]) -> frozenset[str]:
    """The words of the functions of other files that `words` name."""
    found: set[str] = set()
    for name in sorted(words & m.module.locals.keys()):
        value = m.module.locals[name]
        one = m.imported_value(value) if isinstance(value, Imported) else None
        if isinstance(one, Function) and one.info is not None:
            found |= one.info.words
        elif isinstance(one, Imported) and (other := project.read(m, one.file)) is not None:
            for info in other.functions:
                if info.name in words:
                    found |= info.words
    return frozenset(found)


def _reach(info: FunctionInfo, by_name: dict[str, list[FunctionInfo]]) -> frozenset[str]:
    """The words of a function and of the functions of the file that it names, and so on."""
    words = set(info.words)
    seen = {info}
    todo = [info]
    while todo:
        for name in todo.pop().words & by_name.keys():
            for other in by_name[name]:
                if other not in seen:
                    seen.add(other)
                    words |= other.words
                    todo.append(other)
    return frozenset(words)


# -------------------------------------------------------------------------------------------------------------- roots


def _functions(m: Machine, facts: FileFacts) -> None:
    """Follows the functions that the module body did not reach: first those that no other function names."""
    m.heap = dict(m.heap)
    base = m.heap
    for cls in m.outline.classes.values():
        cycle = hooks.follow_cycle(m, cls, dict(base))
        if cycle is not None:
            facts.roots.append(cycle)
    infos = [i for i in _worth_following(m) if i not in m.entered]
    named: dict[str, int] = {}
    for info in m.outline.functions.values():
        for word in info.words:
            named[word] = named.get(word, 0) + 1
    infos.sort(key=lambda i: named.get(i.name, 0) - (1 if i.name in i.words else 0) > 0)
    for info in infos:
        if info in m.entered or (
            info.name == "__init__" and info.owner is not None and info.owner.module is Derives.YES
        ):
            continue
        root = follow(m, info, dict(base))
        facts.roots.append(root)


def follow(m: Machine, info: FunctionInfo, heap: dict[Any, Value]) -> Root:
    """Follows one function from its start with unknown arguments."""
    frame = Frame(info, depth=1)
    entry = Join(info.site, frame, label="start")
    receiver = self_of(m, info.owner) if info.owner is not None and not decoration(m, info).is_static else None
    root = Root(entry, frame, [entry], receiver=receiver)
    m.root, m.tail, m.loops, m.runs, m.heap = root, [entry], (), [], heap
    look = decoration(m, info)
    m.grad = Grad.UNKNOWN if look.opaque else Grad.DEFAULT
    off = m.off
    hook = hooks.hook_of(info)
    if hook is not None and hook.grad is Grad.OFF and not look.opaque:
        m.grad, m.off = Grad.OFF, (info.head, "hook")
    activation = Activation(frame=frame, info=info, outer=m.module, owner=info.owner)
    m.active = m.module
    m.statement = m.suite = None

    def prepare() -> None:
        bind_unknown(m, activation, receiver)
        if isinstance(receiver, Instance) and info.name != "__init__":
            from torchlint.semantics.functions import construct

            construct(m, receiver)

    root.returned = run(m, activation, prepare, look)
    if hook is not None and hook.resumes and not m.dead:
        root.resumes = Join(info.site, frame, label="end")
        m.emit(root.resumes)
    m.active, m.off = m.module, off
    return root


def _constructions(m: Machine, facts: FileFacts) -> None:
    """Follows the constructors of module classes, each on an object of its own, and then `forward` on that object."""
    for cls in m.outline.classes.values():
        if cls.module is not Derives.YES:
            continue
        init, forward = cls.methods.get("__init__"), cls.method("forward")
        receiver = Module(name="self", cls=cls)
        known = m.selves.get(cls)
        m.selves[cls] = receiver
        heap: dict[Any, Value] = {}
        if init is not None:
            m.constructed.add(receiver)
            facts.constructions.append((cls, follow(m, init, heap)))
            heap = m.heap
        if forward is not None:
            facts.forwards.append((cls, follow(m, forward, heap)))
        if known is not None:
            m.selves[cls] = known
        else:
            del m.selves[cls]
