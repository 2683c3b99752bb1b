"""`--since` and `--shard` as CI uses them: real repositories of Git, real runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shell import HEAD, MOVE, SAVE, environment, found, torchlint, write

from torchlint import changes
from torchlint.config import ConfigError
from torchlint.files import Shard

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

TRAIN = """import torch


def train(model, loader):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for points, labels in loader:
        optimizer.zero_grad()
        scores = model(points)

        loss = torch.nn.functional.cross_entropy(scores, labels)
        loss.backward()
        optimizer.step()
"""


def git(*arguments: str, cwd: str | Path = ".") -> str:
    settings = ("user.name=a", "user.email=a@b.c", "protocol.file.allow=always", "init.defaultBranch=main")
    options = [part for setting in settings for part in ("-c", setting)]
    variables = {**environment(), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *options, *arguments], cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(message: str = "change", cwd: str | Path = ".") -> None:
    git("add", "-A", cwd=cwd)
    git("commit", "-q", "-m", message, cwd=cwd)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file that has two findings, committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "-q")
    write("a.py", HEAD, MOVE, SAVE)
    write(".gitignore", ".torchlint_cache\n")
    commit("first")
    return folder


def since(*arguments: str, rev: str = "HEAD", cwd: str | Path = ".") -> list[str]:
    done = torchlint("--since", rev, *arguments, cwd=cwd)
    assert done.code in (0, 1), done.err
    return found(done)


class TestSince:
    def test_only_what_changed_is_told(self, repository: Path) -> None:
        assert since() == []
        write("a.py", HEAD, "# moved\n", MOVE, SAVE, "x.cuda()\n")
        assert since() == ["a.py:7 tensor-move-discarded"]
        git("add", "-A")  # staged or not
        assert since() == ["a.py:7 tensor-move-discarded"]
        commit()
        assert since() == []
        assert since(rev="HEAD~1") == ["a.py:7 tensor-move-discarded"]
        assert torchlint("--since", "HEAD").code == 0

    def test_what_others_did_on_the_main_branch_is_not_mine(self, repository: Path) -> None:
        git("checkout", "-q", "-b", "mine")
        write("b.py", HEAD, MOVE)
        commit()
        git("checkout", "-q", "main")
        write("a.py", HEAD)
        commit()
        git("checkout", "-q", "mine")
        assert since(rev="main") == ["b.py:4 tensor-move-discarded"]

    def test_files_git_does_not_track_are_new(self, repository: Path) -> None:
        write(".gitignore", "ignored.py\n.torchlint_cache\n")
        write("new file.py", HEAD, MOVE)
        write("ignored.py", HEAD, MOVE)
        assert since() == ["new file.py:4 tensor-move-discarded"]
        assert since("ignored.py") == ["ignored.py:4 tensor-move-discarded"]

    @pytest.mark.parametrize(
        "name", ["sp ace.py", 'quo"te.py', "tab\there.py", "café日本.py", "back\\slash.py", "b/a.py"]
    )
    def test_names_that_git_quotes(self, repository: Path, name: str) -> None:
        write(name, HEAD, SAVE)
        commit()
        write(name, HEAD, MOVE, SAVE)
        (one,) = torchlint("--since", "HEAD").out.splitlines()[:-1]
        assert ":4:1: tensor-move-discarded" in one

    def test_a_renamed_file_has_only_its_changes(self, repository: Path) -> None:
        filler = "".join(f"y{number} = {number}\n" for number in range(30))
        write("a.py", HEAD, MOVE, filler)
        commit()
        Path("sub").mkdir()
        git("mv", "a.py", "sub/b.py")
        assert since() == []
        write("sub/b.py", HEAD, MOVE, filler, MOVE)
        assert since() == ["sub/b.py:35 tensor-move-discarded"]

    def test_content_that_looks_like_a_diff(self, repository: Path) -> None:
        strange = "'''\n++ b/z.py\n-- a/z.py\n@@ -1 +1 @@\n'''\n"
        write("a.py", HEAD, strange, SAVE)
        write("z.py", HEAD, MOVE)
        commit()
        write("a.py", HEAD, strange.replace("z", "y"), MOVE, SAVE)
        assert since() == ["a.py:9 tensor-move-discarded"]

    def test_final_newlines_that_come_and_go(self, repository: Path) -> None:
        write("a.py", HEAD, MOVE.rstrip())
        write("b.py", HEAD, MOVE)
        commit()
        write("a.py", HEAD, MOVE, "y = 1")
        write("b.py", HEAD, MOVE.rstrip())
        write("c.py", HEAD, MOVE)
        assert since() == [f"{name}.py:4 tensor-move-discarded" for name in "abc"]

    def test_binary_files_and_modes_are_no_matter(self, repository: Path) -> None:
        Path("data.bin").write_bytes(bytes(range(256)))
        commit()
        Path("data.bin").write_bytes(bytes(range(255, -1, -1)))
        Path("a.py").chmod(0o755)
        assert since() == []

    def test_settings_of_the_user_do_not_matter(self, repository: Path) -> None:
        for key, value in (
            ("diff.noprefix", "true"),
            ("color.ui", "always"),
            ("diff.external", "false"),
            ("diff.context", "9"),
            ("diff.mnemonicPrefix", "true"),
            ("diff.orderFile", "order"),
        ):
            git("config", key, value)
        write("order", "*.txt\n")
        write("a.py", HEAD, "# moved\n", MOVE, SAVE, "x.cuda()\n")
        assert since() == ["a.py:7 tensor-move-discarded"]

    def test_a_header_or_a_related_row_that_changed_counts(self, repository: Path) -> None:
        write("a.py", HEAD, "x.to(\n    'cuda',\n)\n")
        write("b.py", TRAIN.replace("        optimizer.zero_grad()\n", ""))
        commit()
        write("a.py", HEAD, "x.to(\n    'cuda:0',\n)\n")
        text = Path("b.py").read_text()
        write("b.py", text.replace("optimizer.step()", "optimizer.step()  # steps"))
        assert since() == ["a.py:4 tensor-move-discarded", "b.py:10 missing-zero-grad"]
        write("b.py", text.replace("lr=0.1", "lr=0.2"))
        assert since("b.py") == []

    def test_where_rows_were_taken_out_their_block_counts(self, repository: Path) -> None:
        write("b.py", TRAIN, "\n\n", TRAIN.partition("\n\n\n")[2].replace("train", "again"))
        commit()
        write("b.py", Path("b.py").read_text().replace("        optimizer.zero_grad()\n", "", 1))
        assert since() == ["b.py:10 missing-zero-grad"]
        # At the top of a module only the neighbours: the rest is not one thought.
        write("a.py", "import torch\n\n", MOVE, SAVE)
        assert since("a.py") == []

    def test_in_a_subfolder(self, repository: Path) -> None:
        write("sub/b.py", HEAD, MOVE)
        write("a.py", HEAD, MOVE, SAVE, "x.cuda()\n")
        assert since(cwd="sub") == ["b.py:4 tensor-move-discarded"]
        assert since("..", cwd="sub") == ["../a.py:6 tensor-move-discarded", "../sub/b.py:4 tensor-move-discarded"]
        assert since(str(repository / "a.py"), cwd="sub") == [f"{repository}/a.py:6 tensor-move-discarded"]
        assert since(str(repository / "a.py"), cwd="/") == [f"{repository}/a.py:6 tensor-move-discarded"]

    def test_submodules(self, repository: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        git("init", "-q", cwd=other)
        write(str(other / "m.py"), HEAD, MOVE, SAVE)
        commit(cwd=other)
        git("submodule", "add", "-q", str(other), "sub")
        commit()
        assert since() == []
        write("sub/m.py", HEAD, MOVE, SAVE, "x.cuda()\n")
        write("sub/new.py", HEAD, MOVE)
        assert since() == ["sub/m.py:6 tensor-move-discarded", "sub/new.py:4 tensor-move-discarded"]
        commit(cwd="sub")
        assert since() == ["sub/m.py:6 tensor-move-discarded", "sub/new.py:4 tensor-move-discarded"]
        assert since("sub/m.py", rev="HEAD~1", cwd=".") != []

    def test_cells_of_a_notebook(self, repository: Path) -> None:
        def notebook(*cells: str) -> None:
            code = [
                {"cell_type": "code", "metadata": {}, "outputs": [], "source": cell.splitlines(True)} for cell in cells
            ]
            write("n.ipynb", json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1))

        notebook(HEAD + MOVE, SAVE + "y = 1\n")
        commit()
        assert since() == []
        notebook(HEAD + MOVE, "x.cuda()\n" + SAVE + "y = 1\n")
        done = torchlint("--since", "HEAD")
        assert done.out.splitlines()[0].startswith("n.ipynb:cell 2:1:1: tensor-move-discarded")
        assert len(done.out.splitlines()) == 2

    def test_only_what_counts_is_mended(self, repository: Path) -> None:
        write("a.py", HEAD, "x.cuda()\n", MOVE, SAVE)
        done = torchlint("--since", "HEAD", "--fix")
        assert done.code == 0
        assert Path("a.py").read_text() == f"{HEAD}x = x.cuda()\n{MOVE}{SAVE}"

    def test_with_a_baseline(self, repository: Path) -> None:
        torchlint("--write-baseline", "known.json")
        write("a.py", HEAD, MOVE, "x.cuda()\n")
        done = torchlint("--since", "HEAD", "--baseline", "known.json")
        assert found(done) == ["a.py:5 tensor-move-discarded", "known.json:9 unneeded-baseline-entry"]

    def test_a_finding_elsewhere_stays_out(self, repository: Path) -> None:
        write("helper.py", "def step(optimizer):\n    optimizer.step()\n    optimizer.zero_grad()\n")
        write("b.py", TRAIN.replace("optimizer.zero_grad()", "pass").replace("optimizer.step()", "step(optimizer)"))
        write("b.py", "from helper import step\n", Path("b.py").read_text())
        commit()
        assert torchlint("b.py").code == 0
        write("helper.py", "def step(optimizer):\n    optimizer.step()\n")
        assert found(torchlint("b.py")) == ["b.py:12 missing-zero-grad"]
        assert since() == []


class TestNoAnswer:
    def refused(self, *arguments: str, cwd: str | Path = ".") -> str:
        done = torchlint("--since", *arguments, cwd=cwd)
        assert (done.code, done.out) == (2, "")
        return done.err

    def test_a_bad_revision(self, repository: Path) -> None:
        assert "--since: there is no revision `nowhere`" in self.refused("nowhere")
        assert "--since: there is no revision `--all`" in self.refused("--all")

    def test_no_repository(self, tmp_path: Path) -> None:
        write(str(tmp_path / "a.py"), HEAD)
        assert f"--since: {tmp_path} is in no Git repository" in self.refused("HEAD", cwd=tmp_path)

    def test_no_commit(self, tmp_path: Path) -> None:
        git("init", "-q", cwd=tmp_path)
        write(str(tmp_path / "a.py"), HEAD)
        assert "there is no revision `HEAD`" in self.refused("HEAD", cwd=tmp_path)

    def test_no_git(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(repository))
        assert "there is no `git` to ask" in self.refused("HEAD")

    def test_a_shallow_clone(self, repository: Path, tmp_path: Path) -> None:
        git("checkout", "-q", "-b", "mine")
        write("b.py", HEAD)
        commit()
        git("checkout", "-q", "main")
        write("c.py", HEAD)
        commit()
        git("clone", "-q", "--depth", "1", "--no-single-branch", f"file://{repository}", str(tmp_path / "clone"))
        clone = tmp_path / "clone"
        assert "this clone is shallow: `git fetch --unshallow`" in self.refused("HEAD~1", cwd=clone)
        assert "no common history; this clone is shallow" in self.refused("origin/mine", cwd=clone)

    def test_a_file_outside(self, repository: Path, tmp_path: Path) -> None:
        write("../b.py", HEAD)
        assert f"{tmp_path} is in no Git repository" in self.refused("HEAD", "../b.py", "a.py")
        Path("link.py").symlink_to("../b.py")
        assert f"{tmp_path}/b.py is outside the repository {repository}" in self.refused("HEAD", "link.py")

    def test_standard_input(self, repository: Path) -> None:
        assert "--since is for files, and cannot go with standard input" in self.refused("HEAD", "-")


def test_the_block_of_rows_that_went() -> None:
    rows = ["def f():\n", "    a\n", "    if b:\n", "        c\n", "\n", "    d\n", "e\n"]
    block = changes._block(rows, changes._Hunk(3, 0, [b"    gone\n"]))
    assert block == range(2, 7)
    assert changes._block(rows, changes._Hunk(5, 0, [b"        gone\n"])) == range(4, 6)
    assert changes._block(rows, changes._Hunk(8, 0, [b"gone\n"])) == range(8, 8)
    assert changes._block([], changes._Hunk(8, 0, [b" gone\n"])) == range(8, 8)


class TestShard:
    @pytest.mark.parametrize("of", [1, 2, 3])
    def test_the_parts_are_the_whole(self, of: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        shutil.copytree(FIXTURES / "projects", "projects")
        whole = torchlint("projects").out.splitlines()[:-1]
        assert len(whole) > 15
        parts = [
            torchlint("projects", "--shard", f"{number}/{of}").out.splitlines()[:-1] for number in range(1, of + 1)
        ]
        assert sorted(row for part in parts for row in part) == sorted(whole)

    def test_a_new_file_moves_no_other(self) -> None:
        names = [f"src/{number}.py" for number in range(200)]
        shards = [Shard(number, 4) for number in range(1, 5)]
        parts = [shard.part(names, Path()) for shard in shards]
        assert sorted(name for part in parts for name in part) == sorted(names)
        assert min(map(len, parts)) > 30
        more = [shard.part([*names, "src/new.py"], Path()) for shard in shards]
        assert [[name for name in part if name != "src/new.py"] for part in more] == parts
        for shard in shards:  # named from the root, wherever one stands
            assert len(shard.part(["../x/src/1.py"], Path("../x"))) == len(shard.part(["src/1.py"], Path()))

    def test_a_part_without_files_is_fine(self, tmp_path: Path) -> None:
        write(str(tmp_path / "a.py"), HEAD)
        dones = [torchlint("--shard", f"{number}/2", cwd=tmp_path) for number in (1, 2)]
        assert sorted(done.out for done in dones) == [
            "All checks passed: 1 file.\n",
            "Nothing was checked: no files.\n",
        ]
        assert [(done.code, done.err) for done in dones] == [(0, "")] * 2

    @pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "-1/2", "1/0", "1/2/3", "1.5/2"])
    def test_what_is_no_part_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="--shard: must be I/N with I from 1 to N, such as 2/5; it is"):
            Shard.read(text)

    def test_the_refusal_is_no_traceback(self, tmp_path: Path) -> None:
        write(str(tmp_path / "a.py"), HEAD)
        done = torchlint("--shard", "3/2", cwd=tmp_path)
        assert (done.code, done.err) == (
            2,
            "torchlint: --shard: must be I/N with I from 1 to N, such as 2/5; it is '3/2'\n",
        )
