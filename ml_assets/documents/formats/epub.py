"""Books: the pages of an EPUB in the order in which they are read, each as HTML."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections import defaultdict
from typing import NoReturn
from urllib.parse import unquote
from xml.etree import ElementTree

from ml_assets.documents.formats.html import decode_html, read_html
from ml_assets.documents.model import Heading, Page

LONGEST = 1 << 26
"""Bytes of all pages together, unpacked."""

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"


def read_epub(content: bytes) -> Page:
    """Read a book: its pages one after the other, an empty line between them.

    Raises:
        ValueError: it is none, or has more than `LONGEST` bytes of pages; it may be any error of
            the modules zipfile, zlib and ElementTree too.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        title, names = _spine(archive)
        texts: list[str] = []
        headings: list[Heading] = []
        offset, left = 0, LONGEST
        for name in names:
            page = archive.open(name).read(left + 1)
            left -= len(page)
            if left < 0:
                raise ValueError(f"its pages exceed {LONGEST} bytes")
            _, text, own = read_html(decode_html(page))
            if text:
                headings += [Heading(offset + it.offset, it.level, it.words) for it in own]
                texts.append(text)
                offset += len(text) + 2
    return Page(title, "\n\n".join(texts), tuple(headings))


def _spine(archive: zipfile.ZipFile) -> tuple[str, list[str]]:
    """The title of a book, and the names of its pages in their order."""
    roots = [it.get("full-path", "") for it in _elements(archive, _CONTAINER)["rootfile"]]
    if not roots:
        _refuse("its container names no book")
    package = unquote(roots[0])
    told = _elements(archive, package)
    items = {it.get("id"): it for it in told["item"]}
    order = [items.get(it.get("idref")) for it in told["itemref"]]
    folder = posixpath.dirname(package)
    named = dict.fromkeys(
        posixpath.normpath(posixpath.join(folder, unquote(it.get("href", "").partition("#")[0])))
        for it in order
        if it is not None and "html" in it.get("media-type", "")
    )
    known, locked = {*archive.namelist()}, _locked(archive)
    there = [name for name in named if name in known]
    if there and not (there := [name for name in there if name not in locked]):
        _refuse("its pages are encrypted")
    if not there:
        _refuse("none of its pages is there")
    titles = [it.text or "" for it in told["title"][:1]]
    return " ".join("".join(titles).split()), there


def _locked(archive: zipfile.ZipFile) -> set[str]:
    """The names of what only a reader with a key can read; fonts are among them in many books."""
    if _ENCRYPTION not in archive.namelist():
        return set()
    references = _elements(archive, _ENCRYPTION)["CipherReference"]
    return {unquote(it.get("URI", "")) for it in references}


def _elements(archive: zipfile.ZipFile, name: str) -> defaultdict[str, list[ElementTree.Element]]:
    """The elements of a file by what they are called, in any name space."""
    if name not in archive.namelist():
        _refuse(f"it has no {name}")
    found = defaultdict[str, list[ElementTree.Element]](list)
    file = archive.open(name).read(LONGEST)
    for element in ElementTree.fromstring(file).iter():  # noqa: S314  expat bounds what grows
        found[element.tag.rpartition("}")[2]].append(element)
    return found


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)
