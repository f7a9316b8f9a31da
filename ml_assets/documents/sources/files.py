"""Documents in files: tables, or folders of pages, wherever fsspec can reach them."""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from ml_assets.documents.formats import pages, tables
from ml_assets.documents.formats.rows import Columns, Row, to_document
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection, content_hash, normalize
from ml_assets.documents.sources.base import MAX_COLLECTIONS, UNATTRIBUTED
from ml_assets.errors import SourceError, mask_secrets

VERSION = "1"
"""Raise it when the reading changes: it is part of every fingerprint."""

_split: dict[str, dict[str, str]] = {}
"""The collections of the last source that a column splits, by the hash of its bytes and mapping: a
run asks for them five times, and hashing bytes is much faster than parsing rows."""

_MANY = "all"
_PIECE = 1 << 20
_SHOWN_COLUMNS = 20


class Files:
    """The rows of the tables and the pages that match a path, a folder or a glob.

    Files are read in the order of their names, rows in the order of the file; of two rows with one
    id the first is the document. A page has the columns `pages.COLUMNS`.
    """

    def __init__(
        self, pattern: str, columns: Columns, max_document_bytes: int, name: str = ""
    ) -> None:
        """Describe the source; `name` is the collection when no column splits it."""
        self._pattern = pattern
        self._columns = columns
        self._max_bytes = max_document_bytes
        self._given_name = name

    @property
    def name(self) -> str:
        """The kind and the path, without passwords."""
        return f"files:{mask_secrets(self._pattern)}"

    def collections(self) -> dict[str, str]:
        """Return the collections with a hash of their content and of the mapping.

        Unsplit, it is a hash of the files' bytes; split by a column, of each collection's rows, and
        of the rows that could belong to any.

        Raises:
            SourceError: the source cannot be read, or has too many collections.
        """
        with self._errors():
            whole = self._hash_bytes()
            if not self._columns.collection_by:
                return {self._collection(): whole}
            if whole not in _split:
                hashes = self._hash_rows()
                if self._hash_bytes() != whole:
                    return hashes  # somebody writes the files just now
                _split.clear()
                _split[whole] = hashes
            return dict(_split[whole])

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream these collections in one pass over the files.

        Raises:
            SourceError: a file cannot be read, columns are missing, or no row can be used.
        """
        wanted = {*collections, UNATTRIBUTED}
        with self._errors():
            yield from (row for row in self._outcomes() if row.collection in wanted)

    def judged_queries(self) -> None:
        """Return None: files hold no questions."""

    def _outcomes(self) -> Iterator[Document | Rejected]:
        """Yield every row as what becomes of it."""
        seen: set[str] = set()
        first: Rejected | None = None
        collection = "" if self._columns.collection_by else self._collection()
        for location, row in self._rows():
            if isinstance(row, str):
                outcome: Document | Rejected = Rejected(collection, location, row)
            else:
                outcome = to_document(row, self._columns, location, collection, self._max_bytes)
            if isinstance(outcome, Document):
                outcome = _once(outcome, location, seen)
            if isinstance(outcome, Rejected):
                first = first or outcome
            yield outcome
        if not seen:
            self._refuse(first)

    def _refuse(self, first: Rejected | None) -> None:
        if first is None:
            raise SourceError("no documents", where=self.name, do="Add one, or check the path")
        raise SourceError(
            f"no row can be used; the first: {first.location}: {first.reason}",
            where=self.name,
            do="Mend the rows, or name other columns, as in ?text=body",
        )

    def _rows(self) -> Iterator[tuple[str, Row | str]]:
        """Yield every row with its place, once its file is known to have the columns."""
        names: dict[str, None] = {}
        open_columns = True
        for path, shown, suffix in self._files():
            fixed = suffix in tables.FORMATS and suffix not in tables.OPEN_COLUMNS
            open_columns &= not fixed
            checked = not fixed
            for place, row in self._read(path, shown, suffix):
                if not isinstance(row, str):
                    names.update(dict.fromkeys(row))
                    if not checked:
                        self._check_columns(list(row), shown)
                        checked = True
                yield f"{shown} {place}".strip(), row
        if names and open_columns:
            self._check_columns(list(names), self.name)

    def _read(self, path: str, shown: str, suffix: str) -> Iterator[tuple[str, Row | str]]:
        compression = None if suffix == ".parquet" else "infer"
        with self._filesystem().open(path, "rb", compression=compression) as file:
            if suffix in tables.FORMATS:
                yield from tables.read_table(file, suffix, shown)
            else:
                yield "", pages.read_page(file, shown, self._max_bytes)

    def _check_columns(self, names: list[str], where: str) -> None:
        missing = sorted(self._columns.required - set(names))
        if missing:
            shown = ", ".join(names[:_SHOWN_COLUMNS]) + (" …" * (len(names) > _SHOWN_COLUMNS))
            raise SourceError(
                f"no column {', '.join(missing)}",
                where=where,
                do=f"The columns are: {shown}. Map them, as in ?text=body&label=topic",
            )

    def _files(self) -> list[tuple[str, str, str]]:
        """Return the path, the path to show, and the suffix of every file, in order."""
        filesystem = self._filesystem()
        filesystem.invalidate_cache()
        root = filesystem._strip_protocol(self._pattern)
        formats: tuple[str, ...] = (*tables.FORMATS, *pages.FORMATS)
        if filesystem.isfile(root):
            base, paths = str(PurePosixPath(root).parent), [root]
        elif filesystem.isdir(root):
            base, formats = root, pages.FORMATS
            paths = [path for path in filesystem.find(root) if _suffix(path) in formats]
        else:
            base, paths = _fixed_part(root), filesystem.glob(root)
            paths = [path for path in paths if filesystem.isfile(path)]
        files = [(path, _below(path, base), _suffix(path)) for path in sorted(paths)]
        files = [file for file in files if not file[1].startswith(".") and "/." not in file[1]]
        self._check_files(files, formats)
        return files

    def _check_files(self, files: list[tuple[str, str, str]], formats: tuple[str, ...]) -> None:
        if not files:
            do = f"Give a file, a folder with {', '.join(pages.FORMATS)}, or a glob"
            raise SourceError("no such file", where=self.name, do=do)
        unknown = next((shown for _, shown, suffix in files if suffix not in formats), None)
        if unknown:
            raise SourceError(
                "unreadable format", where=unknown, do=f"Readable: {', '.join(formats)}"
            )

    def _filesystem(self) -> Any:
        import fsspec

        try:
            return fsspec.url_to_fs(self._pattern)[0]
        except ImportError as error:
            raise SourceError(
                f"a package is missing ({error})",
                where=self.name,
                do="Install it with pip, beside ml-assets",
            ) from None
        except ValueError as error:
            raise SourceError(str(error), where=self.name, do="Correct the URL") from None

    def _collection(self) -> str:
        """Return the collection of a source that no column splits."""
        root = self._filesystem()._strip_protocol(self._pattern)
        single = self._filesystem().isfile(root)
        stem = PurePosixPath(root).name.partition(".")[0]
        name = self._given_name or (stem if single else _MANY)
        if wrong := check_collection(name):
            raise SourceError(wrong, where=self.name, do="Give it a name, as in ?name=tweets")
        return name

    def _hash_bytes(self) -> str:
        digest = self._digest()
        for path, shown, _ in self._files():
            digest.update(f"\0{shown}\0".encode("utf-8", "surrogateescape"))
            with self._filesystem().open(path, "rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
        return digest.hexdigest()

    def _hash_rows(self) -> dict[str, str]:
        digests = {UNATTRIBUTED: self._digest()}
        for row in self._outcomes():
            digest = digests.setdefault(row.collection, self._digest())
            digest.update(_row_hash(row))
            if len(digests) > MAX_COLLECTIONS + 1:
                column = self._columns.collection_by
                raise SourceError(
                    f"more than {MAX_COLLECTIONS} collections",
                    where=f"{self.name}, column {column!r}",
                    do="Choose a coarser collection_by, such as created_at:year",
                )
        unattributed = digests.pop(UNATTRIBUTED).digest()
        for digest in digests.values():
            digest.update(unattributed)
        return {name: digests[name].hexdigest() for name in sorted(digests)}

    def _digest(self) -> hashlib._Hash:
        parameters = f"{VERSION} {self._max_bytes} {self._columns.canonical()}"
        return hashlib.sha256(parameters.encode())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the errors of reading files into one line."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(
                f"cannot be read ({reason})",
                where=self.name,
                do="Check the path, its permissions and the connection, and run again",
            ) from None
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise SourceError(
                f"a compressed file is broken ({error})",
                where=self.name,
                do="Copy or compress the file again",
            ) from None


def _once(document: Document, location: str, seen: set[str]) -> Document | Rejected:
    """Let the first document with an id pass, and quarantine the later ones."""
    identity = document.document_id
    if identity not in seen:
        seen.add(identity)
        return document
    reason = f"the id {identity!r} is that of an earlier row"
    return Rejected(document.collection, location, reason, identity)


def _row_hash(row: Document | Rejected) -> bytes:
    if isinstance(row, Document):
        return hashlib.sha256(row.document_id.encode() + b"\0" + content_hash(row)).digest()
    return hashlib.sha256(repr(row).encode()).digest()


def _suffix(path: str) -> str:
    """Return the suffix that tells the format: `.csv` of `a.csv` and of `a.csv.gz`."""
    from fsspec.utils import infer_compression

    name = PurePosixPath(path)
    return (PurePosixPath(name.stem) if infer_compression(path) else name).suffix.lower()


def _fixed_part(pattern: str) -> str:
    """Return the folder before the first wildcard."""
    parts = PurePosixPath(pattern).parts
    wild = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return str(PurePosixPath(*parts[:wild]))


def _below(path: str, base: str) -> str:
    return normalize(path.removeprefix(base).lstrip("/"))
