"""Documents in files: tables, or folders of pages, wherever fsspec can reach them."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ml_assets.documents.formats import extracted, pages, tables
from ml_assets.documents.formats.extraction import Extraction
from ml_assets.documents.formats.rows import Columns, Row, check_columns
from ml_assets.documents.model import Document, Page, Rejected
from ml_assets.documents.normalize import check_collection, normalize
from ml_assets.documents.sources import listing, stamps
from ml_assets.documents.sources.base import UNATTRIBUTED
from ml_assets.documents.sources.outcomes import hash_collections, hashed, outcomes
from ml_assets.errors import SourceError, first_line, mask_secrets

VERSION = "10"
"""Raise it when the reading changes: it is part of every fingerprint."""

_split: dict[str, dict[str, str]] = {}
"""The collections of the last source that a column splits, by the hash of its bytes and mapping: a
run asks for them five times, and hashing bytes is much faster than parsing rows."""

_MANY = "all"
_BUFFER = 1 << 16
FORMATS: tuple[str, ...] = (*tables.FORMATS, *pages.FORMATS)

_IN_LETTERS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".md", ".markdown", ".rst")
"""Formats that may be in another encoding than UTF-8; HTML says in which it is."""

_OF_ONE_FILE = (
    *(FileNotFoundError, PermissionError, IsADirectoryError, gzip.BadGzipFile),
    *(EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
"""A broken link, a closed or a damaged file: the others can be read all the same."""
_BROKEN_BZIP2 = "Invalid data stream"
"""What the bz2 module says of a damaged file, as an OSError like any other."""

_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
    **dict.fromkeys(("http", "https"), "http"),
}
"""The extra that brings the package of a protocol."""

_CLIENTS = ("aiohttp", "azure", "botocore", "gcsfs", "google")
"""The packages of fsspec's object stores, whose errors are no OSError."""


class _File(NamedTuple):
    """A file: where fsspec finds it, its name below the source, and the suffix of its format.

    `listed`: what the listing of an object store says of it. `oddity`: why it is none.
    """

    path: str
    name: str
    suffix: str
    listed: stamps.Info | None = None
    oddity: str = ""


class Files:
    """The rows of the tables and the pages that match a path, a folder or a glob.

    Files are read in the order of their names, rows in the order of the file; of two rows with one
    id the first is the document. A page has the columns `pages.COLUMNS`.
    """

    def __init__(
        self,
        pattern: str,
        columns: Columns,
        max_document_bytes: int,
        name: str = "",
        extracted_folder: Path | None = None,
        encoding: str = "",
    ) -> None:
        """Describe the source; `name` is the collection when no column splits it.

        `encoding` is that of texts and tables; empty: UTF-8, or what their first bytes say. In the
        folder is kept what was extracted of PDF and other such files, by their content.
        """
        self._extracted_folder = extracted_folder
        self._pattern = pattern
        self._columns = columns
        self._max_bytes = max_document_bytes
        self._given_name = name
        self._encoding = encoding

    @property
    def name(self) -> str:
        """The kind and the path, without passwords."""
        return f"files:{mask_secrets(self._pattern)}"

    def stamp(self) -> str:
        """Return a hash of what the file system says of the files, or else of their bytes."""
        return self._hash_files(
            lambda filesystem, path, listed: (
                stamps.stamp(filesystem, path, listed)
                or stamps.content_hash(filesystem, path).hex()
            )
        )

    def collections(self) -> dict[str, str]:
        """Return the collections with a hash of their content and of the mapping.

        Unsplit, it is a hash of the files' bytes; split by a column, of each collection's rows, and
        of the rows that could belong to any.
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

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of the mapping."""
        return self._columns.feeds()

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
        collection = "" if self._columns.collection_by else self._collection()
        return outcomes(self._rows(), self._columns, collection, self._max_bytes, self.name)

    def _rows(self) -> Iterator[tuple[str, Row | str]]:
        """Yield every row with its place, and why a file among others cannot be read."""
        names: dict[str, None] = {}
        files = self._files()
        # A file of another machine is waited for.
        ahead = extracted.FORMATS if stamps.is_local(self._filesystem()[0]) else pages.FORMATS
        with Extraction(self._extracted_folder, self._max_bytes) as extraction:
            begun = extraction.ahead(
                files,
                lambda file: self._page(file, extraction.extract),
                lambda file: file.suffix in ahead,
            )
            for file, page in begun:
                try:
                    for place, row in self._read(file) if page is None else [("", page.result())]:
                        if file.suffix in tables.OPEN_COLUMNS and not isinstance(row, str):
                            names.update(dict.fromkeys(row))
                        yield f"{file.name} {place}".strip(), row
                except (SourceError, OSError, *_OF_ONE_FILE) as error:
                    if len(files) == 1 or not _is_of_one_file(error):
                        raise
                    yield file.name, _reason(error)
            extraction.forget_others()
        if names and all(file.suffix in tables.OPEN_COLUMNS for file in files):
            check_columns(names, self._columns, self.name)

    def _read(self, file: _File) -> Iterator[tuple[str, Row | str]]:
        if file.oddity:
            yield "", file.oddity
        elif file.suffix not in FORMATS:
            yield "", f"not a kind that is read ({file.suffix or 'no suffix'})"
        elif file.suffix in tables.FORMATS:
            with self._opened(file) as opened:
                yield from tables.read_table(opened, file.suffix, file.name, self._columns)
        else:
            yield "", self._page(file, extracted.extract)

    def _page(self, file: _File, extract: Callable[[bytes, str], Page | str]) -> Row | str:
        with self._opened(file) as opened:
            return pages.read_page(opened, file.name, file.suffix, self._max_bytes, extract)

    @contextmanager
    def _opened(self, file: _File) -> Iterator[Any]:
        from fsspec.utils import infer_compression

        compression = None if file.suffix == ".parquet" else infer_compression(_told(file.path))
        filesystem, _ = self._filesystem()
        if listing.is_fetched(_told(file.path)):
            with listing.fetched(filesystem, file.path) as copy:
                yield copy
            return
        with filesystem.open(file.path, "rb", compression=compression) as opened:
            # A file of an object store has no `readline` that stops at a length.
            local = stamps.is_local(filesystem)
            buffered = opened if local else io.BufferedReader(opened, _BUFFER)
            in_letters = file.suffix in _IN_LETTERS
            yield listing.in_utf8(buffered, self._encoding) if in_letters else buffered

    def _files(self) -> list[_File]:
        """Return every file, in the order of their paths."""
        filesystem, root = self._filesystem()
        filesystem.invalidate_cache()
        local = stamps.is_local(filesystem)
        paths: Any
        if _is_file(filesystem, root):
            base = root.rpartition("/")[0]
            paths = [root] if local else {root: filesystem.info(root)}
        elif listing.is_web(root):
            base, found = listing.matching(filesystem, root)
            paths = dict.fromkeys(found)  # no page tells of changes: each file is asked
        elif local and filesystem.isdir(root):
            base, paths = root, listing.below(root)
        elif not local and not has_magic(root):
            base, paths = root, filesystem.find(root, detail=True)
            if root in paths:  # it is a file, of which adlfs tells no more
                base, paths = root.rpartition("/")[0], {root: filesystem.info(root)}
        else:
            base, paths = _fixed_part(root), filesystem.glob(root, detail=not local)
            if local:
                paths = [path for path in paths if not filesystem.isdir(path)]
            else:
                paths = {path: info for path, info in paths.items() if info["type"] == "file"}
        # Consoles mark a folder of an object store by an empty object whose name ends so.
        paths_of_files = sorted(path for path in paths if not path.endswith("/"))
        name_of = listing.name_of if listing.is_web(root) else str
        named = (
            (path, normalize(name_of(_told(path).removeprefix(base).lstrip("/"))))
            for path in paths_of_files
        )
        files = [
            _file(path, name) if local else _File(path, name, _suffix(_told(path)), paths[path])
            for path, name in named
            if "/." not in f"/{name}"
        ]
        readable = [file for file in files if file.suffix in FORMATS]
        if files and not readable:
            do = f"Readable: {', '.join(FORMATS)}"
            raise SourceError("unreadable format", where=files[0].name, do=do)
        if not files:
            do = f"Give a file, a folder with {', '.join(pages.FORMATS)}, or a glob"
            raise SourceError("no such file", where=self.name, do=do)
        return files

    def _filesystem(self) -> tuple[Any, str]:
        """Return the file system, and the pattern within it."""
        import fsspec

        try:
            options = listing.options() if listing.is_web(self._pattern) else {}
            filesystem: tuple[Any, str] = fsspec.url_to_fs(self._pattern, **options)
        except ImportError as error:
            extra = _EXTRAS.get(self._pattern.partition("://")[0])
            do = f"pip install 'ml-assets[{extra}]'" if extra else "Install it beside ml-assets"
            raise SourceError(f"a package is missing ({error})", where=self.name, do=do) from None
        except ValueError as error:
            raise SourceError(str(error), where=self.name, do="Correct the URL") from None
        return filesystem

    def _collection(self) -> str:
        """Return the collection of a source that no column splits."""
        filesystem, root = self._filesystem()
        stem = PurePosixPath(root).name.partition(".")[0]
        name = self._given_name or (stem if _is_file(filesystem, root) else _MANY)
        if wrong := check_collection(name):
            raise SourceError(wrong, where=self.name, do="Give it a name, as in ?name=tweets")
        return name

    def _hash_bytes(self) -> str:
        return self._hash_files(stamps.fingerprint)

    def _hash_files(self, told: Callable[[Any, str, stamps.Info | None], str]) -> str:
        """Return a hash of the names, and of what is told of each file that is read."""
        digest = self._digest()
        with self._errors():
            for file in self._files():
                word = ""
                if file.suffix in FORMATS:
                    with suppress(*_OF_ONE_FILE):
                        word = told(self._filesystem()[0], file.path, file.listed)
                if file.suffix in extracted.FORMATS:  # another version may extract another text
                    word += extracted.extractor(file.suffix)
                digest.update(f"\0{file.name}\0{word}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _hash_rows(self) -> dict[str, str]:
        where = f"{self.name}, column {self._columns.collection_by!r}"
        return hash_collections(hashed(self._outcomes()), self._digest, where)

    def _digest(self) -> hashlib._Hash:
        encoding = f" {self._encoding}" if self._encoding else ""
        parameters = f"{VERSION} {self._max_bytes} {self._columns.canonical()}{encoding}"
        return hashlib.sha256(parameters.encode())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the errors of reading files into one line."""
        remote = not stamps.is_local(self._filesystem()[0])
        what = "the URL, the credentials" if remote else "the path, its permissions"
        do = f"Check {what} and the connection, and run again"
        try:
            yield
        except FileNotFoundError as error:
            message = "no such file or bucket" if remote else _reason(error)
            raise SourceError(message, where=self.name, do=do) from None
        except _OF_ONE_FILE as error:
            if not remote:
                do = "Check the file and its permissions, and run again"
            raise SourceError(_reason(error), where=self.name, do=do) from None
        except OSError as error:
            raise SourceError(_reason(error), where=self.name, do=do) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _CLIENTS:
                raise
            raise SourceError(first_line(error), where=self.name, do=do) from None


def _is_of_one_file(error: Exception) -> bool:
    """Whether others can be read all the same."""
    return isinstance(error, (SourceError, *_OF_ONE_FILE)) or str(error) == _BROKEN_BZIP2


def _reason(error: Exception) -> str:
    """Why one file cannot be read."""
    if isinstance(error, OSError) and str(error) != _BROKEN_BZIP2:
        return f"cannot be read ({error.strerror or first_line(error)})"
    if isinstance(error, SourceError):
        return str(error)
    return f"a compressed file is broken ({error})"


def _file(path: str, name: str) -> _File:
    """A file of this machine; what cannot be opened has no format."""
    odd = listing.oddity(path)
    return _File(path, name, "" if odd else _suffix(path), oddity=odd)


def _told(path: str) -> str:
    """A path that tells the format: without the query of a web server, as signatures are one."""
    bare = path.partition("?")[0]
    return bare if listing.is_web(path) and _suffix(bare) in FORMATS else path


def _suffix(path: str) -> str:
    """Return the suffix that tells the format: `.csv` of `a.csv` and of `a.csv.gz`."""
    from fsspec.utils import infer_compression

    name = PurePosixPath(path)
    return (PurePosixPath(name.stem) if infer_compression(path) else name).suffix.lower()


def _is_file(filesystem: Any, path: str) -> bool:
    """Whether it is one file; an object store is not asked of what can be none that is read.

    Brackets are part of many names.
    """
    asked = stamps.is_local(filesystem) or (not {*"*?"} & {*path} and _suffix(path) in FORMATS)
    return asked and filesystem.isfile(path)


def _fixed_part(pattern: str) -> str:
    """Return the folder before the first wildcard."""
    parts = pattern.split("/")  # a path of a web server has a `//`
    wild = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return "/".join(parts[:wild])
