"""What an event does to an object: clears or feeds the gradients of an optimizer, or sets the mode of a model.

Each answer says *must* or *may*. An object belongs to another when it was made part of it: `self.encoder` to `self`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torchlint.facts import (
    AttributeSet,
    Backward,
    Choice,
    Collection,
    Cut,
    Event,
    Evidence,
    Forward,
    FunctionInfo,
    Grad,
    GradientUsed,
    Iterated,
    Join,
    Literal,
    Loaded,
    Loader,
    LoaderBuilt,
    Loop,
    Mapping,
    ModelWrapped,
    ModeSet,
    Module,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    Parameters,
    ParamGroupAdded,
    RequiresGradSet,
    Root,
    Sampler,
    Tensor,
    Unknown,
    UnknownCall,
    Value,
    Wrapped,
    ZeroGrad,
    certainly,
    computed_from,
    may_be_same,
    only,
    same,
    walk,
)


def related(one: Value, other: Value) -> bool:
    """True when one is the other, or part of it, or wraps it."""
    return may_be_same(one, other) or one.reached_from([other]) or other.reached_from([one])


def holdings(optimizer: Value) -> list[Value] | None:
    """The models and tensors whose parameters an optimizer holds; None when it may hold others."""
    found: list[Value] = []
    for one in optimizer.options():
        parameters = one.parameters if isinstance(one, Optimizer) else None
        if parameters is None or parameters.open or not parameters.of:
            return None
        found.extend(parameters.of)
    return found


def may_clear(event: Event, optimizer: Value) -> bool:
    """True when the event can clear the gradients that `optimizer` uses, or put another optimizer in its place."""
    match event:
        case ZeroGrad(target=target):
            return _may_concern(target, optimizer)
        case OptimizerBuilt(optimizer=built):
            return may_be_same(built, optimizer)
        case UnknownCall():
            return event.touches(optimizer)
        case Forward(module=module):
            return any(isinstance(o, Module) and _clears_in_forward(o) for o in module.options())
    return False


def _clears_in_forward(module: Module) -> bool:
    method = module.cls.method("forward") if module.cls is not None else None
    return method is not None and "zero_grad" in method.words


def _may_concern(target: Value, optimizer: Value) -> bool:
    if may_be_same(target, optimizer) or target.reached_from(optimizer.options()):
        return True
    held = holdings(optimizer)
    if held is None:
        return True
    for one in target.options():
        if isinstance(one, Optimizer):
            others = holdings(one)
            if others is None or any(related(a, b) for a in held for b in others):
                return True
        elif isinstance(one, Parameters) or any(related(one, h) for h in held) or not one.name:
            return True
    return False


def clears(event: Event, optimizer: Value) -> bool:
    """True when the event certainly clears all gradients that `optimizer` uses."""
    if not isinstance(event, ZeroGrad):
        return False
    if same(event.target, optimizer) and certainly(event.target, Optimizer):
        return True
    return covers(event.target, holdings(optimizer))


def covers(whole: Value, held: list[Value] | None) -> bool:
    """True when all of `held` are certainly parts of `whole`, a model or an optimizer over models."""
    parts = [whole] if certainly(whole, Module) else holdings(whole) if certainly(whole, Optimizer) else None
    if not held or not parts or len(whole.options()) != 1:
        return False
    return all(any(part_of(one, part) for part in parts) for one in held)


def part_of(one: Value, whole: Value) -> bool:
    """True when one is certainly the other, or a part of it."""
    return same(one, whole) or (len(whole.options()) == 1 and one.reached_from([whole]))


def wasted(root: Root, step: OptimizerStep) -> tuple[list[Event], bool] | None:
    """What clears the gradients of every backward pass for `step` before it steps, on all paths; None if not on all.

    The second part says whether that lies between a backward pass and a step of the same round of their loop.
    """
    feeds = [b for b in root.of(Backward) if may_feed(b, step.optimizer)]
    culprits: dict[Event, None] = {}

    def after(state: tuple[str, bool], event: Event) -> tuple[str, bool] | None:
        now, same_round = state
        if event is step:
            return None
        if isinstance(event, Backward):
            if may_feed(event, step.optimizer):
                return "fed", True
            return ("unknown" if now == "cleared" else now), same_round  # it was meant to feed them
        if isinstance(event, Join) and event.label == "loop" and event.loops[-1] in step.loops:
            return now, False
        if clears(event, step.optimizer):
            culprits[event] = None
            return "cleared", same_round
        if isinstance(event, OptimizerStep):  # another one of the same optimizer uses them
            return None if may_be_same(event.optimizer, step.optimizer) else state
        if now == "cleared" and may_set_gradients(event, step.optimizer):
            return "unknown", same_round
        return state

    starts = [follower for feed in feeds for follower in feed.next]
    met = walk(starts, ("fed", True), after).get(step, set())
    if not met or any(now != "cleared" for now, _ in met):
        return None
    return list(culprits), any(same_round for _, same_round in met)


def may_set_gradients(event: Event, optimizer: Value) -> bool:
    """True when the event can give `optimizer` gradients by other means than a backward pass."""
    match event:
        case GradientUsed() | OptimizerBuilt():
            return True
        case ZeroGrad(target=target):
            return not certainly(target, Optimizer) and not certainly(target, Module)  # `p.grad = g` is one too
        case UnknownCall():
            return event.touches(optimizer, *(holdings(optimizer) or ()))
        case Forward(module=module):
            return any(isinstance(o, Module) and o.cls is not None and "grad" in o.cls.words for o in module.options())
    return False


def may_add_gradients(event: Event, held: list[Value] | None) -> bool:
    """True when the event can add to the gradients of `held` (None: of anything), or can give them others."""
    match event:
        case Backward(roots=roots):
            return roots is None or held is None or any(related(root, h) for root in roots for h in held)
        case GradientUsed():
            return True
        case ZeroGrad(target=target):
            return not certainly(target, Optimizer) and not certainly(target, Module)  # `p.grad = g` is one too
        case UnknownCall(graph=graph):
            return held is None or event.touches(*held) or any(related(root, h) for root in graph for h in held)
    return False


def may_feed(event: Backward, optimizer: Value) -> bool:
    """True when the backward pass can add to the gradients that `optimizer` uses."""
    held = holdings(optimizer)
    if event.roots is None or held is None:
        return True
    return any(related(root, h) for root in event.roots for h in held)


def may_mend(event: Event, optimizer: Value) -> bool:
    """True when the event can give `optimizer` parameters that it lacks."""
    match event:
        case ParamGroupAdded(optimizer=given):
            return may_be_same(given, optimizer)
        case OptimizerBuilt(optimizer=built):
            return may_be_same(built, optimizer)
        case UnknownCall():
            return event.touches(optimizer)
    return False


def may_update(root: Root, event: Event, module: Value) -> bool:
    """True when the event is a step of, or makes, an optimizer that certainly moves the weights of `module`.

    Without sight of what an optimizer holds, a backward pass that reaches the module in the same loop says so; code
    out of sight does when it is called so, and was handed the module with its optimizer.
    """
    match event:
        case OptimizerStep(optimizer=optimizer) | OptimizerBuilt(optimizer=optimizer):
            held = holdings(optimizer)
            if held is not None:
                return any(related(module, one) for one in held)
            if isinstance(event, OptimizerBuilt):
                return False
            passes = [b for b in root.of(Backward) if b.roots and shared_loop(event, b) is not None]
            return any(related(module, one) for b in passes for one in b.roots or ())
        case UnknownCall(callee=callee):
            trains = "train" in callee.lower() or "fit" in callee.lower()
            return trains and event.touches(module) and any(_holds(a, module) for a in event.arguments)
    return False


def _holds(optimizer: Value, module: Value) -> bool:
    return any(isinstance(o, Optimizer) for o in optimizer.options()) and any(
        related(module, one) for one in holdings(optimizer) or ()
    )


def mode_after(mode: str, event: Event, module: Value) -> str:
    """The mode of `module` after the event: "train", "eval", "unknown", or as it was."""
    match event:
        case ModeSet(module=target, training=training):
            if governs(target, module):
                certain = len(target.options()) == 1
                if training is None or not certain:
                    return "unknown"
                return "train" if training else "eval"
            if any(_anonymous_part(one, module) for one in target.options()):
                return "unknown"  # `for part in model.modules(): part.eval()`
        case UnknownCall():
            if event.touches(module) or any(a.reached_from(module.options()) for a in event.arguments):
                return "unknown"
    return mode


def governs(target: Value, module: Value) -> bool:
    """Setting the mode of `target` sets that of `module`: the same, or a part of it."""
    return may_be_same(target, module) or module.reached_from(target.options())


def _anonymous_part(one: Value, module: Value) -> bool:
    return isinstance(one, Module) and one.evidence is not Evidence.MADE and one.reached_from(module.options())


def training_forwards(root: Root, module: Value) -> Iterator[Forward]:
    """Calls of `module`, or of a part of it, that are repeated together with a backward pass which reaches it."""
    passes = [(b, b.roots) for b in root.of(Backward) if b.roots]
    for forward in root.of(Forward):
        if not part_of(forward.module, module) or forward.grad is Grad.OFF or not forward.loops:
            continue
        if any(forward.module.options()[0] in reached and set(forward.loops) & set(b.loops) for b, reached in passes):
            yield forward


def lost_graphs(roots: list[Root]) -> list[tuple[Root, Backward, Cut]]:
    """The backward passes whose loss has no graph, however they are reached, and where it lost it."""
    found: dict[object, list[tuple[Root, Backward, Cut | None]]] = {}
    for root in roots:
        for backward in root.of(Backward):
            found.setdefault(backward.site.node, []).append((root, backward, _lost_graph(backward)))
    lost: list[tuple[Root, Backward, Cut]] = []
    for passes in found.values():
        root, backward, cut = passes[0]
        if cut is not None and all(one is not None for _, _, one in passes):
            lost.append((root, backward, cut))
    return lost


def _lost_graph(backward: Backward) -> Cut | None:
    """Where the loss of a backward pass lost its graph, which it has on no path; None when it may have one."""
    found: Cut | None = None
    for one in backward.loss.options() if backward.loss is not None else ():
        if not isinstance(one, (Tensor, Unknown)) or one.graph or one.cut is None or backward.error_expected:
            return None
        found = found or one.cut
    return found


def trained_with(backward: Backward, value: Value) -> bool:
    """True when `value` certainly is a tensor with a graph that the backward pass went through.

    The graph is the loss's own, or that of a part of it: what is `0.1 * penalty` in a loss has one.
    """
    reached = computed_from(backward.loss)
    certain = set(_loss_itself(backward.loss))
    for one in reached:
        if isinstance(one, Tensor) and one.operands and one.made_by.endswith(("loss", "cross_entropy")):
            certain.update(o for o in one.operands[0].options() if isinstance(o, Tensor) and o.graph)
    return all(_has_graph(one, reached, certain) for one in value.options())


def _has_graph(value: Value, reached: dict[Value, None], certain: set[Value]) -> bool:
    if value in certain:
        return True
    match value:
        case Tensor(graph=graph, operands=of) if graph:
            if value.made_by == "forward" or not value.certain:
                return value.certain and value in reached
            return value in reached or any(all(_has_graph(o, reached, certain) for o in part.options()) for part in of)
        case Unknown(origin="operation", operands=of):
            return any(all(_has_graph(o, reached, certain) for o in part.options()) for part in of)
        case Unknown(origin="call", graph=graph, name=name) if graph and value in reached:
            return "loss" in name.lower()
    return False


def _loss_itself(loss: Value | None) -> Iterator[Value]:
    """What `backward()` is called on, and what that was before it was scaled or averaged."""
    todo = list(loss.options()) if loss is not None else []
    seen: set[Value] = set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        yield one
        if isinstance(one, (Tensor, Unknown)):
            parts = [part for part in one.operands if not isinstance(part, Literal)]
            if len(parts) == 1 and not isinstance(parts[0], (Collection, Mapping)):
                todo.extend(parts[0].options())


def shared_loop(event: Event, other: Event) -> Loop | None:
    """The innermost loop that repeats both."""
    return next((loop for loop in reversed(event.loops) if other.inside(loop) and not loop.once), None)


def samplers_in(over: Value, made: Iterable[Sampler]) -> list[Sampler]:
    """The distributed samplers that decide what a loop over `over` meets; `made` are those known of the file."""
    found: list[Sampler] = []
    todo: list[Value] = [over]
    while todo:
        for one in todo.pop().options():
            match one:
                case Collection(items=items, kind="enumerate" | "zip" | "list" | "tuple"):
                    todo.extend(items)
                case Loader(keywords=keywords, arguments=arguments):
                    given = [*arguments[3:5], *(v for k, v in keywords.items() if k in ("sampler", "batch_sampler"))]
                    found.extend(o for value in given for o in value.options() if isinstance(o, Sampler))
                case Unknown(origin="loader"):
                    found.extend(sampler for sampler in made if sampler.reached_from([one]))
    return found


def iterates_tensors(module: Module) -> bool:
    """True when running through a module may give its parameters: a parameter list, or an `__iter__` of its own."""
    if module.cls is None:
        return not module.api or "Parameter" in module.api
    unseen = (base for base in module.cls.lineage() if isinstance(base, str) and base not in ("object", "abc.ABC"))
    plain = all(base.startswith("torch.nn.") and "Parameter" not in base for base in unseen)
    return not plain or module.cls.method("__iter__") is not None


def wrapped_before(root: Root, module: Value, kind: str) -> dict[Event, set[str]]:
    """How each event finds a model: "raw", or "wrapped" by a wrapper of this kind."""

    def step(state: str, event: Event) -> str:
        return "wrapped" if isinstance(event, ModelWrapped) and event.kind == kind and event.module is module else state

    return walk([root.entry], "raw", step)


def wraps_of(root: Root, kind: str) -> dict[Value, list[ModelWrapped]]:
    """The models that are wrapped so, and where."""
    found: dict[Value, list[ModelWrapped]] = {}
    for event in root.of(ModelWrapped):
        if event.kind == kind:
            found.setdefault(event.module, []).append(event)
    return found


def seen_wrapped(value: Value) -> bool:
    """True when a model is seen through a wrapper, on some path at least."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, Wrapped):
            return True
        todo.extend(one.alternatives if isinstance(one, Choice) else ())
    return False


def known_before(value: Value, loop: Loop, event: Event) -> bool:
    """True when a value that an event in the loop has was there before the loop, and is the same in each round."""
    one = only(value)
    made = isinstance(one, Loader) or (isinstance(one, Module) and one.evidence is Evidence.MADE)
    if made and isinstance(one, (Module, Loader)) and one.site is not None:
        return one.born < loop.begins and all(around in event.loops for around in one.repeated)
    if one is None or "[" in one.name or one.name.partition(".")[0] in loop.binds:
        return False
    if one.site is not None and one.site.function in _called_in(loop, event):
        return False
    if isinstance(one, Unknown):
        given = one.origin in ("parameter", "attribute", "global", "number", "method") or one.site is not None
        return bool(one.name) and given
    return bool(one.name) or not isinstance(one, (Module, Loader))


def _called_in(loop: Loop, event: Event) -> list[FunctionInfo | None]:
    """The functions that an event stands in and that the loop calls, directly or through others."""
    found: list[FunctionInfo | None] = []
    for frame in event.frame.stack():
        if frame is loop.frame:
            return found
        found.append(frame.function)
    return found


def always_in(root: Root, loop: Loop, first: Event, later: Iterable[Event]) -> bool:
    """True when in each round of a loop no way from its head leads to one of `later` without `first`."""
    heads = [e for e in root.of(Join) if e.label == "loop" and e.site.node is loop.site.node and loop in e.loops]

    def follow(state: str, event: Event) -> str | None:
        return None if event is first else state

    met = walk([after for head in heads for after in head.next], "", follow, lambda event: loop in event.loops)
    return first in met and not any(one in met for one in later)


def left_out(
    has_parameters: Callable[[Value], bool], everything: list[Event], root: Root
) -> Iterator[tuple[Module, Forward]]:
    """The modules that a backward pass reaches which is repeated, and that certainly no optimizer of the file holds.

    Each with a call of it. None where the program may mean it so: it is frozen, loaded, put in evaluation mode, handed
    to code out of sight, or its parameters are used in some other way. `everything` are all events of the file.
    """
    candidates = list(_trained(has_parameters, root))
    optimizers = {e.optimizer for e in everything if isinstance(e, OptimizerBuilt)}
    stepped = {o for step in root.of(OptimizerStep) for o in step.optimizer.options()}
    if not candidates or not stepped or not stepped <= optimizers:
        return
    held: list[Value] = []
    for one in optimizers:
        found = holdings(one)
        if found is None:
            return
        held.extend(found)
    if any(isinstance(event, ParamGroupAdded) for event in everything):
        return
    for module, forward in candidates:
        if any(related(module, h) for h in held) or any(_excuses(event, module) for event in everything):
            continue
        modes = [e.training for e in everything if isinstance(e, ModeSet) and related(e.module, module)]
        if True in modes or not modes:  # else it is only ever evaluated
            yield module, forward


def _trained(has_parameters: Callable[[Value], bool], root: Root) -> Iterator[tuple[Module, Forward]]:
    """The modules with parameters, made in sight, that a step's backward pass reaches, each with a call of it."""
    reached: dict[Value, list[Backward]] = {}
    for backward in root.of(Backward):
        for value in backward.roots or ():
            reached.setdefault(value, []).append(backward)
    seen: set[Value] = set()
    for forward in root.of(Forward):
        one = only(forward.module)
        if not isinstance(one, Module) or one in seen or one.site is None or one.evidence is not Evidence.MADE:
            continue
        seen.add(one)
        if forward.grad in (Grad.OFF, Grad.UNKNOWN) or not has_parameters(one):
            continue
        if any(repeated_together(forward, backward) for backward in reached.get(one, ())):
            yield one, forward


def repeated_together(one: Event, other: Event) -> bool:
    """True when a loop repeats both, or whoever calls the function that both stand in, outside of any loop."""
    if one.loops or other.loops:
        return bool(set(one.loops) & set(other.loops))
    return one.frame is other.frame and one.frame.function is not None


def _parameters_in(value: Value) -> Iterator[Parameters]:
    """The parameters that a loop over `value` goes through: over `enumerate` and `zip` of them too."""
    for one in value.options():
        if isinstance(one, Parameters):
            yield one
        elif isinstance(one, Collection) and one.kind in ("enumerate", "zip"):
            for inner in one.items:
                yield from _parameters_in(inner)


def _excuses(event: Event, module: Module) -> bool:
    """True for what makes it doubtful that a module is to be trained by an optimizer in sight."""
    match event:
        case RequiresGradSet(targets=targets):
            return any(related(one, module) for one in targets)
        case Loaded(target=target):
            return related(target, module)
        case Iterated(over=over, loop=loop) if loop is not None and loop.body is not None:
            return any(related(one, module) for parameters in _parameters_in(over) for one in parameters.of)
        case UnknownCall():
            return event.touches(module) or any(a.reached_from([module]) for a in event.arguments)
        case GradientUsed(target=target):
            return target is None or related(target, module)
    return False


def doubly_held(everything: list[Event]) -> Iterator[tuple[OptimizerBuilt, OptimizerBuilt, Module]]:
    """Optimizers that are stepped and hold one model, each with another that holds it too, and the model."""
    stepped = {o for step in everything if isinstance(step, OptimizerStep) for o in step.optimizer.options()}
    built = [e for e in everything if isinstance(e, OptimizerBuilt) and e.optimizer in stepped]
    for event in built:
        model = _only_model(event)
        others = (o for o in built if _only_model(o) is model and o.optimizer.name != event.optimizer.name)
        other = next(others, None)
        if model is not None and other is not None:
            yield event, other, model


def _only_model(built: OptimizerBuilt) -> Module | None:
    found = holdings(built.optimizer) or []
    one = only(found[0]) if len(found) == 1 else None
    return one if isinstance(one, Module) and one.name else None


def fixed_order(built: LoaderBuilt) -> bool:
    """True when a loader certainly gives the same samples in the same order each time it is iterated."""
    if built.open or not built.indexed:
        return False
    if any(not _is_constant(built.given.get(name), None) for name in ("sampler", "batch_sampler")):
        return False
    return _is_constant(built.given.get("shuffle"), None, False, 0)


def _is_constant(value: Value | None, *constants: object) -> bool:
    if value is None:
        return True
    one = only(value)
    return type(value) is Literal and isinstance(one, Literal) and one.value in constants


def loaders_in(over: Value | None) -> list[Loader]:
    """The loaders that a loop over `over` goes through: itself, or in `enumerate` and `zip`."""
    found: list[Loader] = []
    for one in over.options() if over is not None else ():
        if isinstance(one, Loader):
            found.append(one)
        elif isinstance(one, Collection) and one.kind in ("enumerate", "zip"):
            found.extend(inner for item in one.items for inner in loaders_in(item))
    return found


def trainable_at_first(value: Value) -> str:
    """Whether what an optimizer holds requires gradients as it is made: "free", "frozen", or "unknown"."""
    match only(value):
        case Tensor(tracked=bool() as tracked):
            return "free" if tracked else "frozen"
        case Module(evidence=Evidence.MADE):
            return "free"
    return "unknown"


def set_by_loops(root: Root) -> dict[Loop, RequiresGradSet]:
    """The loops over parameters that set `requires_grad` of each: as good as done where they begin."""
    return {event.loop: event for event in root.of(RequiresGradSet) if event.loop is not None and event.whole}


def trainable_after(state: str, event: Event, held: Value, loops: dict[Loop, RequiresGradSet]) -> str:
    """Whether all of `held` is "frozen", or some of it "free", or that is "unknown", after the event."""
    match event:
        case Iterated(loop=loop) if loop in loops:
            return trainable_after(state, loops[loop], held, {})
        case RequiresGradSet(targets=targets, to=to):
            if any(same(one, held) or held.reached_from([one]) for one in targets):
                if event.whole:
                    return "unknown" if to is None else "free" if to else "frozen"
            elif not any(related(one, held) for one in targets):
                return state
            return state if to is False else "unknown"
        case AttributeSet(owner=owner, value=value):
            if may_be_same(value, held):
                return trainable_at_first(held)  # what was frozen before it came there did not reach it
            return "unknown" if related(owner, held) and not certainly(value, Literal) else state
        case UnknownCall():
            return "unknown" if event.touches(held) or any(a.reached_from([held]) for a in event.arguments) else state
    return state


def without_gradients(loss: Value | None) -> Cut | None:
    """Why a loss certainly has no graph: on every path it was computed where gradients are switched off."""
    found: Cut | None = None
    for one in loss.options() if loss is not None else ():
        if not isinstance(one, (Tensor, Unknown)) or one.graph or one.cut is None or one.cut.how != "no_grad":
            return None
        of = one.cut.of
        if isinstance(of, Module) and of.cls is not None and of.cls.words & {"enable_grad", "set_grad_enabled"}:
            return None
        found = found or one.cut
    return found


def asked_for_gradient(root: Root, loss: Value | None) -> bool:
    """True when the program makes a leaf of a loss itself: `loss.requires_grad_()`."""
    return any(event.target is not None and may_be_same(event.target, loss) for event in root.of(GradientUsed))
