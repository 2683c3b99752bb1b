"""The protocol: what the editor says, and what is answered."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.workspace import PositionCodec

from torchlint import __version__, imports
from torchlint.server import actions, hover, messages, places, settings
from torchlint.server.checks import DEBOUNCE, Checked, Checks, Job, Text
from torchlint.server.documents import Document, Workspace

NAME = "torchlint"
FIX_ALL_COMMAND = "torchlint.fixAll"
CLIENT_LOOKED_AT = 2.0  # seconds


class Server(LanguageServer):
    """The server and what it knows of the editor."""

    def __init__(self) -> None:
        python = [types.NotebookCellLanguage("python")]
        kinds = [types.NotebookDocumentFilterNotebookType(kind) for kind in ("jupyter-notebook", "interactive")]
        selectors = [types.NotebookDocumentFilterWithNotebook(kind, python) for kind in kinds]
        notebooks = types.NotebookDocumentSyncOptions(selectors, save=True)
        super().__init__(NAME, __version__, types.TextDocumentSyncKind.Incremental, notebooks, max_workers=2)
        self.documents = Workspace(None)
        self.checks = Checks(self._job, self._checked, self.gone, self._failed)
        self.editor = settings.Editor()  # the settings,
        self.editors: dict[str, settings.Editor] = {}  # and those of workspace folders that have their own
        self.pulls = False  # the editor asks for findings, instead of being told,
        self.asked: Counter[str] = Counter()  # for those of these documents right now,
        self.answered: dict[str, list[types.Diagnostic]] = {}  # and has got these
        self.told: set[str] = set()  # what is wrong is told once
        self.left = False  # in the way the protocol asks for
        self.status = 1
        self.watch: asyncio.Task[None] | None = None  # of the editor's process

    # ------------------------------------------------------------------------------------------------ documents -> jobs

    def start(self, params: types.InitializeParams) -> None:
        """Takes over what the editor says of itself."""
        self.checks.prepare()
        encoding = self.workspace.position_encoding
        kind = types.TextDocumentSyncKind.Incremental
        self.documents = Workspace(params.root_uri, kind, params.workspace_folders, encoding)
        self.protocol._workspace = self.documents  # documents with the protocol's rows instead of pygls' own
        folder = self.documents.folder_of(None)
        if folder is not None and os.path.isdir(folder):
            os.chdir(folder)  # relative paths in settings are relative to it
        self.pulls = _pulls(self.client_capabilities)
        if self.pulls:
            _answering(self)
        self.configure(params.initialization_options)

    @property
    def codec(self) -> PositionCodec:
        return self.documents.position_codec

    def editor_of(self, uri: str) -> settings.Editor:
        """The settings for a document: its workspace folder's, where that has its own."""
        root = self.documents.folder_of(places.path_of(uri))
        return self.editors.get(root or "", self.editor)

    def _job(self, uri: str) -> Job | None:
        path = places.path_of(uri)
        root = self.documents.folder_of(path)
        editor = self.editor_of(uri)
        texts = self.texts(uri)
        if not editor.enable or all(one.text is None for one in texts):
            return None
        document = self.documents.open(uri)
        filename = path or os.path.join(root or os.getcwd(), places.name_of(uri))
        data = document.data if document is not None else None
        return Job(uri, texts, data, filename, root, editor, self._unsaved())

    def texts(self, uri: str) -> tuple[Text, ...]:
        """The texts of a document or a notebook as they are now; none where it is not open."""
        cells = self.documents.cells(uri)
        if cells is None:
            document = self.documents.open(uri)
            cells = [(uri, document if document.is_python else None)] if document is not None else []
        return tuple(
            Text(at, one.version, one.source) if one is not None else Text(at, None, None) for at, one in cells
        )

    def _unsaved(self) -> dict[str, bytes]:
        texts = {}
        for one in self.documents.text_documents.values():
            path = places.path_of(one.uri)
            if path is not None and isinstance(one, Document) and one.is_python:
                texts[path] = one.data
        return texts

    def uri_of(self, filename: str) -> str:
        """How the editor calls a file: as it did when it opened it."""
        path = imports.absolute(filename)
        for one in self.documents.text_documents.values():
            if places.path_of(one.uri) == path:
                return str(one.uri)
        return places.uri_of(path)

    # ----------------------------------------------------------------------------------------------- findings -> editor

    def _checked(self, checked: Checked) -> None:
        if checked.problem is not None:
            self.complain(checked.problem)
        for crash in checked.crashes:
            self.log(f"{checked.job.filename}: {crash}", types.MessageType.Error)
        count = len(checked.findings)
        self.trace(f"checked {checked.job.filename} in {checked.seconds * 1000:.0f} ms: {count} findings")
        job = checked.job
        found = messages.diagnostics(checked, self.codec, self.uri_of)
        if self.tells(job):
            versions = {one.uri: one.version for one in job.texts}
            for uri, some in found.items():
                self.publish(uri, some, versions[uri])
        elif not self.asked[job.uri] and self.answered.get(job.uri) != found[job.uri]:
            self.refresh()

    def tells(self, job: Job) -> bool:
        """Whether the editor is told of findings. It asks for those of one text, but a notebook's cells are many."""
        return not self.pulls or job.data is None

    def publish(self, uri: str, found: Sequence[types.Diagnostic] = (), version: int | None = None) -> None:
        """Shows these findings of a document, and no others."""
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, version))

    def gone(self, job: Job) -> None:
        """Shows no findings of a document any more."""
        if self.tells(job):
            for one in job.texts:
                self.publish(one.uri)
        elif self.answered.pop(job.uri, None):
            self.refresh()

    def refresh(self) -> None:
        """Has the editor ask again: what it was told is no longer so, and it cannot know."""
        self.workspace_diagnostic_refresh(None)

    async def answer(self, params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport:
        """The findings in a document, for an editor that asks."""
        uri = params.text_document.uri
        if self.documents.whole_of(uri) != uri:
            return types.RelatedFullDocumentDiagnosticReport([])  # see `tells`
        self.asked[uri] += 1
        try:
            last = self.checks.results.get(uri)
            waits = self.editor_of(uri).run == settings.ON_SAVE and not self.checks.pending(uri)
            checked = last if last is not None and waits else await self.checked(uri)
        finally:
            self.asked[uri] -= 1
        if checked is None:
            return types.RelatedFullDocumentDiagnosticReport([])
        name = str(checked.number)
        self.answered[uri] = found = messages.diagnostics(checked, self.codec, self.uri_of)[uri]
        if params.previous_result_id == name:
            return types.RelatedUnchangedDocumentDiagnosticReport(name)
        return types.RelatedFullDocumentDiagnosticReport(found, result_id=name)

    def _failed(self, error: BaseException) -> None:
        self.log(f"torchlint failed: {type(error).__name__}: {error}; please report it", types.MessageType.Error)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """What goes wrong inside is for the log, not for a window in front of the user."""
        self._failed(error)

    def log(self, message: str, level: types.MessageType = types.MessageType.Info) -> None:
        self.window_log_message(types.LogMessageParams(level, message))

    def trace(self, message: str) -> None:
        if self.protocol.trace != types.TraceValue.Off:
            self.protocol.notify(types.LOG_TRACE, types.LogTraceParams(message))

    def complain(self, message: str) -> None:
        """Shows what is wrong with the settings, once until it is mended."""
        if message not in self.told:
            self.told.add(message)
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, f"torchlint: {message}"))

    # ---------------------------------------------------------------------------------------------- documents, settings

    def open_uris(self) -> list[str]:
        """All that is checked as one: documents and notebooks."""
        uris = (self.documents.whole_of(one.uri) for one in self.documents.text_documents.values())
        return list(dict.fromkeys(uris))

    def touched(self, uri: str, delay: float = 0.0) -> None:
        """Has a document checked, and those that look into it."""
        self.checks.touch(uri, delay)
        path = places.path_of(uri)
        if path is not None:
            self.touch_neighbours(path, delay)

    def touch_neighbours(self, path: str, delay: float = 0.0) -> None:
        for other in self.checks.look_into(path):
            self.checks.touch(other, delay, behind=True)

    def check_all(self) -> None:
        """Has everything checked anew."""
        for uri in self.open_uris():
            self.checks.touch(uri, behind=True)

    def configure(self, given: Any) -> None:
        """Takes over settings that hold everywhere."""
        self.editor, problems = settings.read(given)
        for problem in problems:
            self.complain(problem)

    async def fetch_settings(self) -> None:
        """Asks the editor for its settings, for each workspace folder, where it can be asked."""
        workspace = self.client_capabilities.workspace
        if workspace is None or not workspace.configuration:
            return
        uris = [folder.uri for folder in self.documents.folders.values()]
        items = [types.ConfigurationItem(section=NAME, scope_uri=uri) for uri in (*uris, None)]
        try:
            *own, common = await self.workspace_configuration_async(types.ConfigurationParams(items))
        except (JsonRpcException, ValueError) as error:
            self.log(f"the editor does not say its settings: {error}", types.MessageType.Warning)
            return
        if common is not None:
            self.configure(common)
        self.editors = {}
        for uri, value in zip(uris, own, strict=True):
            path = places.path_of(uri)
            if path is not None and value is not None:
                self.editors[path], problems = settings.read(value)
                for problem in problems:
                    self.complain(problem)

    def known(self, uri: str) -> Checked | None:
        """The findings in a document, or in the notebook of a cell, if they are those of its text as it is now."""
        uri = self.documents.whole_of(uri)
        found = self.checks.results.get(uri)
        state = tuple((one.uri, one.version) for one in self.texts(uri))
        return found if found is not None and found.job.state == state else None

    async def checked(self, uri: str) -> Checked | None:
        """The findings in a document, or in the notebook of a cell, as it is now."""
        whole = self.documents.whole_of(uri)
        if self.known(uri) is None and not self.checks.pending(whole):
            self.checks.touch(whole)
        return await self.checks.fresh(whole)

    def workspace_edit(self, edits: actions.Edits, checked: Checked) -> types.WorkspaceEdit:
        """The edits in the form that the editor knows best."""
        workspace = self.client_capabilities.workspace
        if workspace is None or workspace.workspace_edit is None or not workspace.workspace_edit.document_changes:
            return types.WorkspaceEdit(changes=edits)
        versions = dict(checked.job.state)
        return types.WorkspaceEdit(
            document_changes=[
                types.TextDocumentEdit(types.OptionalVersionedTextDocumentIdentifier(uri, versions[uri]), list(some))
                for uri, some in edits.items()
            ]
        )

    async def fix_all(self, uri: str) -> types.WorkspaceEdit | None:
        """The edit that mends all that can be mended safely; None where there is nothing."""
        checked = await self.checked(uri)
        if checked is None or not actions.fixable(checked):
            return None
        edits = await self.checks.aside(lambda: actions.mend(checked, self.codec))
        return self.workspace_edit(edits, checked) if edits else None


def _server() -> Server:
    server = Server()
    feature = server.feature

    @feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.start(params)

    @feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        if server.process_id is not None:
            server.watch = asyncio.create_task(_watch(server.process_id))
        before = server.editor, server.editors
        await server.fetch_settings()
        if (server.editor, server.editors) != before:
            server.check_all()
        await _register(server)

    @feature(types.SHUTDOWN)
    def shutdown(_: None) -> None:
        server.left = True

    @feature(types.EXIT)
    def ended(_: None) -> None:
        server.status = 0 if server.left else 1

    @feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        imports.forget()  # it may be new
        server.touched(params.text_document.uri)

    @feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        if server.editor_of(params.text_document.uri).run == settings.ON_TYPE:
            server.touched(params.text_document.uri, DEBOUNCE)

    @feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        imports.forget()
        server.touched(params.text_document.uri)

    @feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.checks.drop(uri)
        server.answered.pop(uri, None)
        if not server.pulls:
            server.publish(uri)
        path = places.path_of(uri)
        if path is not None:
            server.touch_neighbours(path)  # what is saved counts again

    @feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def notebook_opened(params: types.DidOpenNotebookDocumentParams) -> None:
        imports.forget()
        server.touched(params.notebook_document.uri)

    @feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def notebook_changed(params: types.DidChangeNotebookDocumentParams) -> None:
        structure = params.change.cells.structure if params.change.cells is not None else None
        for cell in (structure.did_close or ()) if structure is not None else ():
            server.publish(cell.uri)
        if server.editor_of(params.notebook_document.uri).run == settings.ON_TYPE:
            server.touched(params.notebook_document.uri, DEBOUNCE)

    @feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
    def notebook_saved(params: types.DidSaveNotebookDocumentParams) -> None:
        imports.forget()
        server.touched(params.notebook_document.uri)

    @feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def notebook_closed(params: types.DidCloseNotebookDocumentParams) -> None:
        server.checks.drop(params.notebook_document.uri)
        for cell in params.cell_text_documents:
            server.publish(cell.uri)

    @feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def files_changed(params: types.DidChangeWatchedFilesParams) -> None:
        imports.forget()
        paths = [path for change in params.changes if (path := places.path_of(change.uri)) is not None]
        configured = any(os.path.basename(path) in settings.FILES for path in paths)
        if configured:
            server.told.clear()
            server.checks.forget_settings()
        if configured or any(change.type != types.FileChangeType.Changed for change in params.changes):
            server.check_all()
        for path in paths:
            server.touch_neighbours(path)

    @feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def configured(params: types.DidChangeConfigurationParams) -> None:
        server.told.clear()
        if params.settings:
            server.configure(params.settings)
        await server.fetch_settings()
        server.check_all()

    @feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    async def folders_changed(_: types.DidChangeWorkspaceFoldersParams) -> None:
        await server.fetch_settings()
        server.check_all()

    @feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(
            code_action_kinds=[types.CodeActionKind.QuickFix, actions.FIX_ALL], resolve_provider=True
        ),
    )
    async def code_action(params: types.CodeActionParams) -> list[types.CodeAction] | None:
        uri, only = params.text_document.uri, params.context.only
        checked = await server.checked(uri)
        if checked is None:
            return None
        found: list[types.CodeAction] = []
        if actions.asked_for(types.CodeActionKind.QuickFix, only):
            given = params.context.diagnostics
            for action, edits in actions.quick_fixes(checked, uri, params.range, given, server.codec):
                action.edit = server.workspace_edit(edits, checked)
                found.append(action)
        if actions.asked_for(actions.FIX_ALL, only) and actions.fixable(checked):
            action = types.CodeAction(actions.FIX_ALL_TITLE, actions.FIX_ALL, data={"uri": uri})
            if not _resolves(server.client_capabilities):
                action.edit = await server.fix_all(uri)
            found.append(action)
        return found

    @feature(types.CODE_ACTION_RESOLVE)
    async def resolve(action: types.CodeAction) -> types.CodeAction:
        if isinstance(action.data, dict) and action.edit is None:
            action.edit = await server.fix_all(str(action.data.get("uri")))
        return action

    @server.command(FIX_ALL_COMMAND)
    async def fix_all(uri: str) -> None:
        edit = await server.fix_all(uri)
        if edit is not None:
            await server.workspace_apply_edit_async(types.ApplyWorkspaceEditParams(edit, actions.FIX_ALL_TITLE))

    @feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(params: types.HoverParams) -> types.Hover | None:
        document = server.documents.open(params.text_document.uri)
        if document is None or not document.is_python:
            return None
        markdown = _markdown(server.client_capabilities)
        return hover.hover(document, params.position, server.known(document.uri), server.codec, markdown)

    return server


def _answering(server: Server) -> None:
    """Offers to be asked for findings."""
    options = types.DiagnosticOptions(inter_file_dependencies=True, workspace_diagnostics=False, identifier=NAME)

    @server.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, options)
    async def asked(params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport:
        return await server.answer(params)


def _pulls(client: types.ClientCapabilities) -> bool:
    """Whether the editor asks for findings, and can be made to ask again: they also change without a keystroke."""
    document, workspace = client.text_document, client.workspace
    again = workspace.diagnostics if workspace is not None else None
    asks = document is not None and document.diagnostic is not None
    return asks and again is not None and bool(again.refresh_support)


def _resolves(client: types.ClientCapabilities) -> bool:
    """Whether the editor asks for the edit of an action when the user chooses it."""
    document = client.text_document
    action = document.code_action if document is not None else None
    resolve = action.resolve_support if action is not None else None
    return resolve is not None and "edit" in resolve.properties


def _markdown(client: types.ClientCapabilities) -> bool:
    document = client.text_document
    formats = document.hover.content_format if document is not None and document.hover is not None else None
    return formats is None or types.MarkupKind.Markdown in formats


async def _register(server: Server) -> None:
    """Asks to be told when files change that findings hang on."""
    workspace = server.client_capabilities.workspace
    watched = workspace.did_change_watched_files if workspace is not None else None
    if watched is None or not watched.dynamic_registration:
        return
    watchers = [types.FileSystemWatcher(f"**/{name}") for name in ("*.py", *settings.FILES)]
    options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
    registration = types.Registration("torchlint-files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
    await server.client_register_capability_async(types.RegistrationParams([registration]))


async def _watch(process: int) -> None:
    """Ends with the editor, also where its death does not close standard input."""
    if os.name == "nt":
        return  # there it always does
    while True:
        await asyncio.sleep(CLIENT_LOOKED_AT)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os._exit(1)  # a thread that waits for input would hold up any other way out
        except OSError:
            pass  # it lives, and is another user's


def _in_one_line(record: logging.LogRecord) -> bool:
    """Says of what went wrong what it is, without a traceback: this goes where users look."""
    message = record.getMessage().partition("\n")[0]  # pygls has tracebacks in its messages too
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        message += f" ({type(error).__name__}: {error})"
    record.msg, record.args = message, None
    record.exc_info = record.exc_text = None
    return True


def serve() -> int:
    """Serves until the editor leaves; returns the exit status: 1 when it left without a word."""
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # only the protocol writes there
    if sys.stdin.isatty():
        print(
            "torchlint server is started by an editor and talks to it on standard input; docs/editors.md says how",
            file=sys.stderr,
        )
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.ERROR)
    logging.getLogger().handlers[0].addFilter(_in_one_line)
    server = _server()
    server.start_io(sys.stdin.buffer, out)
    return server.status
