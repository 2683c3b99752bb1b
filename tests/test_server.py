"""`torchlint server`, through a real client: what an editor sends, and what it gets to show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_lsp
from lsprotocol import types
from pygls.exceptions import JsonRpcRequestCancelled
from pygls.protocol import default_converter
from pygls.workspace import PositionCodec
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities
from pytest_lsp.client import register_lsp_features

from torchlint.server import places, settings
from torchlint.server.documents import Document
from torchlint.text import line_starts

HERE = Path(__file__).parent.parent
FIXTURES = HERE / "fixtures"
SERVER = [sys.executable, "-m", "torchlint", "server"]
PATIENCE = 30.0  # seconds; a busy machine is no failure

session = pytest.mark.asyncio(loop_scope="module")


class Editor(LanguageClient):
    """A client that opens, edits and closes documents, and keeps what it is told to show."""

    def __init__(self) -> None:
        super().__init__(converter_factory=default_converter)
        register_lsp_features(self)
        self.texts: dict[str, tuple[int, str]] = {}
        self.published: dict[str, types.PublishDiagnosticsParams] = {}
        self.applied: list[types.ApplyWorkspaceEditParams] = []
        self.traces: list[str] = []
        self.registered: list[types.Registration] = []
        self.news = asyncio.Event()
        features = self.protocol.fm.features
        del features[types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS]

        @self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.published[params.uri] = params
            self.news.set()

        @self.feature(types.WORKSPACE_APPLY_EDIT)
        def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            self.applied.append(params)
            return types.ApplyWorkspaceEditResult(applied=True)

        @self.feature(types.CLIENT_REGISTER_CAPABILITY)
        def register(params: types.RegistrationParams) -> None:
            self.registered.extend(params.registrations)

        @self.feature(types.LOG_TRACE)
        def trace(params: types.LogTraceParams) -> None:
            self.traces.append(params.message)

    def open(self, uri: str, text: str, language: str = "python") -> str:
        self.texts[uri] = 1, text
        self.text_document_did_open(types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, language, 1, text)))
        return uri

    def open_file(self, path: Path, text: str | None = None) -> str:
        return self.open(path.as_uri(), path.read_text() if text is None else text)

    def change(self, uri: str, *changes: types.TextDocumentContentChangeEvent, text: str = "") -> None:
        version = self.texts[uri][0] + 1
        self.texts[uri] = version, text
        document = types.VersionedTextDocumentIdentifier(version, uri)
        changes = changes or (types.TextDocumentContentChangeWholeDocument(text),)
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, changes))

    def save(self, uri: str) -> None:
        self.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def close(self, uri: str) -> None:
        self.texts.pop(uri, None)
        self.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def watched(self, *changes: tuple[Path, types.FileChangeType]) -> None:
        events = [types.FileEvent(path.as_uri(), kind) for path, kind in changes]
        self.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams(events))

    def configured(self, **values: Any) -> None:
        self.workspace_did_change_configuration(types.DidChangeConfigurationParams({"torchlint": values}))

    async def until(self, told: Callable[[], Any]) -> None:
        """Waits for the server to say something; fails where it never does."""
        end = time.monotonic() + PATIENCE
        while not told():
            self.news.clear()
            left = end - time.monotonic()
            assert left > 0, f"the server never said so; last: {self.published}, {self.messages}, {self.log_messages}"
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.news.wait(), min(left, 0.05))

    async def shown(self, uri: str) -> list[types.Diagnostic]:
        """The diagnostics of the text as it is now."""
        version = self.texts[uri][0]
        await self.until(lambda: uri in self.published and self.published[uri].version == version)
        return list(self.published[uri].diagnostics)

    async def codes(self, uri: str) -> list[Any]:
        return [one.code for one in await self.shown(uri)]

    async def becomes(self, uri: str, codes: list[str]) -> None:
        """Waits until a document shows these findings."""
        await self.until(lambda: [d.code for d in self.published[uri].diagnostics] == codes)

    async def actions(self, uri: str, place: types.Range, *only: str) -> list[types.CodeAction]:
        shown = [d for d in self.published[uri].diagnostics if d.range == place]
        context = types.CodeActionContext(shown, only=list(only) or None)
        params = types.CodeActionParams(types.TextDocumentIdentifier(uri), place, context)
        found = await self.text_document_code_action_async(params)
        return [one for one in found or [] if isinstance(one, types.CodeAction)]

    async def hover(self, uri: str, line: int, character: int) -> str | None:
        position = types.Position(line, character)
        params = types.HoverParams(types.TextDocumentIdentifier(uri), position)
        found = await self.text_document_hover_async(params)
        assert found is None or isinstance(found.contents, types.MarkupContent)
        return found.contents.value if found is not None else None

    async def start(self, folder: Path, like: str = "visual-studio-code", **options: Any) -> types.InitializeResult:
        capabilities = client_capabilities(like)
        if options.pop("pulls", False):
            assert capabilities.text_document is not None
            assert capabilities.workspace is not None
            capabilities.text_document.diagnostic = types.DiagnosticClientCapabilities()
            capabilities.workspace.diagnostics = types.DiagnosticWorkspaceClientCapabilities(refresh_support=True)
        sync = types.NotebookDocumentSyncClientCapabilities()
        capabilities.notebook_document = types.NotebookDocumentClientCapabilities(sync)
        encodings = options.pop("encodings", None)
        if encodings is not None:
            capabilities.general = types.GeneralClientCapabilities(position_encodings=encodings)
        return await self.initialize_session(
            types.InitializeParams(
                capabilities=capabilities,
                root_uri=folder.as_uri(),
                workspace_folders=[types.WorkspaceFolder(folder.as_uri(), "project")],
                **options,
            )
        )


@pytest_lsp.fixture(config=ClientServerConfig(SERVER, Editor), scope="module")
async def editor(lsp_client: Editor, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text("[tool.torchlint]\n")
    lsp_client.folder = folder  # type: ignore[attr-defined]
    await lsp_client.start(folder)
    yield
    await lsp_client.shutdown_session()


@pytest.fixture
def folder(editor: Editor, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own in the workspace."""
    found: Path = editor.folder / request.node.name.replace("[", "_").rstrip("]")  # type: ignore[attr-defined]
    found.mkdir()
    return found


BAD = (FIXTURES / "missing_zero_grad" / "bad.py").read_text()
GOOD = (FIXTURES / "missing_zero_grad" / "good.py").read_text()


def place(row: int, column: int, end_row: int, end_column: int) -> types.Range:
    """From rows and columns as torchlint's JSON has them."""
    return types.Range(types.Position(row - 1, column - 1), types.Position(end_row - 1, end_column - 1))


def edited(text: str, edits: list[types.TextEdit]) -> str:
    """The text with edits put in, as an editor does."""
    starts = [*line_starts(text), len(text)]
    for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
        start, end = (starts[p.line] + p.character for p in (edit.range.start, edit.range.end))
        text = text[:start] + edit.new_text + text[end:]
    return text


def edits_of(edit: types.WorkspaceEdit | None, uri: str) -> list[types.TextEdit]:
    assert edit is not None
    if edit.document_changes is None:
        return list((edit.changes or {})[uri])
    (one,) = edit.document_changes
    assert isinstance(one, types.TextDocumentEdit)
    assert one.text_document.uri == uri
    return [e for e in one.edits if isinstance(e, types.TextEdit)]


def torchlint(*arguments: str, cwd: Path | None = None, text: str | None = None) -> str:
    """What the command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "torchlint", *arguments],
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------------------------- findings


@session
async def test_findings_follow_the_typing(editor: Editor, folder: Path) -> None:
    uri = editor.open_file(folder / "train.py", BAD)
    (found,) = await editor.shown(uri)
    assert (found.code, found.source, found.severity) == (
        "missing-zero-grad",
        "torchlint",
        types.DiagnosticSeverity.Error,
    )
    assert found.message.startswith("gradients of `optimizer` are never cleared in this loop\nEach backward adds")
    assert [one.message for one in found.related_information or []] == [
        "`optimizer` steps on the accumulated gradients here"
    ]
    assert found.data["fix"]["applicability"] == "safe"
    start = found.range.start
    indent = " " * start.character
    row = types.Range(types.Position(start.line, 0), types.Position(start.line, 0))
    editor.change(uri, types.TextDocumentContentChangePartial(row, f"{indent}optimizer.zero_grad()\n"))
    assert await editor.codes(uri) == []
    taken = types.Range(row.start, types.Position(start.line + 1, 0))
    editor.change(uri, types.TextDocumentContentChangePartial(taken, ""))
    assert await editor.codes(uri) == ["missing-zero-grad"]
    editor.close(uri)
    await editor.until(lambda: not editor.published[uri].diagnostics)


@session
async def test_only_the_last_of_many_keystrokes_is_answered(editor: Editor, folder: Path) -> None:
    uri = editor.open_file(folder / "train.py", BAD)
    await editor.shown(uri)
    seen: list[int | None] = []
    before = editor.news.set
    editor.news.set = lambda: (seen.append(editor.published[uri].version), before())[1]  # type: ignore[method-assign,func-returns-value]
    end = types.Position(10_000, 0)
    for _ in range(30):
        editor.change(uri, types.TextDocumentContentChangePartial(types.Range(end, end), "#"))
    assert await editor.codes(uri) == ["missing-zero-grad"]
    editor.news.set = before  # type: ignore[method-assign]
    assert seen[-1] == 31
    assert len(seen) < 5


@session
async def test_the_findings_are_those_of_the_command(editor: Editor) -> None:
    """Over every bad program, the same findings, places and severities as `torchlint --output-format json`."""
    bad = sorted([*FIXTURES.glob("*/bad*.py"), *FIXTURES.glob("projects/*/*.py")])
    assert len(bad) > 300
    said: dict[str, list[Any]] = {path.as_uri(): [] for path in bad}
    for one in json.loads(torchlint("--output-format=json", "--isolated", "--no-cache", *map(str, bad), cwd=HERE)):
        span = place(*(one[at][key] for at in ("location", "end_location") for key in ("row", "column")))
        level = {"error": 1, "warning": 2, "info": 3}[one["severity"]]
        fix = one["fix"] and [(e["content"], e["location"]["row"]) for e in one["fix"]["edits"]]
        said[Path(one["filename"]).as_uri()].append((one["code"], span, level, fix))
    for path in bad:
        editor.open_file(path)
    shown = {}
    for path in bad:
        uri = path.as_uri()
        found = await editor.shown(uri)
        shown[uri] = [
            (
                one.code,
                one.range,
                one.severity.value if one.severity else 0,
                one.data and [(e["newText"], e["range"]["start"]["line"] + 1) for e in one.data["fix"]["edits"]],
            )
            for one in found
        ]
    for path in bad:
        editor.close(path.as_uri())
    assert shown == said


@pytest.mark.parametrize("encodings", [["utf-8"], ["utf-32"], ["utf-16", "utf-8"], []], ids="-".join)
@session
async def test_columns_are_counted_as_was_agreed(encodings: list[str], tmp_path: Path) -> None:
    kinds = [types.PositionEncodingKind(one) for one in encodings]
    client = Editor()
    await client.start_io(*SERVER)
    answer = await client.start(tmp_path, encodings=kinds)
    assert answer.capabilities.position_encoding == (kinds[0] if kinds else types.PositionEncodingKind.Utf16)
    text = "import torch\n\nmodel = torch.nn.Linear(2, 2)\nprint('😀 損失'); torch.save(model, 'model.pt')\n"
    uri = client.open_file(tmp_path / "a.py", text)
    (found,) = await client.shown(uri)
    assert found.code == "whole-model-save"
    row = text.splitlines()[3]
    at = row.index("torch.save")
    name = encodings[0] if encodings else "utf-16"
    units = {"utf-8": len(row[:at].encode()), "utf-16": len(row[:at].encode("utf-16-le")) // 2, "utf-32": at}[name]
    assert found.range.start == types.Position(3, units)
    # An edit behind the wide characters lands where it was meant, too.
    spot = types.Position(3, units)
    client.change(uri, types.TextDocumentContentChangePartial(types.Range(spot, spot), "x = 1; "))
    (found,) = await client.shown(uri)
    assert found.range.start == types.Position(3, units + 7)
    await client.shutdown_session()
    await client.stop()


@session
async def test_a_request_can_be_taken_back(editor: Editor, folder: Path) -> None:
    uri = editor.open_file(folder / "train.py", BAD * 60)  # long enough not to be done before it is heard
    params = types.CodeActionParams(types.TextDocumentIdentifier(uri), place(1, 1, 99, 1), types.CodeActionContext([]))
    request = editor.protocol.send_request_async(types.TEXT_DOCUMENT_CODE_ACTION, params, msg_id="taken-back")
    asked = asyncio.create_task(request)
    await asyncio.sleep(0)  # it is sent
    editor.cancel_request(types.CancelParams("taken-back"))
    with pytest.raises(JsonRpcRequestCancelled):
        await asked
    assert set(await editor.codes(uri)) == {"missing-zero-grad"}


# -------------------------------------------------------------------------------------------------------- several files

MODEL = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)
"""
"""What the finding of `TRAIN` hangs on: with a softmax at the end, cross entropy gets probabilities."""
SOFTMAX = MODEL.replace("self.layer(x)", "torch.softmax(self.layer(x), dim=1)")
TRAIN = """import torch
from torch import nn

from model import Net

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()
for x, y in [(torch.randn(2, 4), torch.tensor([0, 1]))]:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
"""


@session
async def test_unsaved_text_of_another_document_counts(editor: Editor, folder: Path) -> None:
    (folder / "model.py").write_text(MODEL)
    train = editor.open_file(folder / "train.py", TRAIN)
    assert await editor.codes(train) == []
    model = editor.open_file(folder / "model.py")
    editor.change(model, text=SOFTMAX)
    await editor.becomes(train, ["softmax-before-cross-entropy"])
    (found,) = editor.published[train].diagnostics
    assert {one.location.uri for one in found.related_information or []} == {model}
    editor.close(model)  # without saving: what is on disk counts again
    await editor.becomes(train, [])
    (folder / "model.py").write_text(SOFTMAX)  # by another program
    editor.watched((folder / "model.py", types.FileChangeType.Changed))
    await editor.becomes(train, ["softmax-before-cross-entropy"])
    (found,) = editor.published[train].diagnostics
    assert {one.location.uri for one in found.related_information or []} == {(folder / "model.py").as_uri()}


@session
async def test_a_file_that_comes_later_is_seen(editor: Editor, folder: Path) -> None:
    train = editor.open_file(folder / "train.py", TRAIN)
    assert await editor.codes(train) == []
    (folder / "model.py").write_text(SOFTMAX)
    editor.watched((folder / "model.py", types.FileChangeType.Created))
    await editor.becomes(train, ["softmax-before-cross-entropy"])


@session
async def test_an_editor_that_asks_is_answered_and_not_told(tmp_path: Path) -> None:
    """VS Code pulls: a document of its own accord, and others when it is told that they may have changed."""
    client = Editor()
    await client.start_io(*SERVER)
    answer = await client.start(tmp_path, pulls=True)
    assert answer.capabilities.diagnostic_provider is not None
    (tmp_path / "model.py").write_text(MODEL)
    train, model = client.open_file(tmp_path / "train.py", TRAIN), client.open_file(tmp_path / "model.py")

    async def pull(known: str | None = None) -> Any:
        params = types.DocumentDiagnosticParams(types.TextDocumentIdentifier(train), previous_result_id=known)
        return await client.text_document_diagnostic_async(params)

    assert list((await pull()).items) == []
    client.change(model, text=SOFTMAX)
    await client.until(lambda: client.diagnostic_refresh_count)
    report = await pull()
    assert [one.code for one in report.items] == ["softmax-before-cross-entropy"]
    assert (await pull(report.result_id)).kind == "unchanged"
    client.change(train, text=BAD)
    assert [one.code for one in (await pull(report.result_id)).items] == ["missing-zero-grad"]
    assert client.published == {}
    await client.shutdown_session()
    await client.stop()


# -------------------------------------------------------------------------------------------------------- configuration


@session
async def test_configuration_is_reloaded_and_a_broken_one_is_shown_once(editor: Editor, folder: Path) -> None:
    config = folder / "torchlint.toml"
    config.write_text('severity = {missing-zero-grad = "warning"}\n')
    uri = editor.open_file(folder / "train.py", BAD)
    (found,) = await editor.shown(uri)
    assert found.severity is types.DiagnosticSeverity.Warning
    before = len(editor.messages)
    editor.published.clear()
    config.write_text('ignore = ["missing-zero-gradd"]\n')
    editor.watched((config, types.FileChangeType.Changed))
    (found,) = await editor.shown(uri)
    assert found.severity is types.DiagnosticSeverity.Warning  # the last good one stays in force
    editor.change(uri, text=BAD + "\n")
    await editor.shown(uri)
    (message,) = editor.messages[before:]
    assert "did you mean `missing-zero-grad`?" in message.message
    assert str(config) in message.message
    config.write_text('ignore = ["missing-zero-grad"]\n')
    editor.watched((config, types.FileChangeType.Changed))
    await editor.becomes(uri, [])
    assert len(editor.messages) == before + 1


@session
async def test_each_file_has_the_configuration_nearest_to_it(editor: Editor, folder: Path) -> None:
    """And one that it extends is looked at too, whatever it is called and whoever tells of changes."""
    (folder / "inner").mkdir()
    (folder / "shared.toml").write_text('severity = {missing-zero-grad = "info"}\n')
    (folder / "inner" / "torchlint.toml").write_text('extend = "../shared.toml"\n')
    outer, inner = editor.open_file(folder / "train.py", BAD), editor.open_file(folder / "inner" / "train.py", BAD)
    assert [one.severity for one in await editor.shown(outer)] == [types.DiagnosticSeverity.Error]
    assert [one.severity for one in await editor.shown(inner)] == [types.DiagnosticSeverity.Information]
    (folder / "shared.toml").write_text('ignore = ["missing-zero-grad"]  # another size\n')
    editor.change(inner, text=f"{BAD}\n")
    assert await editor.codes(inner) == []


@session
async def test_the_server_asks_to_be_told_of_changed_files(editor: Editor) -> None:
    await editor.until(lambda: editor.registered)
    (one,) = [r for r in editor.registered if r.method == types.WORKSPACE_DID_CHANGE_WATCHED_FILES]
    globs = [watcher["globPattern"] for watcher in one.register_options["watchers"]]
    assert globs == ["**/*.py", "**/pyproject.toml", "**/torchlint.toml"]


@session
async def test_excludes_per_file_ignores_and_comments_hold(editor: Editor, folder: Path) -> None:
    config = 'extend-exclude = ["vendored"]\nper-file-ignores = {"sketches/*" = ["missing-zero-grad"]}\n'
    (folder / "torchlint.toml").write_text(config)
    (folder / "vendored").mkdir()
    (folder / "sketches").mkdir()
    excluded = editor.open_file(folder / "vendored" / "a.py", BAD)
    ignored = editor.open_file(folder / "sketches" / "a.py", BAD)
    silenced = editor.open_file(folder / "a.py", f"# torchlint: ignore-file[missing-zero-grad] a test\n{BAD}")
    unused = editor.open_file(folder / "b.py", "x = 1  # torchlint: ignore[missing-zero-grad]\n")
    assert [await editor.codes(uri) for uri in (excluded, ignored, silenced)] == [[], [], []]
    (found,) = await editor.shown(unused)
    assert (found.code, *(found.tags or ())) == ("unused-suppression", types.DiagnosticTag.Unnecessary)


@session
async def test_known_findings_are_not_told(editor: Editor, folder: Path) -> None:
    (folder / "train.py").write_text(BAD)
    (folder / "torchlint.toml").write_text("")
    torchlint("--write-baseline=known.json", "train.py", cwd=folder)
    (folder / "torchlint.toml").write_text('baseline = "known.json"\n')
    uri = editor.open_file(folder / "train.py")
    assert await editor.codes(uri) == []
    known = folder / "known.json"
    known.write_text(json.dumps({**json.loads(known.read_text()), "files": {}}))
    editor.change(uri, text=BAD)
    assert await editor.codes(uri) == ["missing-zero-grad"]


@session
async def test_settings_of_the_editor(editor: Editor, folder: Path) -> None:
    uri = editor.open_file(folder / "train.py", BAD)
    assert await editor.codes(uri) == ["missing-zero-grad"]
    editor.configured(args=["--ignore=missing-zero-grad"])
    await editor.becomes(uri, [])
    editor.configured(args=["--select", "nothing"])
    await editor.until(lambda: any("no rule or group `nothing`" in one.message for one in editor.messages))
    editor.configured(run="onSave")
    await editor.becomes(uri, ["missing-zero-grad"])
    editor.change(uri, text=GOOD)
    await asyncio.sleep(0.5)
    assert editor.published[uri].diagnostics
    editor.save(uri)
    assert await editor.codes(uri) == []
    editor.configured(enable=False)
    editor.change(uri, text=BAD)
    await asyncio.sleep(0.3)
    assert not editor.published[uri].diagnostics
    editor.configured()
    await editor.becomes(uri, ["missing-zero-grad"])
    editor.configured(enable=False)
    await editor.becomes(uri, [])
    editor.configured()
    await editor.becomes(uri, ["missing-zero-grad"])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"enabel": True}, "there is no setting torchlint.enabel; did you mean `enable`?"),
        ({"run": "never"}, 'must be "onType" or "onSave"'),
        ({"args": "--preview"}, 'must be a list of options such as ["--select=ALL", "--preview"]'),
        ({"args": ["--prewiew"]}, "No such option"),
        ({"args": ["src"]}, "`src` is no option"),
        ({"args": ["--help"]}, "is none of a linter's settings"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, Any], problem: str) -> None:
    found, problems = settings.read(given)
    assert found == settings.Editor()
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize("wrapped", [{}, {"settings": {}}, {"torchlint": {}}, {"settings": {"torchlint": {}}}])
def test_settings_are_found_where_editors_put_them(wrapped: dict[str, Any]) -> None:
    inner = wrapped
    while inner:
        (inner,) = inner.values()
    inner.update({"args": ["--preview"], "run": "onSave", "path": ["x"], "trace": {"server": "off"}})
    assert settings.read(wrapped) == (settings.Editor(args=("--preview",), run="onSave"), [])


# ------------------------------------------------------------------------------------------------------ what is no file


@session
async def test_documents_that_are_no_python_files(editor: Editor, folder: Path) -> None:
    untitled = editor.open("untitled:Untitled-1", BAD)
    remote = editor.open("vscode-vfs://host/repository/train.py", BAD)
    outside = editor.open((Path("/nowhere/at all/ö.py")).as_uri(), BAD)
    markdown = editor.open((folder / "a.md").as_uri(), BAD, language="markdown")
    for uri in (untitled, remote, outside):
        assert await editor.codes(uri) == ["missing-zero-grad"]
    assert markdown not in editor.published


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///home/me/a%20b.py", "/home/me/a b.py"),
        ("file:///home/me/a;b.py", "/home/me/a;b.py"),
        ("file:///home/me/%E6%90%8D.py", "/home/me/損.py"),
        ("file:///c%3A/Users/me/train.py", "c:/Users/me/train.py"),
        ("file:///C:/Users/me/train.py", "C:/Users/me/train.py"),
        ("file://host/share/train.py", "//host/share/train.py"),
        ("file://localhost/home/a.py", "/home/a.py"),
        ("untitled:Untitled-1", None),
        ("vscode-notebook-cell:/home/me/a.ipynb#W0", None),
    ],
)
def test_paths_of_uris(uri: str, path: str | None) -> None:
    assert places.path_of(uri) == path


@pytest.mark.parametrize("line", ["a\fb", "a\x1cb\x85c", "a\u2028b"])
def test_rows_are_those_of_the_protocol(line: str) -> None:
    """pygls' own documents split rows at these characters, and lose step with the editor."""
    document = Document("file:///a.py", f"{line}\nsecond\r\nthird\rlast", 1, "python", position_codec=PositionCodec())
    spot = types.Range(types.Position(1, 1), types.Position(3, 1))
    document.apply_change(types.TextDocumentContentChangePartial(spot, "X"))
    assert document.source == f"{line}\nsXast"
    end = types.Range(types.Position(1, 99), types.Position(7, 0))
    document.apply_change(types.TextDocumentContentChangePartial(end, "!"))
    assert document.source == f"{line}\nsXast!"


def test_text_is_read_in_the_encoding_it_declares() -> None:
    document = Document("file:///a.py", "# coding: latin-1\nx = 'ä'\n", 1, "python")
    assert document.data == "# coding: latin-1\nx = 'ä'\n".encode("latin-1")


# ------------------------------------------------------------------------------------------------------------ notebooks

HEAD, _, LOOP = BAD.partition("def train(")
CELLS = [
    "%matplotlib inline\nimport torch\n",
    None,
    HEAD,
    f"def train({LOOP}".replace("\n\n\nif __name__", "\n\nif __name__"),
]


class Notebook:
    """A notebook that an editor has open; None is a cell without code."""

    def __init__(self, editor: Editor, path: Path, texts: list[str | None]) -> None:
        self.editor, self.uri, self.version = editor, path.as_uri(), 1
        self.cells = [f"vscode-notebook-cell:{path}#W{at}" for at in range(len(texts))]
        kinds = [types.NotebookCellKind.Markup if one is None else types.NotebookCellKind.Code for one in texts]
        cells = [types.NotebookCell(kind, uri) for kind, uri in zip(kinds, self.cells, strict=True)]
        notebook = types.NotebookDocument(self.uri, "jupyter-notebook", 1, cells)
        items = [
            types.TextDocumentItem(uri, "python" if text is not None else "markdown", 1, text or "# Words")
            for uri, text in zip(self.cells, texts, strict=True)
        ]
        for item in items:
            editor.texts[item.uri] = 1, item.text
        editor.notebook_document_did_open(types.DidOpenNotebookDocumentParams(notebook, items))

    def change(self, change: types.NotebookDocumentCellChanges) -> None:
        self.version += 1
        identifier = types.VersionedNotebookDocumentIdentifier(self.version, self.uri)
        params = types.DidChangeNotebookDocumentParams(identifier, types.NotebookDocumentChangeEvent(cells=change))
        self.editor.notebook_document_did_change(params)

    def type(self, cell: int, text: str) -> None:
        uri = self.cells[cell]
        version = self.editor.texts[uri][0] + 1
        self.editor.texts[uri] = version, text
        document = types.VersionedTextDocumentIdentifier(version, uri)
        changes = types.NotebookDocumentCellContentChanges(
            document, [types.TextDocumentContentChangeWholeDocument(text)]
        )
        self.change(types.NotebookDocumentCellChanges(text_content=[changes]))

    def delete(self, cell: int) -> None:
        closed = [types.TextDocumentIdentifier(self.cells[cell])]
        array = types.NotebookCellArrayChange(cell, 1)
        structure = types.NotebookDocumentCellChangeStructure(array, did_close=closed)
        self.change(types.NotebookDocumentCellChanges(structure=structure))

    def close(self) -> None:
        cells = [types.TextDocumentIdentifier(uri) for uri in self.cells]
        identifier = types.NotebookDocumentIdentifier(self.uri)
        self.editor.notebook_document_did_close(types.DidCloseNotebookDocumentParams(identifier, cells))


@session
@pytest.mark.parametrize("pulls", [False, True], ids=["told", "asking"])
async def test_the_cells_of_a_notebook_are_one_program(pulls: bool, tmp_path: Path) -> None:
    editor = Editor()
    await editor.start_io(*SERVER)
    answer = await editor.start(tmp_path, pulls=pulls)
    assert answer.capabilities.notebook_document_sync is not None
    notebook = Notebook(editor, tmp_path / "train.ipynb", CELLS)
    loop = notebook.cells[3]
    text = CELLS[3]
    assert text is not None
    (found,) = await editor.shown(loop)
    assert found.code == "missing-zero-grad"
    row = next(at for at, line in enumerate(text.splitlines()) if ".backward()" in line)
    assert found.range.start.line == row
    assert {one.location.uri for one in found.related_information or []} == {loop}
    for other in (notebook.cells[0], notebook.cells[2]):
        assert await editor.codes(other) == []
    assert notebook.cells[1] not in editor.published
    if pulls:
        params = types.DocumentDiagnosticParams(types.TextDocumentIdentifier(loop))
        assert list((await editor.text_document_diagnostic_async(params)).items or ()) == []  # or they are shown twice

    mend, ignore, everything = await editor.actions(loop, found.range)
    mended = edited(text, edits_of(mend.edit, loop))
    assert "optimizer.zero_grad()" in mended
    everything = await editor.code_action_resolve_async(everything)
    assert edited(text, edits_of(everything.edit, loop)) == mended
    ignoring = edited(text, edits_of(ignore.edit, loop))
    assert await editor.hover(loop, row, found.range.start.character) is not None

    notebook.type(3, ignoring)
    assert await editor.codes(loop) == []
    notebook.type(3, text)
    assert await editor.codes(loop) == ["missing-zero-grad"]
    notebook.type(3, mended)
    assert await editor.codes(loop) == []
    notebook.type(0, "import (\n")
    assert await editor.codes(notebook.cells[0]) == ["syntax-error"]
    notebook.delete(0)
    await editor.until(lambda: not editor.published[notebook.cells[0]].diagnostics)
    notebook.type(3, text)
    assert await editor.codes(loop) == ["missing-zero-grad"]
    notebook.close()
    await editor.until(lambda: not editor.published[loop].diagnostics)
    await editor.shutdown_session()
    await editor.stop()


# -------------------------------------------------------------------------------------------------- actions and pages


@session
async def test_a_quick_fix_mends_its_finding(editor: Editor, folder: Path) -> None:
    uri = editor.open_file(folder / "train.py", BAD)
    (found,) = await editor.shown(uri)
    mend, ignore, everything = await editor.actions(uri, found.range)
    assert (mend.title, mend.kind, mend.is_preferred) == (
        "torchlint: Clear the gradients with `optimizer.zero_grad()`",
        types.CodeActionKind.QuickFix,
        True,
    )
    assert [one.code for one in mend.diagnostics or []] == ["missing-zero-grad"]
    assert ignore.title == "torchlint: Ignore missing-zero-grad here"
    assert (everything.kind, everything.edit) == ("source.fixAll.torchlint", None)  # made when it is chosen

    ignoring = edited(BAD, edits_of(ignore.edit, uri))
    assert "loss.backward()  # torchlint: ignore[missing-zero-grad]" in ignoring.replace(
        "  # expect: missing-zero-grad", ""
    )
    editor.change(uri, text=ignoring)
    assert await editor.codes(uri) == []

    editor.change(uri, text=edited(BAD, edits_of(mend.edit, uri)))
    assert await editor.codes(uri) == []
    nothing = await editor.actions(uri, types.Range(types.Position(0, 0), types.Position(99, 0)))
    assert nothing == []


@session
async def test_unsafe_fixes_say_so(editor: Editor, folder: Path) -> None:
    text = (FIXTURES / "whole_model_save" / "bad.py").read_text()
    uri = editor.open_file(folder / "save.py", text)
    found = await editor.shown(uri)
    unsafe = [one for one in found if one.data and one.data["fix"]["applicability"] == "unsafe"]
    actions = await editor.actions(uri, unsafe[0].range, "quickfix")
    assert actions[0].title.startswith("torchlint (unsafe): ")
    assert not actions[0].is_preferred
    assert [one.kind for one in actions] == ["quickfix"] * len(actions)


@session
async def test_fix_all_does_what_the_command_does(editor: Editor, folder: Path) -> None:
    text = (
        BAD.replace("\nfor ", "\nx = 1  # torchlint: ignore[whole-model-save]\n\nfor ", 1)
        + "# 😀 no newline at the end"
    )
    uri = editor.open_file(folder / "train.py", text)
    await editor.shown(uri)
    (action,) = await editor.actions(uri, place(1, 1, 1, 1), "source.fixAll")
    resolved = await editor.code_action_resolve_async(action)
    mended = edited(text, edits_of(resolved.edit, uri))
    assert mended != text
    assert mended == torchlint("--fix", "-", "--isolated", text=text)
    await editor.workspace_execute_command_async(types.ExecuteCommandParams("torchlint.fixAll", [uri]))
    assert edited(text, edits_of(editor.applied[-1].edit, uri)) == mended
    assert await editor.actions(uri, place(1, 1, 1, 1), "refactor") == []


@session
async def test_the_page_of_a_rule_is_a_hover_away(editor: Editor, folder: Path) -> None:
    text = f"{BAD}\nx = 1  # torchlint: ignore[whole-model-save] why\n"
    uri = editor.open_file(folder / "train.py", text)
    found = (await editor.shown(uri))[0]
    page = await editor.hover(uri, found.range.start.line, found.range.start.character + 2)
    assert page == torchlint("explain", "missing-zero-grad", "--output-format", "markdown").rstrip("\n") + "\n"
    line = text.count("\n") - 1
    page = await editor.hover(uri, line, text.splitlines()[line].index("whole") + 3)
    assert page is not None
    assert page.startswith("# whole-model-save")
    assert await editor.hover(uri, line, 0) is None


# ------------------------------------------------------------------------------------------------ beginning and ending


@session
@pytest.mark.parametrize("editor", ["emacs", "neovim@v0.11"])
async def test_an_editor_that_can_do_little(editor: str, tmp_path: Path) -> None:
    """No resolving of actions, no asking for settings; and who cannot be made to pull again is told."""
    client = Editor()
    await client.start_io(*SERVER)
    answer = await client.start(tmp_path, editor, initialization_options={"args": ["--extend-select=ALL"]})
    assert answer.capabilities.diagnostic_provider is None
    uri = client.open_file(tmp_path / "a.py", BAD)
    assert "missing-zero-grad" in await client.codes(uri)
    (action,) = await client.actions(uri, place(1, 1, 1, 1), "source.fixAll")
    if action.edit is None:
        action = await client.code_action_resolve_async(action)
    assert "optimizer.zero_grad()" in edited(BAD, edits_of(action.edit, uri))
    await client.shutdown_session()
    assert client._server is not None
    assert client._server.returncode == 0
    await client.stop()


CRASHING = """
import dataclasses, sys
from torchlint import cli, registry
def check(facts):
    print("noise on standard output")
    raise RuntimeError("a bug")
from torchlint import site
site.BASE = "https://example.org/"
rules = [dataclasses.replace(r, check=check) if r.name == "whole-model-save" else r for r in registry.load()]
registry.load = lambda: tuple(rules)
cli.main(["server"])
"""


@session
async def test_a_crash_is_for_the_log_and_everything_else_goes_on(tmp_path: Path) -> None:
    client = Editor()
    await client.start_io(sys.executable, "-c", CRASHING)
    await client.start(tmp_path)
    uri = client.open_file(tmp_path / "a.py", f"{BAD}\ntorch.save(model.state_dict(), 'a.pt')\n")
    (found,) = await client.shown(uri)
    assert found.code_description == types.CodeDescription("https://example.org/rules/missing-zero-grad/")
    await client.until(lambda: client.log_messages)
    assert "rule whole-model-save crashed: RuntimeError: a bug" in client.log_messages[0].message
    assert client.messages == []
    await client.shutdown_session()
    await client.stop()


def test_what_is_missing_is_named_with_the_remedy() -> None:
    code = "import sys; sys.modules['pygls'] = None\nfrom torchlint import cli\ncli.main(['server'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, input="")
    assert done.returncode == 2
    assert "pip install 'torchlint[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def message(method: str, number: int | None = None, **params: Any) -> bytes:
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if number is not None:
        body["id"] = number
    data = json.dumps(body).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)


def test_a_request_that_goes_wrong_leaves_no_traceback() -> None:
    """A document that was never opened is changed, a command has no arguments, a message is none."""
    changes = {"textDocument": {"uri": "file:///a.py", "version": 2}, "contentChanges": [{"text": "x"}]}
    sent = INITIALIZE + message("textDocument/didChange", **changes)
    sent += message("workspace/executeCommand", 2, command="torchlint.fixAll") + message("textDocument/hover", 3)
    sent += message("shutdown", 4) + message("exit")
    done = subprocess.run(SERVER, input=sent, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b'"id": 4' in done.stdout


INITIALIZE = message("initialize", 1, capabilities={}, processId=None, rootUri=None)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (INITIALIZE + message("shutdown", 2) + message("exit"), 0),
        (INITIALIZE + message("exit"), 1),
        (INITIALIZE, 1),  # the editor is gone
        (b"", 1),
    ],
    ids=["shutdown", "exit", "closed", "never"],
)
def test_it_ends_with_the_editor(sent: bytes, status: int) -> None:
    done = subprocess.run(SERVER, input=sent, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="there standard input closes with the editor")
def test_it_ends_with_an_editor_that_leaves_its_input_open() -> None:
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    server = subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    server.stdin.write(message("initialize", 1, capabilities={}, processId=died.pid, rootUri=None))
    server.stdin.write(message("initialized"))
    server.stdin.flush()
    assert server.wait(PATIENCE) == 1
