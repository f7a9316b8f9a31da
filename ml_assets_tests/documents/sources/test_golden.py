"""What the sources make of fixed input, bound to their versions."""

import gzip
import json
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from pymongo import MongoClient

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources import files, python_docs, python_environment
from ml_assets.documents.sources.databases import mongodb, sql
from ml_assets.documents.sources.databases.connections import Database
from ml_assets.documents.sources.python_objects import describe
from ml_assets_tests import golden
from ml_assets_tests.servers.mongodb import Mock, mongodb_over_tcp

MODULE = '''
"""Shapes.   \\n\\n   Indented."""
import enum, functools

class Shape:
    """A shape."""
    def area(self):
        """The area.

            >>> Shape().area()
        """
    @property
    def size(self):
        """The size."""
    @functools.cached_property
    def weight(self):
        """The weight."""
    @classmethod
    def make(cls):
        """Make one."""
    class Inner:
        """Within."""
    def _hidden(self):
        """Hidden."""
    def silent(self):
        pass

class Trouble(ValueError):
    """A mistake."""

class Colour(enum.Enum):
    """Colours."""
    RED = 1

def area(shape: Shape, unit="m\\u00b2") -> float:
    """Area of all: \\u6f22\\u5b57."""

async def later():
    """Later."""
'''
FILES = {
    "table.csv": "id,title,text,label\n"
    '1,One,"First, text",a\n2,,Second, b\u200b\n2,,Again,b\n3,Three,,a\n',
    "rows.jsonl": '{"id": 7, "text": "Line\\u0301 one\\r\\ntwo", "tags": ["x"]}\n{"id": 8}\nno\n',
    "page.md": "# Heading\n\nSome *text* with a [link](https://example.org).\n",
    "page.html": "<html><head><title>A page</title><style>p {}</style></head><body><nav>Menu</nav>"
    "<h1>Head</h1><p>One&nbsp;two<br>three</p><script>x()</script></body></html>",
    "notes.txt": "First line\n\n  Second paragraph.\n",
}


def _is_place(row: Document | Rejected, name: str) -> bool:
    """Where a document stands is no part of it."""
    return isinstance(row, Document) and name == "location"


def shown(rows: Iterable[Document | Rejected], folder: Path) -> object:
    """The rows as JSON knows them, without the name of the folder; headings where there are any."""
    found = [
        {
            type(row).__name__: {
                name: value
                for name, value in asdict(row).items()
                if (name, value) != ("headings", ()) and not _is_place(row, name)
            }
        }
        for row in rows
    ]
    return json.loads(json.dumps(found, default=str).replace(str(folder), "FOLDER"))


def test_golden_files(tmp_path: Path) -> None:
    output = {}
    for name, content in FILES.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(content, "utf-8")
        (folder / f"{name}.gz").write_bytes(gzip.compress(content.replace("1", "9").encode()))
        source = files.Files(f"{folder}/*", columns_from({}), 10_000)
        output[name] = shown(source.read(source.collections()), tmp_path)
    golden.check("ml_assets.documents.sources.files.VERSION", files.VERSION, output)


def test_golden_rows_of_a_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("create table t (id, title, text, label, about)")
        rows = [
            (1, "One", "First: text", "a", '{"k": {"n": 1.5}}'),
            (2, None, b"Second", 7, "no"),
            (2, None, "Again", None, None),
            (3, "Three", None, "a ", "[1]"),
        ]
        connection.executemany("insert into t values (?, ?, ?, ?, ?)", rows)
    connection.close()
    columns = columns_from({"metadata": "about,about.k.n"})
    source = sql.Sql(Database(f"sqlite:///{tmp_path}/x.db"), columns, 10_000, table="t")
    output = shown(source.read(source.collections()), tmp_path)
    golden.check("ml_assets.documents.sources.databases.sql.VERSION", sql.VERSION, output)


def test_golden_documents_of_mongodb(tmp_path: Path) -> None:
    rows = [
        {"_id": ObjectId("65a1b2c3d4e5f60718293a4b"), "title": "One", "text": "First\r\ntext"},
        {"_id": 2, "text": Binary(b"Second"), "about": {"k": {"n": Decimal128("1.50")}}},
        {"_id": "2", "text": "Again"},
        {"_id": 3, "title": "Three", "about": [Int64(1), None], "label": "\ufeffb "},
        {"_id": {"a": 1}, "text": "Fifth"},
        {"_id": 6, "text": Regex("x")},
    ]
    with mongodb_over_tcp(Mock()) as gateway:
        with closing(MongoClient[dict[str, Any]](gateway.url)) as client:
            client["shop"]["t"].insert_many(rows)
        columns = columns_from({"id": "_id", "metadata": "about,about.k.n"})
        source = mongodb.Mongodb(gateway.url, "t", columns, 10_000)
        output = shown(source.read(source.collections()), tmp_path)
    constant = "ml_assets.documents.sources.databases.mongodb.VERSION"
    golden.check(constant, mongodb.VERSION, output)


def test_golden_python_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shapes")
    monkeypatch.setitem(sys.modules, "shapes", module)
    exec(compile(MODULE, "shapes.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    output = [
        [item.name, item.kind, item.module, item.group, item.exception, item.doc]
        for item in describe({"shapes": []})
    ]
    golden.check("ml_assets.documents.sources.python_docs.VERSION", python_docs.VERSION, output)


def test_golden_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    info = tmp_path / "golden-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: golden\nVersion: 1.0\n")
    (info / "RECORD").write_text("shapes.py,,\ntests/shapes.py,,\n_own.py,,\n")
    for name in ("shapes.py", "_own.py"):
        (tmp_path / name).write_text(MODULE, "utf-8")
    source = python_environment.PythonEnvironment(1000)
    output = shown(source.read(source.collections()), tmp_path)
    constant = "ml_assets.documents.sources.python_environment.VERSION"
    golden.check(constant, python_environment.VERSION, output)
