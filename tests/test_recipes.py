"""What the documentation tells people to type: commands that exist, settings that are read, YAML that is valid."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from torchlint import cli, config, registry, selection

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
FILES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
RULES = registry.load()


class Block(NamedTuple):
    """A block of code in a page."""

    where: str
    language: str
    title: str
    text: str


def blocks() -> Iterator[Block]:
    fence = re.compile(r'^( *)```(\w*)(?: title="([^"]*)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        for found in fence.finditer(text):
            row = text.count("\n", 0, found.start()) + 1
            yield Block(f"{file.relative_to(ROOT)}:{row}", found[2], found[3] or "", found[4])


BLOCKS = list(blocks())


def each(*languages: str) -> pytest.MarkDecorator:
    some = [block for block in BLOCKS if block.language in languages]
    assert some, f"no block of {languages}"
    return pytest.mark.parametrize("block", some, ids=lambda block: block.where)


SCHEMAS = {".gitlab-ci.yml": "gitlab-ci", ".github/workflows": "github-workflows"}


@each("yaml")
def test_yaml_is_valid(block: Block, tmp_path: Path) -> None:
    assert yaml.safe_load(block.text), block.where
    command: list[Any]
    if block.title == ".pre-commit-config.yaml" or "repos" in yaml.safe_load(block.text):
        command = ["pre_commit", "validate-config"]
    else:
        (schema,) = (schema for name, schema in SCHEMAS.items() if block.title.startswith(name))
        command = ["check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
        if schema == "gitlab-ci":
            command += ["--data-transform", "gitlab-ci"]
    file = tmp_path / "some.yml"
    file.write_text(block.text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", *command, file], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each("yaml")
def test_the_action_is_given_inputs_that_it_has(block: Block) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    for job in (yaml.safe_load(block.text).get("jobs") or {}).values():
        for step in job["steps"]:
            if "/torchlint@" in step.get("uses", ""):
                assert set(step.get("with", {})) <= set(action["inputs"])


@each("toml")
def test_settings_are_read(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = tomllib.loads(block.text)
    if "tool" in data and "torchlint" in data["tool"]:
        Path("pyproject.toml").write_text(block.text, encoding="utf-8")
        config.resolve({}, selectors=selection.selectors(RULES))


@each("python")
def test_python_is_python(block: Block) -> None:
    ast.parse(block.text)


def commands() -> Iterator[tuple[str, list[str]]]:
    """The command lines of torchlint in all blocks that are typed or run."""
    for block in BLOCKS:
        if block.language not in ("sh", "", "yaml", "groovy", "console"):
            continue
        for line in block.text.splitlines():
            found = re.search(r"(?:^|[\s'$&|])(torchlint(?: .*)?)$", line.rstrip("'"))
            if found is None or re.match(
                r"\s*(#|-? ?(id|name|uses|key|repo)\b|torchlint:|.*pip install|.*pre-commit run|.*\bgit )", line
            ):
                continue
            words = shlex.split(found[1].partition(" | ")[0], comments=True)
            yield block.where, words


COMMANDS = list(commands())


@pytest.mark.parametrize("where,words", COMMANDS, ids=[f"{where} {' '.join(words[1:])}" for where, words in COMMANDS])
def test_commands_exist_with_their_options(where: str, words: list[str]) -> None:
    words = [re.sub(r"\$\{\{.*?\}\}|\$\w+", "1", word) for word in words[1:]]
    named = bool(words) and words[0] in cli.torchlint.commands
    name = words[0] if named else cli.DEFAULT
    made = cli.torchlint.commands[name].make_context(name, words[1:] if named else words)
    known = {rule.name for rule in RULES}
    if name == "explain":
        assert set(made.params["names"]) <= known | {"NAME"}
    for option in ("select", "ignore", "extend_select"):
        assert set(made.params.get(option) or ()) <= set(selection.selectors(RULES))


def test_this_file_sees_the_commands() -> None:
    assert len(COMMANDS) > 30
    assert {words[1] for _, words in COMMANDS if len(words) > 1} >= {"confirm", "explain", "--fix"}
    with pytest.raises(click.UsageError):
        test_commands_exist_with_their_options("here", ["torchlint", "--no-such-option"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_rules_that_are_named_exist(file: Path) -> None:
    """`# torchlint: ignore[...]`, and rules in backquotes that look like no word of anything else."""
    text = file.read_text(encoding="utf-8")
    known = {rule.name for rule in RULES} | {"rule", "..."}
    for names in re.findall(r"torchlint: ignore(?:-file)?\[([^\]]*)\]", text):
        assert {name.strip() for name in names.split(",")} <= known
    for name in re.findall(r"\]\((?:\.\./)*rules/(\w+)\.py\)", text):
        assert name.replace("_", "-") in known


def test_parts_of_a_matrix_are_put_together(tmp_path: Path) -> None:
    """What docs/ci.md says of `--shard` and sarif-tools, done."""
    for rule in ("missing_zero_grad", "whole_model_save", "missing_super_init", "device_mismatch"):
        (tmp_path / f"{rule}.py").write_bytes((ROOT / "fixtures" / rule / "bad.py").read_bytes())

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode in (0, 1), done.stderr

    torchlint = (sys.executable, "-m", "torchlint", "--output-format", "sarif", "--output-file")
    run(*torchlint, "whole.sarif")
    for part in "123":
        run(*torchlint, f"part-{part}.sarif", "--shard", f"{part}/3")
    copy = ("copy", "--output", "torchlint.sarif", *(f"part-{part}.sarif" for part in "123"))
    run(sys.executable, "-m", "sarif", *copy)

    def results(name: str) -> list[tuple[str, str]]:
        runs = json.loads((tmp_path / name).read_text(encoding="utf-8"))["runs"]
        return sorted(
            (one["ruleId"], one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
            for run in runs
            for one in run["results"]
        )

    assert len(results("whole.sarif")) >= 4
    assert results("torchlint.sarif") == results("whole.sarif")
    assert max(len(results(f"part-{part}.sarif")) for part in "123") < len(results("whole.sarif"))


def test_coming_from_torchfix_names_every_rule_that_overlaps() -> None:
    """Rules that are planned, and would make the table's "no" untrue on the day that they come."""
    text = (ROOT / "docs" / "torchfix.md").read_text(encoding="utf-8")
    overlapping = (
        "removed-function removed-import deprecated-function deprecated-import reentrant-checkpoint private-symbol"
        " unstable-log pretrained-argument vision-to-tensor loader-without-workers zero-grad-to-zero"
        " misspelled-requires-grad unsafe-load whole-model-load"
    ).split()
    known = {rule.name for rule in RULES} & set(overlapping)
    assert known >= {"misspelled-requires-grad", "unsafe-load"}
    assert {name for name in known if f"`{name}`" not in text} == set()
