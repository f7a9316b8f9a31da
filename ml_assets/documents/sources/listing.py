"""Which files a folder holds, here or on a web server, and how they are opened as UTF-8."""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from urllib.parse import unquote, urldefrag, urljoin

from ml_assets.errors import SourceError

_SECONDS = 60
"""Until an answer begins, and between two pieces of it: a large file may take any time."""

_WILD = re.compile(r"[*\[]")
"""What a glob begins with; a `?` is what a query begins with."""

_FROM_THE_END = (".parquet", ".zip")

_LONGEST_PAGE = 1 << 26
"""Bytes of a page that lists a folder; what is behind them is not known."""


def below(root: str) -> list[str]:
    """Return every file of a folder of this machine, and of those within it; none that is hidden.

    A folder within it that cannot be listed stands for what it holds. Links to folders are not
    followed.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    found: list[str] = []
    waiting = [root]
    for folder in waiting:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        is_folder = entry.is_dir(follow_symlinks=False)
                        (waiting if is_folder else found).append(entry.path)
        except OSError:
            if folder == root:
                raise
            found.append(folder)
    return found


def oddity(path: str) -> str:
    """Why what lies on this machine is not opened, as a pipe would never end; empty: it can be."""
    place = Path(path)
    if place.is_file() or not place.exists():
        return ""
    if not place.is_dir():
        return "neither a file nor a folder"
    if place.is_symlink():
        return "a link to a folder, which is not followed"
    return "a folder that cannot be listed"


def in_utf8(opened: Any, encoding: str = "") -> Any:
    """A file as UTF-8, that is of this encoding, or of UTF-16 where its first bytes say so."""
    if isinstance(opened, io.BufferedReader):
        head = opened.peek(2)[:2]
    else:  # of this machine
        head = opened.read(2)
        opened.seek(0)
    is_utf16 = head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if not is_utf16 and not encoding:
        return opened
    letters = _InUtf8(io.BufferedReader(opened), "utf-16" if is_utf16 else encoding)
    return io.BufferedReader(letters)


class _InUtf8(io.RawIOBase):
    """A file in another encoding; a byte that is none of it stays, and is none of UTF-8."""

    def __init__(self, opened: io.BufferedReader, encoding: str) -> None:
        errors = "replace" if encoding.startswith("utf") else "surrogateescape"
        self._text = io.TextIOWrapper(opened, encoding, errors, newline="")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        letters = self._text.read(max(1, len(buffer) // 4))
        part = letters.encode("utf-8", "surrogateescape")
        buffer[: len(part)] = part
        return len(part)


def is_web(path: str) -> bool:
    """Whether a path is that of a web server."""
    return path.startswith(("http://", "https://"))


def options() -> Mapping[str, Any]:
    """What its client is made with: a file is one answer, since many servers give no part of one.

    Raises:
        ImportError: there is no client.
    """
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
    return {"block_size": 0, "client_kwargs": {"timeout": timeout}}


def is_fetched(path: str) -> bool:
    """Whether a file of a web server is read from its end, so that all of it must be there."""
    return is_web(path) and path.lower().endswith(_FROM_THE_END)


def name_of(path: str) -> str:
    """The name of a file, of which a link has letters as `%20`."""
    return unquote(path)


def matching(filesystem: Any, pattern: str) -> tuple[str, list[str]]:
    """Return the files that a glob is said of, or those of a folder and of all within it.

    Before them comes the folder below which they are named.

    Raises:
        OSError: a folder cannot be listed, so that what it holds is not known.
        SourceError: the page that lists a folder is too long.
    """
    from fsspec.utils import glob_translate

    wild = _WILD.search(pattern)
    if wild is None and "?" in pattern:
        return pattern.rpartition("/")[0], [pattern]
    if wild is None:
        return pattern, list(_files(filesystem, pattern))
    base = pattern[: wild.start()].rpartition("/")[0]
    rest = pattern.removeprefix(base)
    depth = None if "**" in rest else rest.count("/")
    is_one = re.compile(glob_translate(name_of(pattern))).match
    return base, [path for path in _files(filesystem, base, depth) if is_one(name_of(path))]


@contextmanager
def fetched(filesystem: Any, path: str) -> Iterator[BinaryIO]:
    """A file of a web server, on a disk where it has no name; of an archive, the first file."""
    from fsspec.compression import compr

    with TemporaryFile() as copy:
        with filesystem.open(path, "rb") as opened:
            shutil.copyfileobj(opened, copy)
        copy.seek(0)
        is_archive = path.partition("?")[0].lower().endswith(".zip")
        yield compr["zip"](copy, mode="r") if is_archive else copy


def _files(filesystem: Any, root: str, depth: int | None = None) -> Iterator[str]:
    """Yield each file once that pages link to, in `depth` levels of folders; None: in all.

    A folder that is not there is passed over.
    """
    waiting = [(f"{root.rstrip('/')}/", 1)]
    seen = {waiting[0][0]}
    for folder, level in waiting:
        for path in _links(filesystem, folder):
            if path in seen:
                continue
            seen.add(path)
            if not path.endswith("/"):
                yield path
            elif depth is None or level < depth:
                waiting.append((path, level + 1))


def _links(filesystem: Any, folder: str) -> Iterator[str]:
    """Yield what the page of a folder links to, within the folder."""
    from selectolax.lexbor import LexborHTMLParser

    try:
        # With a size it is not asked for one first.
        with io.BufferedReader(filesystem.open(folder, "rb", size=1)) as opened:
            page = opened.read(_LONGEST_PAGE + 1)
    except FileNotFoundError:
        return
    if len(page) > _LONGEST_PAGE:
        do = "Give a folder within it"
        raise SourceError(f"its list has more than {_LONGEST_PAGE} bytes", where=folder, do=do)
    for link in LexborHTMLParser(page).css("a[href]"):
        path = urldefrag(urljoin(folder, (link.attributes["href"] or "").strip())).url
        name = path.partition("://")[2].removeprefix(folder.partition("://")[2])
        # A link to the page itself may have it sorted in another way.
        if is_web(path) and name != path.partition("://")[2] and not name.startswith("?") and name:
            yield f"{folder}{name}"
