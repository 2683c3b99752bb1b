"""Notebooks as users meet them: what is found in which cell, and what of the file a fix changes."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toys

from torchlint import cli, engine, ipynb, registry, syntax
from torchlint.diagnostic import Span, TextEdit
from torchlint.magics import python_of
from torchlint.notebook import join
from torchlint.source import SkippedError, Source, SourceError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def torchlint(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in an empty folder, with the rules that torchlint has."""
    monkeypatch.chdir(tmp_path)
    for variable in ("GITHUB_ACTIONS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return command


@pytest.fixture
def toy(torchlint: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with the toy rules: `alarm()` is found and made `calm()`."""
    toys.install(monkeypatch)
    return torchlint


PLOT = {"output_type": "display_data", "data": {"image/png": "iVBOR\n", "text/plain": ["<Figure>"]}, "metadata": {}}


def code(*rows: str, **more: Any) -> dict[str, Any]:
    """A code cell as Jupyter writes it: each row but the last ends in a newline."""
    source = "\n".join(rows).splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [PLOT], "source": source, **more}


def words(*rows: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": list(rows)}


PYTHON = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def notebook(*cells: dict[str, Any], metadata: Any = PYTHON, **more: Any) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5, **more}


def write(name: str, book: dict[str, Any], **style: Any) -> bytes:
    """Writes a notebook as Jupyter does, unless `style` says otherwise."""
    text = json.dumps(book, **{"indent": 1, "ensure_ascii": False, **style}) + "\n"
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text.encode())
    return text.encode()


IMPORTS = "import torch", "from torch import nn"
MODEL = "model = nn.Linear(2, 1)", "opt = torch.optim.SGD(model.parameters(), lr=0.1)", "loss_fn = nn.MSELoss()"
LOOP = (
    "for x, y in loader:",
    "    loss = loss_fn(model(x), y)",
    "    loss.backward()",
    "    opt.step()",
)


# --------------------------------------------------------------------------------------------------- what a user reads


def test_cells_are_one_program_and_a_finding_names_its_cell(torchlint: Command) -> None:
    write(
        "a.ipynb", notebook(words("# Title"), code(*IMPORTS), words("text"), code("!nvidia-smi", *MODEL), code(*LOOP))
    )
    status, out, _ = torchlint("a.ipynb", "-q")
    assert status == 1
    assert out == (
        "a.ipynb:cell 5:3:5: missing-zero-grad [*] gradients of `opt` are never cleared in this loop\n"
        "  |\n"
        "3 |     loss.backward()\n"
        "  |     ^^^^^^^^^^^^^^^\n"
        "4 |     opt.step()\n"
        "  |     ---------- `opt` steps on the accumulated gradients here\n"
        "  |\n"
        "  = Each backward adds to the gradients of all earlier iterations, so every step uses their sum.\n"
        "  = help: [*] Clear the gradients with `opt.zero_grad()`\n\n"
    )
    assert torchlint("-q", "--output-format", "concise")[1].startswith("a.ipynb:cell 5:3:5: missing-zero-grad")


def test_json_names_the_cell_everywhere(toy: Command) -> None:
    write("a.ipynb", notebook(words("x"), code("opened()"), code("x = 1", "alarm()")))
    (found,) = json.loads(toy("a.ipynb", "--output-format", "json")[1])
    assert (found["cell"], found["location"], found["noqa_row"]) == (3, {"row": 2, "column": 1}, 2)
    assert [(one["cell"], one["location"]) for one in found["related"]] == [(2, {"row": 1, "column": 1})]
    assert [(one["cell"], one["location"]["row"], one["content"]) for one in found["fix"]["edits"]] == [
        (3, 2, "calm()")
    ]
    assert "a.ipynb:cell 2:1:1: opened here" in toy("a.ipynb")[1]


def test_reports_of_code_hosts_point_to_the_row_of_the_file(toy: Command) -> None:
    text = write("a.ipynb", notebook(words("x"), code("x = 1", "alarm()", "y")))
    row = next(n for n, line in enumerate(text.decode().splitlines(), 1) if "alarm" in line)
    assert f"file=a.ipynb,line={row},endLine={row},col=1" in toy("a.ipynb", "--output-format", "github")[1]
    (issue,) = json.loads(toy("a.ipynb", "--output-format", "gitlab")[1])
    assert issue["location"]["lines"]["begin"] == row
    (result,) = json.loads(toy("a.ipynb", "--output-format", "sarif")[1])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": row}
    assert "cell 2" in result["message"]["text"]


def test_findings_are_in_the_order_of_the_cells(toy: Command) -> None:
    write("a.ipynb", notebook(*(code("x = 1", "alarm()") for _ in range(11)), code("alarm()")))
    lines = toy("-q", "--output-format", "concise")[1].splitlines()
    assert [line.split(" toy")[0] for line in lines] == [f"a.ipynb:cell {n}:2:1:" for n in range(1, 12)] + [
        "a.ipynb:cell 12:1:1:"
    ]


def test_the_cache_remembers_a_notebook(toy: Command) -> None:
    write("a.ipynb", notebook(words("x"), code("opened()"), code("%time alarm()", "alarm(); blaze()"), code("x = = 1")))
    first = toy("--output-format", "json", "-v")
    again = toy("--output-format", "json", "-v")
    assert (again[0], again[1]) == (first[0], first[1])
    assert "1 of them from the cache" in again[2]
    assert toy("-q")[1] == toy("-q", "--no-cache")[1]
    write("a.ipynb", notebook(words("x"), code("alarm()")))
    assert toy("-q", "--output-format", "concise")[1] == "a.ipynb:cell 2:1:1: toy-alarm [*] `alarm` is called\n"


def test_a_notebook_uses_the_project_s_files(torchlint: Command) -> None:
    Path("training.py").write_text(
        "def step(loss, optimizer):\n    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()\n"
    )
    clears = "from training import step", *IMPORTS, *MODEL, *LOOP[:2], "    step(loss, opt)"
    write("a.ipynb", notebook(code(*clears)))
    assert torchlint("a.ipynb", "-q")[0] == 0
    Path("training.py").write_text("def step(loss, optimizer):\n    loss.backward()\n    optimizer.step()\n")
    assert "a.ipynb:cell 1:9:5: missing-zero-grad" in torchlint("a.ipynb", "-q")[1]


NET = (
    "class Net(nn.Module):",
    "    def __init__(self):",
    "        super().__init__()",
    "        self.fc = nn.Linear(2, 3)",
    "    def forward(self, x):",
)
HONEST = *NET, "        return self.fc(x)"
SOFT = *NET, "        return torch.softmax(self.fc(x), dim=1)"
CLASSIFY = (
    "model = Net()",
    "opt = torch.optim.SGD(model.parameters(), lr=0.1)",
    "for x, y in loader:",
    "    opt.zero_grad()",
    "    nn.functional.cross_entropy(model(x), y).backward()",
    "    opt.step()",
)
CLEARED = LOOP[0], "    opt.zero_grad()", *LOOP[1:]
DROPPING = "model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())", "opt = torch.optim.SGD(model.parameters(), lr=0.1)"

FITTED = "loss_fn = nn.MSELoss()", *CLEARED


def function(body: tuple[str, ...]) -> tuple[str, ...]:
    return "def train():", *(f"    {row}" for row in body)


# Cells behind the imports, and the rules that find something, each with the cell.
SECTIONS: dict[str, tuple[list[tuple[str, ...]], list[tuple[int, str]]]] = {
    "two good ones": ([MODEL, CLEARED, MODEL, CLEARED], []),
    "the second is bad": ([MODEL, CLEARED, MODEL, LOOP], [(5, "missing-zero-grad")]),
    "the first is bad": ([MODEL, LOOP, MODEL, CLEARED], [(3, "missing-zero-grad")]),
    "both are bad": ([MODEL, LOOP, MODEL, LOOP], [(3, "missing-zero-grad"), (5, "missing-zero-grad")]),
    "the optimizer is the first one's": (
        [MODEL, CLEARED, MODEL[:1], CLEARED],
        [(2, "parameters-missing-from-optimizer")],
    ),
    "a function serves both": ([function(CLEARED), MODEL, ("train()",), MODEL, ("train()",)], []),
    "the function is written anew, and bad": (
        [MODEL, function(CLEARED), ("train()",), MODEL, function(LOOP), ("train()",)],
        [(6, "missing-zero-grad")],
    ),
    "the function is written anew, and good": (
        [MODEL, function(LOOP), ("train()",), MODEL, function(CLEARED), ("train()",)],
        [(3, "missing-zero-grad")],
    ),
    "the class is written anew before it is used": ([SOFT, HONEST, CLASSIFY], []),
    "the class is written anew, and bad": (
        [HONEST, CLASSIFY, SOFT, CLASSIFY],
        [(5, "softmax-before-cross-entropy")],
    ),
    "the second is never put in evaluation mode": (
        [DROPPING, FITTED, ("model.eval()",), DROPPING, FITTED, ("with torch.no_grad():", "    y = model(x).argmax()")],
        [(7, "inference-without-eval")],
    ),
    "devices change": (
        [
            ("model = nn.Linear(2, 1)", "x = torch.randn(3, 2)", "model(x)"),
            ("model = model.to('cuda')", "x = x.to('cuda')", "model(x)"),
            ("model = nn.Linear(2, 1)", "x = torch.randn(3, 2)", "model(x)"),
        ],
        [],
    ),
    "magics run the code": (
        [MODEL, ("%%time", LOOP[0], "    %time loss = loss_fn(model(x), y)", *LOOP[2:])],
        [(3, "missing-zero-grad")],
    ),
}


@pytest.mark.parametrize(("cells", "found"), SECTIONS.values(), ids=SECTIONS.keys())
def test_sections_that_bind_the_same_names(
    cells: list[tuple[str, ...]], found: list[tuple[int, str]], torchlint: Command
) -> None:
    write("a.ipynb", notebook(code(*IMPORTS), *(code(*rows) for rows in cells)))
    told = json.loads(torchlint("-q", "--output-format", "json")[1])
    assert [(one["cell"], one["code"]) for one in told] == found


def test_since_a_revision_the_rows_of_the_file_count(toy: Command) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)

    write("a.ipynb", notebook(code("alarm(1)", "x = 1"), code("alarm(2)")))
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert toy("--since", "HEAD", "-q", "--output-format", "concise") == (0, "", "")
    write("a.ipynb", notebook(code("alarm(1)", "x = 1", outputs=[]), code("y = 1", "alarm(3)"), metadata={"new": 1}))
    out = toy("--since", "HEAD", "-q", "--output-format", "concise")[1]
    assert out == "a.ipynb:cell 2:2:1: toy-alarm [*] `alarm` is called\n"


class TestSuppression:
    def test_in_the_row_and_above(self, toy: Command) -> None:
        write(
            "a.ipynb",
            notebook(
                code("!ls", "alarm()  # torchlint: ignore[toy-alarm] here"),
                code("# torchlint: ignore[toy-alarm] below", "alarm()"),
                code("alarm()  # noqa: toy-alarm"),
            ),
        )
        assert toy("-q") == (0, "", "")

    def test_a_file_wide_one_in_the_first_cell(self, toy: Command) -> None:
        write("a.ipynb", notebook(code("# torchlint: ignore-file[toy-alarm] a demonstration"), code("alarm()")))
        assert toy("-q") == (0, "", "")

    def test_one_that_is_not_needed_is_taken_out(self, toy: Command) -> None:
        write("a.ipynb", notebook(code("x = 1", "# torchlint: ignore[toy-alarm] why", "y = 2", "z")))
        assert "a.ipynb:cell 1:2:1: unused-suppression [*]" in toy("-q")[1]
        assert toy("-q", "--fix")[0] == 0
        assert json.loads(Path("a.ipynb").read_bytes())["cells"][0]["source"] == ["x = 1\n", "y = 2\n", "z"]

    def test_below_a_magic_it_stands_in_its_own_row(self, toy: Command) -> None:
        write("a.ipynb", notebook(code("%%time", "# torchlint: ignore[toy-alarm]", "x = 1")))
        assert "a.ipynb:cell 1:2:1: unused-suppression" in toy("-q", "--output-format", "concise")[1]

    def test_comments_are_written_into_the_cells(self, toy: Command) -> None:
        before = write("a.ipynb", notebook(code("%time alarm()"), code("x", "alarm()"), words("x"), code("alarm()")))
        status, out, _ = toy("--add-ignore=", "-q", "--output-format", "concise")
        assert (status, out) == (1, "a.ipynb:cell 1:1:7: toy-alarm `alarm` is called\n")
        comment = b"alarm()  # torchlint: ignore[toy-alarm]"
        assert Path("a.ipynb").read_bytes() == before.replace(b'"alarm()"', b'"' + comment + b'"')


def test_a_baseline_knows_findings_in_cells(toy: Command) -> None:
    write("a.ipynb", notebook(code("alarm()"), code("x")))
    toy("--write-baseline", "known.json", "a.ipynb")
    write("a.ipynb", notebook(words("new"), code("y"), code("alarm()"), code("z = 1", "alarm(2)")))
    out = toy("--baseline", "known.json", "-q", "--output-format", "concise")[1]
    assert out == "a.ipynb:cell 4:2:1: toy-alarm [*] `alarm` is called\n"


# --------------------------------------------------------------------------------------------------------------- fixes


class TestFix:
    def test_only_the_rows_of_the_cell_change(self, torchlint: Command) -> None:
        cells = code(*IMPORTS, "%matplotlib inline"), code(*MODEL), code("%%time", *LOOP, "!nvidia-smi"), code("1")
        before = write("a.ipynb", notebook(*cells, words("end")))
        status, out, _ = torchlint("a.ipynb", "--fix")
        assert (status, out) == (0, "Fixed 1 finding.\n")
        row = b'    "    loss.backward()\\n",\n'
        assert Path("a.ipynb").read_bytes() == before.replace(row, b'    "    opt.zero_grad()\\n",\n' + row)

    def test_diff_names_the_cell(self, torchlint: Command) -> None:
        before = write("a.ipynb", notebook(words("x"), code(*IMPORTS, *MODEL), code(*LOOP)))
        status, out, _ = torchlint("a.ipynb", "--diff", "-q")
        assert status == 1
        assert out == (
            "--- a.ipynb:cell 3\n+++ a.ipynb:cell 3\n@@ -1,4 +1,5 @@\n for x, y in loader:\n"
            "     loss = loss_fn(model(x), y)\n+    opt.zero_grad()\n     loss.backward()\n     opt.step()\n"
        )
        assert Path("a.ipynb").read_bytes() == before

    def test_standard_input_comes_out_as_a_notebook(self, toy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        before = write("a.ipynb", notebook(code("alarm()", "é = 1"), words("x")), indent=2, ensure_ascii=True)
        for arguments, after in (((), None), (("--fix",), before.replace(b"alarm()", b"calm()"))):
            out = io.TextIOWrapper(io.BytesIO(), write_through=True)
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(before)))
            with monkeypatch.context() as streams:
                streams.setattr(sys, "stdout", out)
                with pytest.raises(SystemExit):
                    cli.main(["-", "--stdin-filename", "b.ipynb", "-q", *arguments])
            written = out.buffer.getvalue()  # type: ignore[attr-defined]
            assert b"b.ipynb:cell 1:1:1: toy-alarm" in written if after is None else written == after

    def test_unsafe_fixes_are_asked_for(self, toy: Command) -> None:
        write("a.ipynb", notebook(code("blaze()")))
        toy("--fix")
        assert json.loads(Path("a.ipynb").read_bytes())["cells"][0]["source"] == ["blaze()"]
        toy("--fix", "--unsafe-fixes")
        assert json.loads(Path("a.ipynb").read_bytes())["cells"][0]["source"] == ["calm()"]

    def test_what_a_magic_runs_is_left_to_the_user(self, toy: Command) -> None:
        before = write("a.ipynb", notebook(code("%time alarm()"), code("alarm()")))
        _, _, err = toy("--fix")
        assert "a.ipynb:cell 1:1:7: the fix of toy-alarm was left out: it would change what is not Python" in err
        assert Path("a.ipynb").read_bytes() == before.replace(b'"alarm()"', b'"calm()"')

    @pytest.mark.parametrize(
        "style",
        [
            {"indent": 1},
            {"indent": 2, "ensure_ascii": True},
            {"indent": 4, "sort_keys": True},
            {"indent": "\t"},
            {"indent": None},
            {"indent": None, "separators": (",", ":"), "ensure_ascii": True},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("listed", [True, False], ids=["list", "string"])
    @pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["", "bom"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
    @pytest.mark.parametrize("end", ["", "\n", "\n\n"], ids=["no-end", "end", "ends"])
    def test_the_file_keeps_its_manner(
        self, toy: Command, style: dict[str, Any], listed: bool, bom: str, newline: str, end: str
    ) -> None:
        rows = 's = "é 😀 \\"\\\\ \x07"', "alarm()", "", "t = 'é'; alarm()", "# ünd"
        cell = code(*rows) if listed else code(source="\n".join(rows))
        book = notebook(words("alarm()"), cell, code("x = 1"), signature="alarm()")
        text = json.dumps(book, **{"ensure_ascii": False, **style})
        before = (bom + text.replace("\n", newline) + end).encode()
        Path("a.ipynb").write_bytes(before)
        assert toy("--fix", "-q")[0] == 0
        head, tail = before.split(b"t = 'alarm"[:5], 1)  # the markdown comes first, the signature last
        first, place, _ = head.rpartition(b"alarm()")
        assert place
        tail = tail.replace(b"; alarm()", b"; calm()", 1)
        assert Path("a.ipynb").read_bytes() == first + b"calm()" + head[len(first) + len(place) :] + b"t = '" + tail

    def test_a_fix_that_would_break_a_cell_is_left_out(self, toy: Command) -> None:
        before = write("a.ipynb", notebook(code("  alarm(", "  )"), code("x = = 1")))
        toy("--fix")
        assert Path("a.ipynb").read_bytes() == before

    def test_the_cells_left_out_stay_left_out(self, toy: Command) -> None:
        before = write("a.ipynb", notebook(code("x = = alarm()"), code("alarm()"), code("%%bash", "alarm()")))
        status, out, _ = toy("--fix", "-q", "--output-format", "concise")
        assert (status, out) == (1, "a.ipynb:cell 1:1:5: syntax-error invalid syntax\n")
        assert Path("a.ipynb").read_bytes() == before.replace(b'"alarm()"', b'"calm()"', 1)


def test_edits_anywhere_change_only_their_cell() -> None:
    """Insertions, replacements and deletions of rows, at random, against the same on the text of the cell."""
    dice = random.Random(0)
    for _ in range(400):
        texts: list[str | None] = []
        for _ in range(dice.randint(1, 4)):
            rows = [dice.choice(["a = 1", "", "é = '😀'", "# b"]) for _ in range(dice.randint(1, 4))]
            texts.append(None if dice.random() < 0.2 else "\n".join(rows) + dice.choice(["", "\n"]))
        program = join(texts)
        if not program.cells:
            continue
        cell = dice.choice(program.cells)
        rows = cell.ended.split("\n")[:-1]
        if not rows:
            continue
        at = dice.randrange(len(rows))
        row = cell.row + 1 + at
        match dice.choice(["insert", "replace", "delete"]):
            case "insert":
                at = dice.randrange(len(rows) + 1)
                edit = TextEdit(Span(cell.row + 1 + at, 1, cell.row + 1 + at, 1), "new\n")
                rows.insert(at, "new")
            case "replace":
                edit = TextEdit(Span(row, 1, row, len(rows[at]) + 1), "new")
                rows[at] = "new"
            case _:
                edit = TextEdit(Span(row, 1, row + 1, 1), "")
                del rows[at]
        after = program.edited([edit])
        assert after is not None
        wanted = list(texts)
        wanted[cell.number - 1] = "\n".join(rows) + ("\n" if cell.text.endswith("\n") and rows else "")
        assert after.texts == wanted
        one = program.edit(edit)
        assert one is not None
        assert one.cell == cell.number
        assert one.span.end_row <= len(cell.text.split("\n"))  # what an editor is told stands in the cell


# -------------------------------------------------------------------------------------------------------------- magics

# A cell, and the Python that stands for it.
MAGICS = [
    ("!pip install torch\nx = 1", "pass\nx = 1"),
    ("%matplotlib inline", "pass"),
    ("%cd a \\\n  b\nx", "pass\n\nx"),
    ("files = !ls 'it\ny = 2", "files = get_ipython()\ny = 2"),
    ("a, b = %sql select\ny", "a, b = get_ipython()\ny"),
    ("x[f(a=1)] = !ls \\\n -l\ny", "x[f(a=1)] = get_ipython()\n\ny"),
    ("x = y = !ls", "x = y = !ls"),
    ("if x:\n    !pip install \\\n  foo\n    %cd x\ny", "if x:\n    pass\n\n    pass\ny"),
    ("obj?\nobj.a[0]??\n?obj\n%time?", "pass\npass\npass\npass"),
    ("# what?\n'what?'\nx = 'a' # b?", "# what?\n'what?'\nx = 'a' # b?"),
    ("x = '''\n!ls\n%time\nwhat?\n'''\n!ls", "x = '''\n!ls\n%time\nwhat?\n'''\npass"),
    ("f(a\n% b)\nx = y \\\n% z\n!ls", "f(a\n% b)\nx = y \\\n% z\npass"),
    ("%time loss = train(model)", "0;    loss = train(model)"),
    ("  %timeit -n 10 -r3 f(x)\n  y", "0;                f(x)\ny"),
    ("%prun -s cumulative f(a, \\\n  b)", "0;                  f(a, \\\n  b)"),
    ("%time for x in y:", "pass"),
    ("%%time\nx = 1", "pass\nx = 1"),
    ("\n%%capture out\n%%time\nx = 1", "\npass\npass\nx = 1"),
    ("%%bash\nls\n", "\n\n"),
    ("%%writefile a.py\nx = 1", "\n"),
    ("%%remote\nmodel.to(x)\n", "_ = model = remote = x = get_ipython(model, remote, x)\n\n"),
    ("# first\n%%time\nx = 1", "# first\npass\nx = 1"),
    ("    x = 1\n    y = 2", "x = 1\ny = 2"),
    (">>> for i in x:\n...     y\n...", "for i in x:\n    y\n"),
    ("In [1]: x = 1\n   ...: y = 2", "x = 1\ny = 2"),
    ("pip install foo", "pass"),
    ("ls = 1", "ls = 1"),
    ("# install\npip install foo", "# install\npip install foo"),
    ("x = 1;\n!ls;", "x = 1;\npass"),
    (",f a b\n/f a b\n;f a b", "pass\npass\npass"),
    ("x?\r\n!ls\r\ny = 'a'", "pass\r\npass\r\ny = 'a'"),
    ("x = a if b != c else d\ny %= 2\nz = -1 % 2\n!ls", "x = a if b != c else d\ny %= 2\nz = -1 % 2\npass"),
    ('x = "a\\\nb"\ny = r"\\"\nz = f"{x!r}"\n!ls', 'x = "a\\\nb"\ny = r"\\"\nz = f"{x!r}"\npass'),
    ("", ""),
    ("\n \n", "\n \n"),
]


@pytest.mark.parametrize(("cell", "python"), MAGICS, ids=[repr(cell) for cell, _ in MAGICS])
def test_magics_become_python_of_as_many_rows(cell: str, python: str) -> None:
    result = python_of(cell)
    assert "".join(result.rows) == python
    assert python.count("\n") == cell.count("\n")


@pytest.mark.parametrize(
    ("cell", "row", "column"),
    [
        ("!ls\nalarm()", 2, 1),
        ("%time x = alarm()", 1, 11),
        ("    x = 1\n    alarm()", 2, 5),
        (">>> x = 1\n>>> alarm()", 2, 5),
        ("%%time\n\nif x:\n    !ls\n    alarm()", 5, 5),
    ],
)
def test_columns_are_those_of_the_cell(cell: str, row: int, column: int, toy: Command) -> None:
    write("a.ipynb", notebook(words("x"), code("1"), code(*cell.split("\n"))))
    assert toy("-q", "--output-format", "concise")[1].startswith(f"a.ipynb:cell 3:{row}:{column}: toy-alarm")


# ------------------------------------------------------------------------------------------- what is wrong with a file


class TestBrokenCells:
    def test_the_error_names_the_cell_and_the_rest_is_linted(self, toy: Command) -> None:
        write("a.ipynb", notebook(code("alarm()"), code("!ls", "x = (", ""), code("  y = 1", "  alarm()")))
        assert [line.split(" ", 2)[:2] for line in toy("-q", "--output-format", "concise")[1].splitlines()] == [
            ["a.ipynb:cell", "1:1:1:"],
            ["a.ipynb:cell", "2:2:5:"],
            ["a.ipynb:cell", "3:2:3:"],
        ]

    def test_what_it_names_is_left_in_peace(self, torchlint: Command) -> None:
        """The optimizer may be cleared there: nobody knows."""
        write("a.ipynb", notebook(code(*IMPORTS, *MODEL), code("if x:", "opt.zero_grad()"), code(*LOOP)))
        assert [one["code"] for one in json.loads(torchlint("-q", "--output-format", "json")[1])] == ["syntax-error"]

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("print 1", "Missing parentheses"),
            ("x = '\ud800'", "half of a character"),
            ("x\0", "NUL|null bytes"),
            ("(" * 300 + ")" * 300, "nested too deeply"),
        ],
        ids=["python 2", "surrogate", "nul", "deep"],
    )
    def test_each_has_a_sentence(self, cell: str, message: str, toy: Command) -> None:
        write("a.ipynb", notebook(code(cell), code("alarm()")), ensure_ascii=True)
        found = json.loads(toy("-q", "--output-format", "json")[1])
        assert [(one["code"], one["cell"]) for one in found] == [("syntax-error", 1), ("toy-alarm", 2)]
        assert any(part in found[0]["message"] for part in message.split("|"))

    def test_newer_syntax_is_none(self, toy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def old_python(*_: object, **__: object) -> None:
            raise SyntaxError("invalid syntax")

        monkeypatch.setattr(syntax, "compile", old_python, raising=False)
        write("a.ipynb", notebook(code("x = 1")))
        assert toy("-q") == (0, "", "")

    @pytest.mark.parametrize("cell", ["await x", "async with a as b:\n    alarm", "return 1", "[x async for x in y]"])
    def test_what_ipython_runs_is_none(self, cell: str, toy: Command) -> None:
        write("a.ipynb", notebook(code(cell)))
        assert toy("-q") == (0, "", "")

    def test_an_encoding_in_a_cell_says_nothing(self, toy: Command) -> None:
        write("a.ipynb", notebook(code("# -*- coding: latin-1 -*-", "é = 'é'; alarm()")))
        assert "a.ipynb:cell 1:2:10: toy-alarm" in toy("-q")[1]


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b'{"cells": [\n  {"source": }\n]}', "2:14", "is not a notebook, which is JSON: Expecting a string"),
        (b'{"cells": []', "1:13", "Expecting ',' delimiter"),
        (b'{"cells": []} x', "1:15", "Extra data"),
        (b"[]", "1:1", "Expecting '{'"),
        (b"x = 1\n", "1:1", "Expecting '{'"),
        (b'{"cells": {}}', "1:11", "Expecting '['"),
        (b'{"cells": [1]}', "1:12", "Expecting '{'"),
        (b'{"nbformat": 4}', "1:1", "there is no list of cells"),
        (b'{"cells": [{"cell_type": "code", "source": 1}]}', "1:44", "Expecting a string of the cell's source"),
        (b'{"cells": [],\n"x": ' + b"[" * 100_000, "1:1", "nested too deeply"),
        (b"\xff\xfe{}", "1:1", "not valid utf-8"),
    ],
)
def test_a_file_that_is_no_notebook_gets_its_place(data: bytes, place: str, message: str, toy: Command) -> None:
    Path("a.ipynb").write_bytes(data)
    status, out, err = toy("-q", "--output-format", "concise")
    assert status == 1
    assert out.startswith(f"a.ipynb:{place}: ")
    assert message in out
    assert err == ""


@pytest.mark.parametrize("data", [b"", b"\n", b'{"cells": []}', b'{"metadata": {}, "cells": [ ]}\n'])
def test_an_empty_notebook_is_fine(data: bytes, toy: Command) -> None:
    Path("a.ipynb").write_bytes(data)
    assert toy() == (0, "All checks passed: 1 file.\n", "")


@pytest.mark.parametrize(
    ("metadata", "linted"),
    [
        (PYTHON, True),
        ({}, True),
        (None, True),
        ({"kernelspec": {"name": "python3"}}, True),
        ({"kernelspec": {"language": "julia", "name": "julia-1.6"}}, False),
        ({"language_info": {"name": "R"}, "kernelspec": {"name": "ir"}}, False),
        ({"language_info": {"name": "ipython", "version": 3}}, True),
    ],
    ids=str,
)
def test_other_languages_are_left_out_for_who_asks(metadata: Any, linted: bool, toy: Command) -> None:
    write("a.ipynb", notebook(code("alarm()"), metadata=metadata))
    status, out, err = toy("-v", "--output-format", "concise")
    assert ("toy-alarm" in out) == bool(status) == linted
    assert ("a.ipynb: skipped, its language is" in err) == (not linted)
    assert "language" not in toy()[2]


def test_a_pointer_of_git_lfs_is_named(toy: Command) -> None:
    Path("a.ipynb").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert toy("-q", "a.ipynb")[0] == 0
    assert "a.ipynb: skipped, is a pointer to the notebook, which `git lfs pull` fetches" in toy("a.ipynb")[2]


def test_cells_without_python_are_passed_over(toy: Command) -> None:
    raw = {"cell_type": "raw", "metadata": {}, "source": ["alarm()"]}
    other = code("alarm() {", metadata={"vscode": {"languageId": "rust"}})
    own = code("alarm()", metadata={"vscode": {"languageId": "python"}}, id="a1")
    write("a.ipynb", notebook(raw, words("alarm()"), other, own))
    assert toy("-q", "--output-format", "concise")[1].startswith("a.ipynb:cell 4:1:1: toy-alarm")


def test_format_3_is_read_and_written(toy: Command) -> None:
    cells = [
        {"cell_type": "heading", "level": 1, "source": ["alarm()"]},
        {"cell_type": "code", "collapsed": False, "input": ["x = 1\n", "alarm()"], "language": "python", "outputs": []},
    ]
    book = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}
    before = write("a.ipynb", book)
    assert "a.ipynb:cell 2:2:1: toy-alarm" in toy("-q")[1]
    toy("--fix")
    head, _, tail = before.rpartition(b'"alarm()"')
    assert Path("a.ipynb").read_bytes() == head + b'"calm()"' + tail


def test_of_a_key_that_stands_twice_the_last_counts(toy: Command) -> None:
    cell = b'{"cell_type": "code", "source": "x = 1", "source": "alarm()"}'
    Path("a.ipynb").write_bytes(b'{"cells": [], "cells": [' + cell + b"]}")
    toy("--fix")
    assert Path("a.ipynb").read_bytes() == b'{"cells": [], "cells": [' + cell.replace(b"alarm", b"calm") + b"]}"


def test_the_size_limit_is_for_the_code(toy: Command) -> None:
    plot = {**PLOT, "data": {"image/png": "A" * 3_000_000}}
    write("a.ipynb", notebook(code("alarm()", outputs=[plot]), code("x = 1")))
    assert toy("-q")[0] == 1
    assert "a.ipynb: skipped, larger than max-file-size" in toy("--no-cache", "--config", "max-file-size=10")[2]


# ----------------------------------------------------------------------------------------------------- without a file


def test_an_editor_needs_no_file() -> None:
    program = join(["import torch", None, "!ls\nx = 1\n", "y = (", ""])
    assert program.text == "# %%\nimport torch\n# %%\npass\nx = 1\n# %%\n_ = y = get_ipython(y)\n# %%\n"
    assert [(one.row, one.column) for one in program.problems] == [(7, 5)]
    (found,) = engine.analyse(Source.joined("a.ipynb", program), registry.load())
    placed = program.placed(found)
    assert (placed.code, placed.cell, placed.span.row) == ("syntax-error", 4, 1)


def test_what_ipynb_reads_is_what_is_in_the_file(tmp_path: Path) -> None:
    book = notebook(code('s = "\\t"', "é\u2028"), words("x"), code(source="a\nb"))
    read = ipynb.read(json.dumps(book).encode())
    assert read.texts == ['s = "\\t"\né\u2028', None, "a\nb"]
    assert read.edited(read.texts) is read
    with pytest.raises(SourceError):
        ipynb.read(b"{")
    with pytest.raises(SkippedError):
        ipynb.read(json.dumps(notebook(metadata={"language_info": {"name": "R"}})).encode())


def test_what_is_spelled_oddly_stays_so() -> None:
    """Escapes that nobody needs, in the rows and in the parts of a string that a fix does not touch."""
    string = '{"cells":[{"cell_type":"code","source":"\\u003ca\\/b\\u003e # \\ud83d\\ude00\\nalarm()\\n\\u0041"}]}'
    read = ipynb.read(string.encode())
    assert read.texts == ["<a/b> # 😀\nalarm()\nA"]
    assert read.edited(["<a/b> # 😀\ncalm()\nA"]).json == string.replace("alarm", "calm")
    listed = '{"cells":[{"cell_type":"code","source":[ "\\u003ca\\n" ,"alarm()\\n",  "\\u0041"\n]}]}'
    read = ipynb.read(listed.encode())
    assert read.edited(["<a\nnew\ncalm()\nA"]).json == listed.replace(
        '\\n" ,"alarm()\\n"', '\\n",  "new\\n",  "calm()\\n"'
    )
    whole = '{"cells":[{"cell_type":"code","source":["a\\nalarm()\\n"]}]}'
    assert ipynb.read(whole.encode()).edited(["a\ncalm()\n"]).json == whole.replace("alarm", "calm")


def cases() -> Iterator[tuple[list[str], list[str]]]:
    dice = random.Random(1)
    rows = ["a\n", "b\n", "é\n", '"\\\n', "\n", "😀\n"]
    for _ in range(300):
        old = [dice.choice(rows) for _ in range(dice.randint(1, 6))]
        new = old[:]
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(new) + 1)
            new[at : at + dice.randint(0, 2)] = [dice.choice(rows) for _ in range(dice.randint(0, 2))]
        yield old, new


def test_any_change_is_read_back_as_it_was_written() -> None:
    for old, new in cases():
        for source in (old, "".join(old)):
            book = notebook(words("é"), code(source=source), code("y"))
            for style in ({"indent": 1, "ensure_ascii": False}, {"ensure_ascii": True}):
                text = json.dumps(book, **style)  # type: ignore[arg-type]
                after = ipynb.read(text.encode()).edited([None, "".join(new), "y"])
                wanted = "".join(new) if isinstance(source, str) else new
                book_after = notebook(words("é"), code(source=wanted), code("y"))
                assert json.loads(after.json) == book_after
                assert after.json == json.dumps(book_after, **style) or not new  # type: ignore[arg-type]
