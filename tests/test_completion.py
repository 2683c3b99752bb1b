"""Completion, asked for by real shells: bash, and zsh and fish where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import terminal
from click.testing import CliRunner

from torchlint import cli, completion

ASKED = [
    ((), {"check", "completion", "config", "confirm", "explain", "rules", "server"}, {"whole-model-save"}),
    (("conf",), {"config", "confirm"}, {"check"}),
    (("--sel",), {"--select"}, {"--ignore"}),
    (("--ver",), {"--version", "--verbose"}, set()),
    (("src/", "--output-f"), {"--output-format", "--output-file"}, set()),
    (("--output-format", "s"), {"sarif"}, {"json"}),
    (("explain", "missing-z"), {"missing-zero-grad"}, {"missing-forward"}),
    (("explain", "synt"), {"syntax-error"}, set()),
    (("check", "--ignore", "whole-model-"), {"whole-model-save", "whole-model-load"}, set()),
    (("--select", "unsafe-load,corr"), {"unsafe-load,correctness"}, set()),
    (("--select", "unsafe-load,unsafe-"), set(), {"unsafe-load,unsafe-load"}),
    (("confirm", "--rule", "zero-"), {"zero-grad-breaks-accumulation"}, set()),
    (("completion", ""), {"bash", "zsh", "fish"}, set()),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One in which `torchlint` is this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "torchlint"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m torchlint "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}


def offered(*words: str) -> set[str]:
    """What is offered for the last word, asked for as bash does it, in this process."""
    environment = {completion.VARIABLE: "bash_complete", "COMP_WORDS": " ".join(("torchlint", *words))}
    environment["COMP_CWORD"] = str(max(1, len(words)))
    result = CliRunner().invoke(cli.torchlint, prog_name="torchlint", env=environment)
    return {line.partition(",")[2] for line in result.output.splitlines()}


@pytest.mark.parametrize(
    ("words", "some", "none"),
    ASKED,
    ids=lambda value: " ".join(sorted(value) if isinstance(value, set) else value) or "-",
)
def test_offers(words: tuple[str, ...], some: set[str], none: set[str]) -> None:
    found = offered(*words)
    assert found >= some
    assert not found & none


def test_paths_are_left_to_the_shell() -> None:
    for words in (("sr",), ("check", "sr"), ("--config", "sr"), ("confirm", "sr"), ("--fix", "sr")):
        environment = {completion.VARIABLE: "bash_complete", "COMP_WORDS": " ".join(("torchlint", *words))}
        environment["COMP_CWORD"] = str(len(words))
        result = CliRunner().invoke(cli.torchlint, prog_name="torchlint", env=environment)
        assert result.output == "file,sr\n", words


def test_every_list_of_rules_and_every_file_is_completed() -> None:
    for command in cli.torchlint.commands.values():
        for parameter in command.params:
            if parameter.metavar in ("NAMES", "NAME", "RULE...", "FILE", "FOLDER", "[PATHS]...", "PATTERNS"):
                assert parameter.shell_complete(click.Context(command), ""), (command.name, parameter.name)


def run(environment: dict[str, str], *command: str, cwd: Path | None = None) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=cwd, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("explain missing-z", "missing-zero-grad"),
        ("--select unsafe-load,correct", "unsafe-load,correctness"),
        ("--output-format = sar", "sarif"),
    ],
)
def test_bash(environment: dict[str, str], words: str, answer: str) -> None:
    ask = f"""eval "$(torchlint completion bash)"; COMP_WORDS=(torchlint {words})
    COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _torchlint_completion torchlint; echo "${{COMPREPLY[@]}}" """
    assert run(environment, "bash", "-c", ask) == [answer, ""]


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_fish(environment: dict[str, str]) -> None:
    lines = ["explain missing-z", "--select unsafe-load,correct", "--output-format=sar"]
    asks = "".join(f"; complete -C 'torchlint {line}'" for line in lines)
    answers = run(environment, "fish", "--no-config", "-c", f"torchlint completion fish | source{asks}")
    assert [one.partition("\t")[0] for one in answers] == [
        "missing-zero-grad",
        "unsafe-load,correctness",
        "--output-format=sarif",
        "",
    ]
    assert answers[0].endswith(
        "A training loop steps its optimizer on gradients that an earlier step has already used."
    )


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("--select unsafe-load,correct", "--select unsafe-load,correctness"),
        ("--output-format=sar", "--output-format=sarif"),
        ("readm", "readme.txt"),
    ],
)
def test_zsh(environment: dict[str, str], tmp_path: Path, typed: str, answer: str) -> None:
    (tmp_path / "readme.txt").touch()
    start = f"cd {tmp_path}; PS1='ready> '; autoload -Uz compinit; compinit -u -d {tmp_path}/dump\n"
    with terminal.opened(["zsh", "-f", "-i"], environment=environment) as shell:
        shell.type(start)
        shell.wait("ready> ")
        shell.type('eval "$(torchlint completion zsh)"; clear; echo done\n')
        shell.wait("done")
        shell.type(f"torchlint {typed}\t")
        shell.wait(f"torchlint {answer}")
