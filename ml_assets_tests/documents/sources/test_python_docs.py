"""The standard library as documents."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ml_assets.documents.model import Document
from ml_assets.documents.normalize import check_collection, check_name, normalize
from ml_assets.documents.sources import python_docs
from ml_assets.documents.sources.python_docs import LANGUAGE, PythonDocs
from ml_assets.errors import SourceError

SOURCE = PythonDocs()
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
ROOT = f"https://docs.python.org/{VERSION}"


@pytest.fixture(scope="module")
def found() -> dict[str, Document]:
    rows = [row for row in SOURCE.read(list(SOURCE.collections())) if isinstance(row, Document)]
    documents = {row.document_id: row for row in rows}
    assert len(documents) == len(rows)
    return documents


def test_how_many(found: dict[str, Document]) -> None:
    assert 4500 <= len(found) <= 8000
    chapters = Counter(document.collection for document in found.values())
    assert set(chapters) == set(SOURCE.collections())
    assert 25 <= len(chapters) <= 32
    assert min(chapters.values()) >= 20


def test_every_document_is_whole(found: dict[str, Document]) -> None:
    for name, document in found.items():
        assert document.title == name
        assert document.label == document.collection
        assert check_name(name, "id") is None
        assert check_collection(document.collection) is None
        assert document.text.strip()
        assert document.text == normalize(document.text)
        assert name == document.group or name.startswith(f"{document.group}.")
        assert re.fullmatch(rf"{ROOT}/(library|reference)/[\w.-]+\.html#[\w.-]+", str(document.url))
        assert document.metadata["python_version"] == VERSION


@pytest.mark.parametrize(
    ("name", "chapter", "kind", "group", "page"),
    [
        (
            "argparse.ArgumentParser.add_argument",
            "Generic Operating System Services",
            "method",
            "argparse.ArgumentParser",
            "library/argparse.html#argparse.ArgumentParser.add_argument",
        ),
        (
            "os.path.join",
            "File and Directory Access",
            "function",
            "os.path.join",
            "library/os.path.html#os.path.join",
        ),
        (
            "asyncio.run",
            "Networking and Interprocess Communication",
            "function",
            "asyncio.run",
            "library/asyncio-runner.html#asyncio.run",
        ),
        (
            "builtins.str.split",
            "Built-in Types",
            "method",
            "builtins.str",
            "library/stdtypes.html#str.split",
        ),
        (
            "builtins.open",
            "Built-in Functions",
            "function",
            "builtins.open",
            "library/functions.html#open",
        ),
        (
            "builtins.KeyError",
            "Built-in Exceptions",
            "class",
            "builtins.KeyError",
            "library/exceptions.html#KeyError",
        ),
        (
            "language.with",
            LANGUAGE,
            "topic",
            "language.with",
            "reference/compound_stmts.html#with",
        ),
        (
            "xml.etree.ElementTree.ElementTree.find",
            "Structured Markup Processing Tools",
            "method",
            "xml.etree.ElementTree.ElementTree",
            "library/xml.etree.elementtree.html#xml.etree.ElementTree.ElementTree.find",
        ),
        ("json", "Internet Data Handling", "module", "json", "library/json.html#module-json"),
        (
            "pathlib.PurePath.stem",
            "File and Directory Access",
            "property",
            "pathlib.PurePath",
            "library/pathlib.html#pathlib.PurePath.stem",
        ),
    ],
)
def test_well_known(
    found: dict[str, Document], name: str, chapter: str, kind: str, group: str, page: str
) -> None:
    document = found[name]
    assert (document.collection, document.group) == (chapter, group)
    assert document.metadata["kind"] == kind
    assert document.url == f"{ROOT}/{page}"


@pytest.mark.parametrize(
    "name",
    [
        "socket.socket.bind",  # of the private base _socket.socket
        "email.message.MIMEPart.iter_attachments",
        "pathlib.Path.mkdir",
        "datetime.datetime.isoformat",
        "random.randint",  # a bound method of a hidden instance
        "hashlib.scrypt",  # documented, though __all__ forgot it
        "typing.Optional",
        "io.TextIOWrapper.reconfigure",
        "venv.EnvBuilder.create",
        "collections.abc.Mapping",
        "concurrent.futures.Executor.submit",
        "decimal.Decimal.quantize",
        "threading.Thread.start",
        "builtins.dict.items",
    ],
)
def test_under_its_public_name(found: dict[str, Document], name: str) -> None:
    assert name in found


@pytest.mark.parametrize(
    "name",
    [
        "posixpath.join",
        "io.open",  # builtins.open
        "os.error",  # builtins.OSError
        "asyncio.TimeoutError",  # builtins.TimeoutError
        "array.ArrayType",
        "socket.SocketType.bind",
        "random.Random.randint",
        "turtle.RawTurtle.forward",
        "concurrent.futures.ThreadPoolExecutor.submit",  # repeats Executor's
        "collections.OrderedDict.get",  # inherited from dict
        "asyncio.runners.run",
        "this",
        "antigravity",
        "idlelib",
        "test",
        "__main__",
    ],
)
def test_under_no_other_name(found: dict[str, Document], name: str) -> None:
    assert name not in found


def test_nothing_private_and_nothing_generated(found: dict[str, Document]) -> None:
    for name, document in found.items():
        private = [part for part in name.split(".") if part.startswith("_")]
        assert private in ([], ["__future__"], ["_thread"])
        assert not document.text.startswith(("Alias for field", "Structure/Union member"))


def test_reading_is_silent_repeatable_and_leaves_no_trace() -> None:
    script = (
        "import sys, hashlib\n"
        "from ml_assets.documents.sources.python_docs import PythonDocs\n"
        "source = PythonDocs(); names = list(source.collections()); before = set(sys.modules)\n"
        "rows = list(source.read(names))\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
        "sys.stderr.write(hashlib.sha256(repr(rows).encode()).hexdigest())\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert re.fullmatch("[0-9a-f]{64}", done.stderr)
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stderr == done.stderr


def test_only_the_chapters_asked_for() -> None:
    rows = list(SOURCE.read(["Data Types", "none"]))
    assert {row.collection for row in rows} == {"Data Types"}
    assert list(SOURCE.read([])) == []


def test_fingerprints_need_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SOURCE.collections()
    assert SOURCE.collections() == before
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    monkeypatch.setattr(python_docs, "_documents", None)
    assert set(SOURCE.collections().values()).isdisjoint(before.values())


def test_the_table_knows_every_public_module() -> None:
    with (Path(python_docs.__file__).parent / "python_chapters.csv").open() as file:
        listed = {row["module"] for row in csv.DictReader(file)}
    left_out = {
        *("antigravity", "this", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "distutils"),
        *("genericpath", "ntpath", "nturl2path", "posixpath", "nt", "posix", "opcode", "pyexpat"),
        *("sre_compile", "sre_constants", "sre_parse"),
    }
    public = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert public - left_out <= listed
    assert len(listed) > 280


def test_judged_queries(found: dict[str, Document]) -> None:
    queries = SOURCE.judged_queries()
    assert len(queries) >= 150
    assert len({query.query_id for query in queries}) == len(queries)
    halves = Counter(query.half for query in queries)
    assert min(halves["tuning"], halves["reporting"]) >= 70
    for query in queries:
        assert query.relevant
        assert set(query.relevant) <= set(found)
        assert min(query.relevant.values()) > 0


def test_a_python_that_cannot_describe_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SourceError, match="/bin/false: cannot describe the standard library"):
        python_docs._described()
