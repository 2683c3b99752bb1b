"""The command: arguments, exit status and wiring, nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from torchlint import __version__, completion
from torchlint.config import COLORS, OUTPUT_FORMATS, PROFILES, ConfigError, Settings
from torchlint.registry import RuleError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "check"
DEVICES = ("auto", "cpu", "cuda", "mps", "pretend-cuda")  # those of `confirm`, which is imported only when it runs
INTERRUPTED = 130  # as shells count a program that SIGINT ended
_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """A group whose first argument may be left out: `torchlint src/` is `torchlint check src/`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and ctx.resilient_parsing:
            return super().parse_args(ctx, args)  # for completion: what comes first is still open
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help", "-V", "--version")):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        default = self.commands[DEFAULT]
        with default.make_context(DEFAULT, [], parent=ctx, resilient_parsing=True) as inner:
            options = default.shell_complete(inner, incomplete)
            paths = default.params[0].shell_complete(inner, incomplete) if not incomplete.startswith("-") else []
        # Files first: bash forgets what was offered before them.
        return completion.either(paths, super().shell_complete(ctx, incomplete), options)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and ends the process with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character must not end the run
    completion.prepare()
    try:
        status = torchlint.main(arguments, prog_name="torchlint", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("torchlint: interrupted", err=True)
        status = INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = 2
    except (ConfigError, RuleError) as error:
        click.echo(f"torchlint: {error}", err=True)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)


@click.group(cls=Commands, context_settings=_SETTINGS)
@click.version_option(__version__, "-V", "--version", prog_name="torchlint")
def torchlint() -> None:
    """Finds PyTorch code that trains silently wrong, mends it, and proves each claim by training.

    Without a command, `check` is meant: `torchlint src/`. A folder that is called like a command is reached by
    `torchlint check rules`.
    """


# --------------------------------------------------------------------------------------------------------------- check


def _names(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    """Comma lists, repeatable; None when the option was not given."""
    names = tuple(name.strip() for one in value for name in one.split(",") if name.strip())
    return names if value else None


def _list(name: str, metavar: str, text: str) -> Callable[[F], F]:
    offers = completion.selectors if metavar == "NAMES" else completion.files
    return click.option(f"--{name}", multiple=True, callback=_names, metavar=metavar, help=text, shell_complete=offers)


def _file(name: str, metavar: str, text: str, **more: Any) -> Callable[[F], F]:
    return click.option(f"--{name}", metavar=metavar, help=text, shell_complete=completion.files, **more)


def _flag(name: str, text: str) -> Callable[[F], F]:
    """A flag that a configuration file can set too, and that can be taken back on the command line."""
    return click.option(f"--{name}/--no-{name}", default=None, help=text)


def _configured(command: F) -> F:
    """The options that say where settings come from."""
    command = click.option("--isolated", is_flag=True, help="Read no configuration file.")(command)
    return click.option(
        "--config",
        "given",
        multiple=True,
        metavar="FILE|KEY=VALUE",
        shell_complete=completion.files,
        help="A TOML file to read instead of the nearest one, or one setting, such as 'preview=true'.",
    )(command)


def _settings(command: F) -> F:
    """The options of `check` that are keys of the configuration too."""
    options = [
        _list("select", "NAMES", "The rules to run: names, groups, or ALL, with commas."),
        _list("ignore", "NAMES", "Rules not to run."),
        _list("extend-select", "NAMES", "Rules to run besides those that are on."),
        _flag("preview", "Run rules that are still being tried."),
        click.option("--target-torch", metavar="VERSION", help="The torch version the code is for."),
        click.option("--profile", type=click.Choice(PROFILES), help="strict: test files are files as all others."),
        click.option("--output-format", type=click.Choice(OUTPUT_FORMATS), help="How findings are written."),
        _file("output-file", "FILE", "Write them there instead of to the terminal."),
        _flag("fix", "Mend what can be mended safely."),
        _flag("unsafe-fixes", "With --fix or --diff: also what may change what a program computes."),
        _flag("show-fixes", "Say what was mended."),
        _flag("statistics", "Only count the findings of each rule."),
        _flag("exit-zero", "Exit with 0 even when something is found."),
        _flag("exit-non-zero-on-fix", "Exit with 1 when something was mended, even if nothing is left."),
        _list("exclude", "PATTERNS", "Files and folders to leave out, as in .gitignore."),
        _list("extend-exclude", "PATTERNS", "More of them, besides those left out anyway."),
        click.option(
            "--respect-gitignore/--no-respect-gitignore", default=None, help="Leave out what Git ignores (default)."
        ),
        click.option("-j", "--jobs", type=click.IntRange(0), metavar="N", help="Processes to use; 0: one a processor."),
        click.option("--cache/--no-cache", default=None, help="Remember what was found in unchanged files (default)."),
        _file("cache-dir", "FOLDER", "Where to remember it, instead of in .torchlint_cache."),
        _file("baseline", "FILE", "Known findings, which are not told; see --write-baseline."),
        click.option("--color", type=click.Choice(COLORS), help="Colours; auto: on terminals."),
    ]
    for option in reversed(options):
        command = option(command)
    return _configured(command)


class Check(click.Command):
    """A command with an option whose value may be left out: only `--add-ignore=REASON` has one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--add-ignore=" if one == "--add-ignore" else one for one in args])


@torchlint.command(cls=Check, context_settings=_SETTINGS)
@click.argument("paths", nargs=-1, metavar="[PATHS]...", shell_complete=completion.files)
@_settings
@click.option("--add-ignore", metavar="[=REASON]", help="Suppress all that is found by comments in the code.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option("--since", default="", metavar="REV", help="Only findings on rows changed since a revision of Git.")
@click.option("--shard", default="", metavar="I/N", help="Only the Ith of N parts of the files, for a CI matrix.")
@_file("write-baseline", "FILE", "Make all that is found known findings.", default="")
@click.option("--prune-baseline", is_flag=True, help="Take out of the baseline what is found no longer.")
@click.option("--watch", is_flag=True, help="Lint again whenever a file changes, until Ctrl-C.")
@_file("stdin-filename", "FILE", "The name of what is read from standard input, with `-`.")
@click.option("-q", "--quiet", count=True, help="Only findings; twice: nothing but the exit status.")
@click.option("-v", "--verbose", count=True, help="Say which files are checked, and with which settings.")
def check(
    paths: tuple[str, ...],
    given: tuple[str, ...],
    isolated: bool,
    add_ignore: str | None,
    diff: bool,
    since: str,
    shard: str,
    write_baseline: str,
    prune_baseline: bool,
    watch: bool,
    stdin_filename: str | None,
    quiet: int,
    verbose: int,
    **options: Any,
) -> int:
    """Lint files and folders; without any, the current folder. `-` reads standard input.

    Exit status: 0 nothing found or all of it mended, 1 findings, 2 wrong use, bad configuration or internal error.
    """
    from torchlint import session

    if stdin_filename is not None and paths and "-" not in paths:
        raise click.UsageError("--stdin-filename goes with `-`, which reads standard input")
    if "-" in paths and len(paths) > 1:
        raise click.UsageError("`-` reads standard input and cannot be mixed with other paths")
    console = session.Console(quiet, verbose)
    if add_ignore is not None:
        if options["fix"]:
            raise click.UsageError("--add-ignore and --fix cannot go together: mend first, then suppress what is left")
        options["fix"], add_ignore = False, " ".join(add_ignore.split())
    task = session.Task(diff, since, shard, write_baseline, prune_baseline, add_ignore)
    if "-" in paths or stdin_filename is not None:
        if watch:
            raise click.UsageError("--watch is for files, and cannot go with standard input")
        settings = _settings_of(options, given, isolated)
        return session.check_stdin(sys.stdin.buffer.read(), stdin_filename or "-", settings, console, task)
    paths = paths or (".",)
    if not watch:
        return session.check(paths, _settings_of(options, given, isolated), console, task)
    from torchlint import watching

    if diff or write_baseline or prune_baseline or add_ignore is not None:
        raise click.UsageError("--watch goes with linting and --fix only")
    return watching.watch(
        paths,
        lambda: _settings_of(options, given, isolated),
        lambda settings, cache: session.check(paths, settings, console, task, cache),
        console.notice,
    )


def _settings_of(options: dict[str, Any], given: Sequence[str], isolated: bool) -> Settings:
    from torchlint import config, registry, selection

    chosen = {name: value for name, value in options.items() if value is not None}
    known = selection.selectors(registry.load())
    return config.Settings(chosen, given=given, isolated=isolated, selectors=known)


# ------------------------------------------------------------------------------------------------ the smaller commands


@torchlint.command("config", context_settings=_SETTINGS)
@click.argument("paths", nargs=-1, metavar="[PATHS]...", shell_complete=completion.files)
@_settings
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_config(paths: tuple[str, ...], given: tuple[str, ...], isolated: bool, as_json: bool, **options: Any) -> int:
    """The settings in force for PATHS, and where each comes from."""
    from torchlint import pages, selection

    config = _settings_of(options, given, isolated).common(paths)
    click.echo(pages.config(config, as_json), nl=False)
    for path in paths:
        if not as_json and selection.calms(config, path):
            groups = " and ".join(selection.calms(config, path))
            click.echo(f"# {path} is a test file: {groups} rules are off there (see profile)")
    return 0


@torchlint.command(context_settings=_SETTINGS)
@_configured
@_file("cache-dir", "FOLDER", "The cache to drop, instead of the one in .torchlint_cache.")
def clean(given: tuple[str, ...], isolated: bool, cache_dir: str | None) -> int:
    """Drop the cache."""
    from torchlint import cache

    folder = _settings_of({"cache_dir": cache_dir}, given, isolated).common(()).cache_folder
    click.echo(f"Dropped {folder}." if cache.clean(folder) else f"There is no cache in {folder}.")
    return 0


@torchlint.command(context_settings=_SETTINGS, short_help="The list of rules.")
@click.option("--output-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rules(output_format: str) -> int:
    """The list of rules: name, group, fix, proof, and what each finds."""
    from torchlint import pages

    click.echo(pages.rules(output_format == "json"), nl=False)
    return 0


@torchlint.command(context_settings=_SETTINGS, short_help="The page of a rule, with its proof.")
@click.argument("names", nargs=-1, required=True, metavar="RULE...", shell_complete=completion.pages)
@click.option("--output-format", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@click.option("--lang", default="en", show_default=True, metavar="CODE", help="The language: en, or ja (日本語).")
def explain(names: tuple[str, ...], output_format: str, lang: str) -> int:
    """The page of a rule: what it finds, why it hurts, an example, the fix, the limits, the proof."""
    from torchlint import pages

    try:
        click.echo(pages.explain(names, output_format, lang), nl=False)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from error
    return 0


@torchlint.command(context_settings=_SETTINGS, short_help="Language server for editors.")
@click.option("--stdio", is_flag=True, hidden=True, help="As some editors say what is so anyway.")
def server(stdio: bool) -> int:
    """Language server on standard input and output: findings, fixes and pages in an editor.

    An editor starts it (docs/editors.md says how). Needs pygls: pip install 'torchlint[server]'.
    """
    from torchlint import server as language_server

    try:
        return language_server.run()
    except language_server.MissingError as error:
        raise click.ClickException(str(error)) from error


@torchlint.command("completion", context_settings=_SETTINGS, short_help="Completion for bash, zsh and fish.")
@click.argument("shell", type=click.Choice(completion.SHELLS))
def show_completion(shell: str) -> int:
    """The script that completes torchlint's command line in a shell.

    \b
    bash  torchlint completion bash > ~/.local/share/bash-completion/completions/torchlint
    zsh   torchlint completion zsh > "${fpath[1]}/_torchlint"
    fish  torchlint completion fish > ~/.config/fish/completions/torchlint.fish

    Or for the running shell only: eval "$(torchlint completion bash)".
    """
    click.echo(completion.script(torchlint, shell), nl=False)
    return 0


@torchlint.command(
    context_settings={**_SETTINGS, "allow_interspersed_args": False}, short_help="Prove findings by training."
)
@click.argument(
    "program",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[SCRIPT [ARGS]... | -m MODULE [ARGS]...]",
    shell_complete=completion.files,
)
@click.option("-m", "is_module", is_flag=True, help="What follows is a module: `confirm -m pytest tests`.")
@click.option(
    "--rule",
    "names",
    multiple=True,
    metavar="NAME",
    help="Prove this rule only; repeatable.",
    shell_complete=completion.rules,
)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to train.")
@click.option("--seed", type=int, metavar="N", help="Seed of random, NumPy and torch; for rules the first (0).")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="How often each rule's programs are trained.")
@click.option(
    "--max-steps", type=click.IntRange(0), metavar="N", help="Optimizer steps to take; 0: all (a script: 50)."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Time a program may take (a script: 300, else 60).")
@click.option("--compare-fix", is_flag=True, help="Also run the program with torchlint's fixes, in a copy.")
@click.option("--output-format", type=click.Choice(["text", "json", "html"]), default="text", show_default=True)
@click.option("--output-file", type=click.Path(path_type=Path), metavar="FILE", help="Write the report there.")
@click.option("--color", type=click.Choice(COLORS), default="auto", help="Colours; auto: on terminals.")
def confirm(
    program: tuple[str, ...],
    is_module: bool,
    names: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
    max_steps: int | None,
    timeout: float | None,
    compare_fix: bool,
    color: str,
    **options: Any,
) -> int:
    """Prove findings by training: run SCRIPT, and say of each finding in it whether it hurts.

    The program runs as `python SCRIPT ARGS` would, for at most 50 optimizer steps. Without a script every rule is
    proven: its bad program, its good one, and the bad one after torchlint's own fix. Needs torch.

    Exit status: 1 something is confirmed (without a script: a rule is not), 0 nothing, 2 wrong use or no torch; the
    program's own failure, where nothing is confirmed, is the command's.
    """
    from torchlint.confirm import command

    colored = {"auto": None, "always": True, "never": False}[color]
    if is_module and not program:
        raise click.UsageError("-m needs the name of a module")
    if not program:
        if options["output_format"] == "html" or compare_fix:
            raise click.UsageError("--compare-fix and the html report are for a script: torchlint confirm SCRIPT")
        return command.confirm(
            names,
            seed=seed or 0,
            seeds=command.SEEDS if seeds is None else seeds,
            max_steps=max_steps or None,
            timeout=command.TIMEOUT if timeout is None else timeout,
            color=colored,
            **options,
        )
    if seeds is not None:
        raise click.UsageError("--seeds is for the rules' own proof; a script runs once, with --seed")
    request = command.Request(
        program[0],
        program[1:],
        is_module,
        names,
        options.pop("device"),
        seed,
        command.MAX_STEPS if max_steps is None else max_steps or None,
        command.PROGRAM_TIMEOUT if timeout is None else timeout,
        compare_fix,
    )
    return command.confirm_program(request, color=colored, **options)
