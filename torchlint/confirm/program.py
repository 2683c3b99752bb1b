"""The proof on a user's own program: run it, lint what it loaded, let the run answer each finding."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torchlint.confirm import claims, events, launch, runner
from torchlint.confirm.events import Place, Trace
from torchlint.confirm.harness import DEVICES, ConfirmError
from torchlint.confirm.match import Sources, assess, number
from torchlint.confirm.probe import Outcome, judge
from torchlint.confirm.result import AS_IS, FIXED, ProgramRun, Result, Spot, Verdict
from torchlint.confirm.runner import Ran
from torchlint.confirm.series import run_of
from torchlint.confirm.solo import Errand

MAX_STEPS = 50
TIMEOUT = 300.0
MANY = 5  # times that one loop was cut, which are then counted only
LARGEST_COPY, MOST_COPIED = 1 << 30, 100_000  # bytes and files of a project that --compare-fix copies
_LEFT_OUT = (".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache")
_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg", "torchlint.toml")


@dataclass(slots=True, frozen=True)
class Request:
    """What to run, and how. `max_steps` None: as many as the program takes."""

    target: str  # a script, or with `module` a module's name
    argv: tuple[str, ...] = ()
    module: bool = False
    rules: tuple[str, ...] = ()
    device: str = "auto"
    seed: int | None = None
    max_steps: int | None = MAX_STEPS
    timeout: float = TIMEOUT
    compare_fix: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The command line after `python`."""
        return (*(("-m",) if self.module else ()), self.target, *self.argv)


def prove(request: Request, progress: Callable[[int], None] = lambda _: None) -> Result:
    """Runs the program of a request and says what became of each finding.

    `progress` is called with the number of optimizer steps, a few times a second. Raises ConfirmError when there is no
    such program, rule or device, or this Python has no torch.
    """
    _check(request)
    home = Path.cwd()
    with runner.scratch_folder() as folder:
        scratch = Path(folder)
        if request.compare_fix:
            return _compare(request, home, scratch, progress)
        ran = _run(request, home, _roots(request, home), scratch / "run", progress)
        contents = claims.loaded(launch.all_events(ran.traces))
        found = claims.lint(contents, request.rules)
        sources = Sources(found.texts, lambda file: _shown(file, home))
        answer = launch.together([assess(one, found.findings, found.rules, sources) for one in ran.traces], ran.names)
        run = run_of(
            ran.trace, sources, name=AS_IS, status=ran.status, cut=ran.cut, seconds=ran.seconds,
            device=_device(ran.trace, request), seed=request.seed, others=ran.others,
        )  # fmt: skip
        return Result(
            torch=_torch(ran.trace),
            device=run.device,
            program=request.words,
            verdicts=answer.verdicts,
            runtime_only=answer.runtime_only,
            runs=(run,),
            files=tuple(_shown(file, home) for file in found.texts),
            notes=(*found.notices, *_ranks(ran), *_notes(ran.trace, run, request, sources)),
        )


def _check(request: Request) -> None:
    claims.check_names(request.rules)
    if request.device not in DEVICES:
        raise ConfirmError(f"unknown device {request.device!r}: choose one of {', '.join(DEVICES)}")
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        words = " ".join(request.words)
        raise ConfirmError(
            "torchrun has started one torchlint for each of its processes. Let torchlint start torchrun instead, and "
            f"it traces them all: torchlint confirm -m torch.distributed.run [torchrun's options] {words}"
        )
    if request.timeout <= 0 or (request.max_steps is not None and request.max_steps < 1):
        raise ConfirmError("the number of steps and of seconds must be positive")
    if request.module:
        return
    script = Path(request.target)
    if not script.exists():
        raise ConfirmError(f"{request.target}: there is no such script. A module is run with `confirm -m MODULE`")
    if script.is_dir():
        raise ConfirmError(f"{request.target} is a folder: name the script in it that trains")
    if script.suffix == ".ipynb":
        raise ConfirmError(
            f"{request.target} is a notebook: convert it with `jupyter nbconvert --to script`, or use "
            "`torchlint.watch` in it"
        )
    try:
        script.open("rb").close()
    except OSError as error:
        raise ConfirmError(f"{request.target} cannot be read: {error.strerror or error}") from error


def _run(
    request: Request,
    cwd: Path,
    roots: Sequence[Path],
    scratch: Path,
    progress: Callable[[int], None],
    environment: Mapping[str, str] | None = None,
) -> Ran:
    scratch.mkdir()
    pytest = request.module and request.target in ("pytest", "py.test")
    errand = Errand(
        target=request.target,
        trace="",
        roots=tuple(map(str, roots)),
        argv=request.argv,
        module=request.module,
        seed=request.seed,
        device=request.device,
        # A test suite is many short programs: the limit of one would end it before most have begun.
        max_steps=None if pytest and request.max_steps == MAX_STEPS else request.max_steps,
    )
    ran = runner.run(errand, scratch, request.timeout, progress, cwd, dict(environment or {}))
    for refused in ran.trace.of(events.NotStarted):
        raise ConfirmError(refused.message)
    return ran


# ------------------------------------------------------------------------------------------------------- whose files


def _roots(request: Request, home: Path) -> list[Path]:
    """The folders whose files are the project's: around the script, and where the command was given."""
    found = [] if home in (Path.home(), Path(home.anchor)) else [home]
    if not request.module:
        folder = Path(request.target).absolute().parent
        marked = next((one for one in (folder, *folder.parents) if any((one / mark).exists() for mark in _MARKS)), None)
        found.append(folder if marked in (None, Path.home(), Path(home.anchor)) else marked or folder)
        real = Path(request.target).resolve().parent
        found.append(real)
    return list(dict.fromkeys(found))


def _shown(file: str, home: Path) -> str:
    """A file's name as the user would write it."""
    path = Path(file)
    return str(path.relative_to(home)) if path.is_relative_to(home) else file


def _torch(trace: Trace) -> str:
    """The version of torch that the program imported, "" when it imported none."""
    return next((one.torch for one in trace.of(events.TorchImported)), "")


def _device(trace: Trace, request: Request) -> str:
    if trace.end is not None:
        return trace.end.device
    return "pretend-cuda" if request.device == "pretend-cuda" else "cpu" if request.device == "cpu" else "unknown"


# ----------------------------------------------------------------------------------------------------- what to mention


def _ranks(ran: Ran) -> Iterator[str]:
    if "rank 1" in ran.names:
        yield f"{len(ran.traces)} processes were traced; steps and curves are those of rank 0."
    elif ran.others:
        first = "process 0 of those that it started" if "the first process" in ran.names else "the one that began"
        yield f"{len(ran.traces)} processes were traced; steps and curves are those of {first}."


def _notes(trace: Trace, run: ProgramRun, request: Request, sources: Sources) -> Iterator[str]:
    """Plain sentences on what limits the evidence."""
    stepped = run.steps > 0
    match run.ended:
        case "time-limit":
            yield f"The program was ended at the time limit of {request.timeout:g} s; a longer --timeout shows more."
        case "interrupted":
            yield "The program was interrupted; this is what was known by then."
        case "step-limit":
            yield f"The program was ended after {request.max_steps} optimizer steps (--max-steps)."
        case "killed":
            yield f"The program was killed by signal {-(run.status or 0)}."
    cuts: dict[Place, list[int]] = {}
    for cut in trace.of(events.EpochCut):
        cuts.setdefault(replace(cut.place, callers=()), []).append(cut.batches)
    told = [_cut(sources.place(place), batches) for place, batches in cuts.items()]
    if told:
        loops = "the loop over the data" if len(told) == 1 else f"{len(told)} loops over the data"
        was = "was" if len(told) == 1 else "were"
        yield f"To stay in the limit, {loops} {was} ended early: {'; '.join(told)}."
    if not _torch(trace) and run.ended in ("itself", "failed"):
        yield "The program never imported torch: nothing could be measured."
    elif not stepped:
        yield "The program took no optimizer step: what needs training could not be measured."
    for threads in trace.of(events.Threads):
        if threads.traced:
            yield f"It trains in the thread {threads.traced}, which was traced in place of the main one."
        if threads.missed:
            yield f"{threads.missed} optimizer steps were taken in other threads, in which nothing is traced."
    spawned = next(trace.of(events.Spawned), None)
    if spawned is not None and not stepped:
        spot = sources.place(spawned.place)
        yield (
            f"It started another process at {spot}, in which nothing is traced: {spawned.command}. Traced are the "
            "processes of torchrun and those that multiprocessing starts by its method `spawn`."
        )
    if any(one.kind == "OptimizedModule" for one in trace.of(events.Forward)):
        yield "Of models compiled by torch.compile no second pass is run: what needs one was not measured."
    untraced = list(trace.of(events.Untraced))
    if untraced:
        yield f"The trace could not look at something {len(untraced)} times, first: {untraced[0].message}"


def _cut(spot: Spot | None, batches: list[int]) -> str:
    """A loop over the data, and after how many batches it was ended each time."""
    where = str(spot) if spot is not None else "one"
    if len(batches) >= MANY:
        return f"{where} {len(batches)} times"
    return f"{where} after {', '.join(map(str, batches))} {'batch' if batches == [1] else 'batches'}"


# -------------------------------------------------------------------------------------------------- as is, and mended


def _compare(request: Request, home: Path, scratch: Path, progress: Callable[[int], None]) -> Result:
    """Runs the program in two copies of the project, the second one with torchlint's fixes."""
    request = replace(request, seed=0 if request.seed is None else request.seed)
    roots = _roots(request, home)
    top = Path(os.path.commonpath(roots))
    if top in (Path.home(), Path(top.anchor)):
        raise ConfirmError(f"--compare-fix copies the project, and {top} is too much: run it in the project's folder")
    copies = {name: scratch / name.replace(" ", "-") / top.name for name in (AS_IS, FIXED)}
    for copy in copies.values():
        _copy(top, copy)

    def run(name: str) -> Ran:
        copy = copies[name]
        there = replace(request, target=_moved(request.target, top, copy))
        paths = os.environ.get("PYTHONPATH", "")
        environment = (
            {"PYTHONPATH": os.pathsep.join(_moved(p, top, copy) for p in paths.split(os.pathsep))} if paths else {}
        )
        folder = copy / home.relative_to(top) if home.is_relative_to(top) else home
        ran = _run(there, folder, [copy], scratch / f"run-{copy.parent.name}", progress, environment)
        others = tuple(_home(one, copy, top) for one in ran.others)
        return replace(ran, trace=_home(ran.trace, copy, top), others=others)

    before = run(AS_IS)
    found = claims.lint(claims.loaded(launch.all_events(before.traces)), request.rules, mend=True)
    for file, content in found.mended.items():
        copy = Path(_moved(file, top, copies[FIXED]))
        copy.write_bytes(content)
    after = run(FIXED)

    sources = Sources(found.texts, lambda file: _shown(file, home))
    answer = launch.together([assess(one, found.findings, found.rules, sources) for one in before.traces], before.names)
    mended_texts = {
        file: found.mended[file].decode("utf-8", "replace") if file in found.mended else text
        for file, text in found.texts.items()
    }
    fixed_sources = Sources(mended_texts, lambda file: _shown(file, home))
    verdicts = tuple(_with_fix(one, after.traces, found, fixed_sources) for one in answer.verdicts)
    runs = tuple(
        run_of(
            ran.trace, where, name=name, status=ran.status, cut=ran.cut, seconds=ran.seconds,
            device=_device(ran.trace, request), seed=request.seed, others=ran.others,
        )
        for name, ran, where in ((AS_IS, before, sources), (FIXED, after, fixed_sources))
    )  # fmt: skip
    notes = [*found.notices, *_ranks(before), *_notes(before.trace, runs[0], request, sources)]
    if not found.mended:
        notes.append("torchlint offers no fix here: both runs are of the same program.")
    if before.others or after.others:
        notes.append(_compared(before, after))
    if runs[1].error:
        notes.append(f"The mended program failed: {runs[1].error} at {runs[1].error_spot}.")
    return Result(
        torch=_torch(before.trace),
        device=runs[0].device,
        program=request.words,
        verdicts=verdicts,
        runtime_only=answer.runtime_only,
        runs=runs,
        files=tuple(_shown(file, home) for file in found.texts),
        notes=tuple(notes),
    )


def _compared(before: Ran, after: Ran) -> str:
    """What the two runs of a program of several processes are compared by."""
    counts = f"{len(before.traces)} and {len(after.traces)}"
    return (
        f"--compare-fix ran the program twice, with {counts} processes: a verdict is the worst of all processes of its "
        "run, and losses and curves are those of one process of each."
    )


def _with_fix(verdict: Verdict, traces: Sequence[Trace], found: claims.Claims, sources: Sources) -> Verdict:
    """What the same rule measures in the mended program: on the same text, for lines have moved, else anywhere.

    Of a program of several processes it is harm in any of them.
    """
    rule = next(one for one in found.rules if one.name == verdict.code)
    if rule.probe is None or verdict.outcome is Outcome.NOT_REACHED:
        return replace(verdict, fixed_outcome=Outcome.NOT_REACHED)
    after = [one for trace in traces for one in judge(rule.name, rule.probe, trace).measurements]
    text = verdict.number.spot.source if verdict.number is not None and verdict.number.spot is not None else ""
    same = [one for one in after if text and sources.line(one.place.file, one.place.line) == text] or after
    decisive = next((one for one in same if one.harmed), next(iter(same), None))
    if decisive is None:
        return replace(verdict, fixed_outcome=Outcome.NOT_REACHED)
    outcome = Outcome.CONFIRMED if decisive.harmed else Outcome.HARMLESS
    return replace(verdict, fixed_outcome=outcome, fixed=number(decisive, sources))


def _copy(top: Path, copy: Path) -> None:
    """Copies a project without what is not its own. Raises ConfirmError when that is too much, or fails."""
    size = count = 0
    # Links are followed, as the copy does: a program that wrote through one would write the user's files.
    for folder, folders, names in os.walk(top, followlinks=True):
        folders[:] = [one for one in folders if one not in _LEFT_OUT]
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(folder, name).stat().st_size
        count += len(names) + len(folders)
        if size > LARGEST_COPY or count > MOST_COPIED:
            raise ConfirmError(
                f"--compare-fix copies the project, and {top} holds more than {LARGEST_COPY >> 30} GiB "
                f"or {MOST_COPIED} files. Remedy: run it in a smaller folder, with the data elsewhere"
            )
    try:
        shutil.copytree(
            top, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=False, ignore_dangling_symlinks=True
        )
    except (OSError, shutil.Error) as error:
        raise ConfirmError(f"--compare-fix cannot copy {top}: {str(error)[:300]}") from error


def _moved(path: str, top: Path, copy: Path) -> str:
    """An absolute path inside the project as one inside the copy; any other as it is."""
    given = Path(path)
    if given.is_absolute() and given.is_relative_to(top):
        return str(copy / given.relative_to(top))
    return path


def _home(trace: Trace, copy: Path, top: Path) -> Trace:
    """A trace of the copy as one of the project itself."""

    def back(file: str) -> str:
        return _moved(file, copy, top) if file else file

    def place(one: Place) -> Place:
        return replace(one, file=back(one.file), callers=tuple((back(file), row) for file, row in one.callers))

    def event(one: events.Event) -> events.Event:
        match one:
            case events.Loaded():
                return replace(one, file=back(one.file))
            case events.AttributeRefused():
                return replace(one, place=place(one.place), inits=tuple(map(place, one.inits)))
            case events.DeviceError():
                return replace(one, place=place(one.place), inner=place(one.inner))
            case _:
                return replace(one, place=place(one.place))

    return Trace([event(one) for one in trace.events])
