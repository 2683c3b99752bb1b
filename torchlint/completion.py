"""What a shell offers when a command line is half typed. click does the talking with bash, zsh and fish."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_TORCHLINT_COMPLETE"  # set by the scripts when they ask


def script(command: click.Command, shell: str) -> str:
    """The script that makes `shell` ask `command`, which it knows as torchlint, for completions."""
    from click.shell_completion import get_completion_class

    _teach()
    known = get_completion_class(shell)
    assert known is not None, f"click completes for {SHELLS}"
    return known(command, {}, "torchlint", VARIABLE).source() + "\n"


def prepare() -> None:
    """To be called before the command runs: does something only where a shell asks."""
    if VARIABLE in os.environ:
        _teach()


def _teach() -> None:
    """Teaches click what it does not do: `--option=value`, commas in fish, files beside names in zsh."""
    from click import shell_completion as click_shells

    class Bash(click_shells.BashComplete):
        def get_completion_args(self) -> tuple[list[str], str]:
            args, incomplete = super().get_completion_args()
            return (args[:-1] if args[-1:] == ["="] else args), incomplete  # to bash `=` is a word of its own

    class Whole(click_shells.ShellComplete):
        """Shells that want the whole word back, of which click leaves `--option=` out."""

        def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
            option, equals, value = incomplete.partition("=")
            if not equals or not option.startswith("-"):
                return super().get_completions(args, incomplete)
            items = super().get_completions([*args, option], value)
            for one in items:
                one.value = f"{option}={one.value}"
            return items

    class Zsh(Whole, click_shells.ZshComplete):
        def format_completion(self, item: CompletionItem) -> str:
            item.value = item.value or "_"  # an empty line would shift all that follow
            return super().format_completion(item)

    class Fish(Whole, click_shells.FishComplete):
        source_template = click_shells.FishComplete.source_template.replace(
            'string split ","', 'string split --max 1 ","'
        )

    for shell in (Bash, Zsh, Fish):
        click_shells.add_completion_class(shell)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, which the shell knows best."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def rules(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of rules."""
    return _items(_rules(), incomplete)


def pages(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Everything that `explain` has a page of."""
    from torchlint import builtin

    return _items({**_rules(), **builtin.CODES}, incomplete)


def selectors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What may stand in a list of rules; names that stand in it are not offered again."""
    from torchlint import registry, selection

    before, comma, last = incomplete.rpartition(",")
    summaries = _rules()
    known = {name: summaries.get(name, "") for name in selection.selectors(registry.load())}
    return _items({n: told for n, told in known.items() if n not in before.split(",")}, last, before + comma)


def _rules() -> dict[str, str]:
    from torchlint import registry

    return {rule.name: rule.page.summary for rule in registry.load()}


def _items(known: Mapping[str, str], incomplete: str, before: str = "") -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(before + n, help=told or None) for n, told in known.items() if n.startswith(incomplete)]


def either(*offers: Iterable[CompletionItem]) -> list[CompletionItem]:
    """All of these, each once."""
    return list({(one.type, one.value): one for offer in offers for one in offer}.values())
