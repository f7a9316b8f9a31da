"""The documentation of the running Python: its standard library and its language topics."""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import normalize
from ml_assets.documents.sources.base import JudgedQueries, named_alike
from ml_assets.documents.sources.judged import read_judged
from ml_assets.documents.sources.python_objects import Described
from ml_assets.errors import SourceError

VERSION = "1"
"""Raise it when the extraction changes: it is part of every fingerprint."""

LANGUAGE = "The Python Language"
_ROOM = Path(__file__).resolve().parent
_CHAPTERS = _ROOM / "python_chapters.csv"
_PAGES = _ROOM / "python_pages.csv"
_JUDGED = _ROOM / "python_judged.jsonl"
_BUILTIN_CHAPTERS = {
    "library/functions": "Built-in Functions",
    "library/stdtypes": "Built-in Types",
    "library/exceptions": "Built-in Exceptions",
}
_PYTHON = ".".join(platform.python_version_tuple()[:2])
_FIELDS = (
    *("document_id", "collection", "text", "title", "label", "url", "group"),
    *("metadata.kind", "metadata.module", "metadata.python_version"),
)
"""What a document of this source has."""


class PythonDocs:
    """Every documented public object of the standard library, under its public name.

    Collection and label are the chapter of the Library Reference; small chapters share one.
    """

    name = "python_docs"

    def stamp(self) -> str:
        """Return a constant: the running Python does not change."""
        return platform.python_version()

    def collections(self) -> dict[str, str]:
        """Return the chapters; their fingerprint is that of Python and of the tables."""
        parts = (platform.python_version(), platform.python_implementation(), VERSION)
        digest = hashlib.sha256("".join(f"{part}\n" for part in parts).encode())
        for table in (_CHAPTERS, _PAGES):
            digest.update(table.read_bytes())
        chapters = {row["chapter"] for row in _rows(_CHAPTERS)}
        chapters |= {LANGUAGE, *_BUILTIN_CHAPTERS.values()}
        return dict.fromkeys(sorted(chapters), digest.hexdigest())

    def columns(self) -> dict[str, tuple[str, ...]]:
        """Return the fields themselves: what describes itself has no columns."""
        return named_alike(*_FIELDS)

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Yield the documents of these chapters, ordered by name.

        Raises:
            SourceError: this Python cannot describe itself.
        """
        wanted = set(collections)
        return (document for document in _documents() if document.collection in wanted)

    def judged_queries(self) -> JudgedQueries:
        """Return the questions that this Python's documents can answer, with those documents."""
        known = {document.document_id for document in _documents()}
        answered = (
            replace(
                query, relevant={name: n for name, n in query.relevant.items() if name in known}
            )
            for query in read_judged(_JUDGED)
        )
        return tuple(query for query in answered if query.relevant)


@cache
def _documents() -> tuple[Document, ...]:
    described = _described()
    exceptions = {item.name for item in described if item.exception}
    chapters = {row["module"]: row["chapter"] for row in _rows(_CHAPTERS)}
    pages = {row["name"]: row["page"] for row in _rows(_PAGES)}
    documents = (_document(item, chapters, pages, exceptions) for item in described)
    return tuple(sorted(documents, key=lambda document: document.document_id))


def _described() -> list[Described]:
    """Ask a fresh interpreter, free of site packages and of all that this process imported."""
    forgotten = {row["module"]: row["also"].split() for row in _rows(_CHAPTERS)}
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(_ROOM / "python_objects.py")]
    done = subprocess.run(
        command, input=json.dumps(forgotten), capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        message = f"cannot describe the standard library ({last})"
        do = "Repair this Python, or set ML_ASSETS_SOURCE to another source"
        raise SourceError(message, where=sys.executable, do=do)
    return [Described(**json.loads(line)) for line in done.stdout.splitlines()]


def _document(
    item: Described, chapters: dict[str, str], pages: dict[str, str], exceptions: set[str]
) -> Document:
    chapter, page = _place(item, chapters, pages, exceptions)
    anchor = f"module-{item.name}" if item.kind == "module" else item.name
    anchor = anchor.removeprefix("language." if item.kind == "topic" else "builtins.")
    return Document(
        document_id=item.name,
        collection=chapter,
        text=normalize(item.doc),
        title=item.name,
        label=chapter,
        url=f"https://docs.python.org/{_PYTHON}/{page}.html#{anchor}",
        group=item.group,
        metadata={"kind": item.kind, "module": item.module, "python_version": _PYTHON},
    )


def _place(
    item: Described, chapters: dict[str, str], pages: dict[str, str], exceptions: set[str]
) -> tuple[str, str]:
    """Return the chapter, and the page of the documentation, e.g. `library/asyncio-task`."""
    if item.kind == "topic":
        return LANGUAGE, pages.get(item.name, "reference/index")
    if item.module == "builtins":
        page = pages.get(item.name, "library/stdtypes")
        if item.kind in ("function", "module"):
            page = "library/functions"
        if item.group in exceptions:
            page = "library/exceptions"
        return _BUILTIN_CHAPTERS[page], page
    names = (item.name, item.group, item.defined_in, item.module)
    page = next((pages[name] for name in names if name in pages), f"library/{item.module.lower()}")
    return chapters[item.module], page


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
