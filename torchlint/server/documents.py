"""The open documents: their texts, kept in step with the editor's."""

from __future__ import annotations

import io
import os
import tokenize

from lsprotocol import types
from pygls.workspace import TextDocument
from pygls.workspace import Workspace as _Workspace

from torchlint.server import places
from torchlint.text import rows_of

PYTHON = ("python", "python3")


class Document(TextDocument):
    """An open text. Its rows are those that the protocol and Python know; pygls' end at form feeds too."""

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(rows_of(self.source))

    def apply_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        if isinstance(change, types.TextDocumentContentChangeWholeDocument):
            self._source = change.text
            return
        rows, codec = self.lines, self.position_codec
        start, end = (places.offset_of(one, rows, codec) for one in (change.range.start, change.range.end))
        text = self.source
        self._source = text[:start] + change.text + text[max(start, end) :]

    @property
    def is_python(self) -> bool:
        """Whether this is a text to lint; the editor knows, and where it does not say, the name tells."""
        return self.language_id in PYTHON or (not self.language_id and self.uri.endswith((".py", ".pyw")))

    @property
    def data(self) -> bytes:
        """The bytes as they would be saved."""
        data = self.source.encode("utf-8", "replace")  # half a surrogate pair is no character
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            return data if encoding == "utf-8" else self.source.encode(encoding)
        except (SyntaxError, UnicodeEncodeError):
            return data  # what is wrong with the encoding is said where the file is read


class Workspace(_Workspace):
    """pygls' book-keeping of documents, notebooks and folders, with documents of ours."""

    def _create_text_document(
        self, doc_uri: str, source: str | None = None, version: int | None = None, language_id: str | None = None
    ) -> Document:
        return Document(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            position_codec=self.position_codec,
        )

    def open(self, uri: str) -> Document | None:
        """An open document; None when it is not."""
        one = self.get_text_document(uri)
        return one if isinstance(one, Document) and one.version is not None else None

    def whole_of(self, uri: str) -> str:
        """What is checked as one: of a cell its notebook, else the document itself."""
        notebook = self.get_notebook_document(cell_uri=uri)
        return notebook.uri if notebook is not None else uri

    def cells(self, uri: str) -> list[tuple[str, Document | None]] | None:
        """The cells of a notebook in their order, those without Python as None; None where it is no open notebook."""
        notebook = self.get_notebook_document(notebook_uri=uri)
        if notebook is None:
            return None
        found: list[tuple[str, Document | None]] = []
        for cell in notebook.cells:
            document = self.open(cell.document) if cell.kind is types.NotebookCellKind.Code else None
            found.append((cell.document, document if document is not None and document.is_python else None))
        return found

    def folder_of(self, path: str | None) -> str | None:
        """The innermost workspace folder that a file is in; of something that is no file, the first one."""
        folders = [found for folder in self.folders.values() if (found := places.path_of(folder.uri)) is not None]
        if not folders and self.root_path is not None:
            folders = [os.path.normpath(self.root_path)]
        if path is None:
            return folders[0] if folders else None
        around = [one for one in folders if path == one or path.startswith(one.rstrip(os.sep) + os.sep)]
        return max(around, key=len, default=None)
