"""Installed distributions as documents, without importing them."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from itertools import islice
from pathlib import Path

import pytest

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.python_environment import PythonEnvironment
from ml_assets.documents.sources.python_syntax import Definition, definitions

MODULE = r'''
"""A module."""
raise SystemExit("imported!")

def plain(a="\d"):
    """Plain."""

async def waiting():
    """Waiting."""

def _private():
    """Private."""

if True:
    def branch():
        """First."""
else:
    def branch():
        """Second."""

try:
    import fast
except ImportError:
    class Slow:
        """Slow."""
        @property
        def size(self):
            """Size."""
        @size.setter
        def size(self, value):
            """Never read."""
        @functools.cached_property
        def weight(self):
            """Weight."""
        def run(self):
            """Run.

            Indented.
            """
            def local():
                """Local."""
        def quiet(self):
            pass
        class Inner:
            """Inner."""
'''


def kinds(source: str) -> dict[str, str]:
    return {found.name: found.kind for found in definitions(source.encode(), "m")}


def test_definitions() -> None:
    found = {item.name: item for item in definitions(MODULE.encode(), "m")}
    assert {name: item.kind for name, item in found.items()} == {
        "m": "module",
        "m.plain": "function",
        "m.waiting": "function",
        "m.branch": "function",
        "m.Slow": "class",
        "m.Slow.size": "property",
        "m.Slow.weight": "property",
        "m.Slow.run": "method",
        "m.Slow.Inner": "class",
    }
    assert found["m.branch"].doc == "First."
    assert found["m.Slow.size"].doc == "Size."
    assert found["m.Slow.run"] == Definition("m.Slow.run", "method", "m.Slow", "Run.\n\nIndented.")


@pytest.mark.parametrize(
    ("exported", "names"),
    [
        ("__all__ = ['a']", {"m.a"}),
        ("__all__: list[str] = ('a',)", {"m.a"}),
        ("__all__ = ['a'] + other", {"m.a", "m.b"}),
        ("__all__ = ['a', name]", {"m.a", "m.b"}),
        ("__all__ = ['a']\n__all__ += ['c']", {"m.a", "m.b"}),
        ("other = ['a']", {"m.a", "m.b"}),
    ],
)
def test_all(exported: str, names: set[str]) -> None:
    source = f'{exported}\ndef a():\n  "A."\ndef b():\n  "B."\n'
    assert set(kinds(source)) == names


@pytest.mark.parametrize("source", [b"def (", b"x = '\0'", b"\xff", b"(" * 5000])
def test_no_python(source: bytes) -> None:
    with pytest.raises(SyntaxError):
        definitions(source, "m")


def install(site: Path, name: str, files: dict[str, str], listed: tuple[str, ...] = ()) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(content)
    record = "".join(f"{path},,\n" for path in (*files, *listed))
    (info / "RECORD").write_text(record)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def read() -> list[Document | Rejected]:
    source = PythonEnvironment(1000)
    return list(source.read(list(source.collections())))


def test_an_installed_distribution(site: Path) -> None:
    files = {
        "toy/__init__.py": '"""Toy."""\n',
        "toy/_hidden.py": '"""Hidden."""\n',
        "toy/tests/test_toy.py": '"""Test."""\n',
        "toy/cli-script.py": '"""Script."""\n',
        "toy/core.py": (f'def f():\n    "F."\ndef big():\n    "{"x" * 1001}"\n'),
        "toy/wrong.py": "def (",
        "toy/data.txt": "text",
    }
    (site / "toy" / "folder.py").mkdir(parents=True)
    install(site, "My_Toy", files, listed=("toy/folder.py",))
    rows = read()
    (bucket,) = {row.collection for row in rows}
    core = {"kind": "function", "module": "toy.core", "version": "1.0"}
    package = {"kind": "module", "module": "toy", "version": "1.0"}
    assert [row for row in rows if isinstance(row, Document)] == [
        Document("toy", bucket, "Toy.", "toy", "my-toy", None, "toy", package),
        Document("toy.core.f", bucket, "F.", "toy.core.f", "my-toy", None, "toy.core.f", core),
    ]
    bad = {row.location: row.reason for row in rows if isinstance(row, Rejected)}
    assert bad.pop("my-toy toy/wrong.py").startswith("cannot be read (invalid syntax")
    assert bad.pop("my-toy toy/folder.py").startswith("cannot be read ([Errno 21]")
    assert bad == {
        "my-toy toy.core.big": "1001 bytes of text, more than ML_ASSETS_MAX_DOCUMENT_BYTES=1000"
    }


def test_names_that_clash(site: Path) -> None:
    install(
        site, "one", {"x/__init__.py": 'def y():\n    "A function."\n', "x/y.py": '"""A module."""'}
    )
    install(site, "two", {"x/y.py": '"""Overwritten."""', "x.py": '"""Another."""'})
    install(site, "zoo", {"x/z.py": '"""Of the zoo."""\ndef f():\n    "Also."\n'})
    install(site, "ant", {"x/__init__.py": 'class z:\n    "C."\n    def f(): "F."\n'})
    rows = read()
    # What one collection holds does not hang on which others are read with it.
    source = PythonEnvironment(1000)
    apart = [row for name in source.collections() for row in source.read([name])]
    assert sorted(apart, key=repr) == sorted(rows, key=repr)
    names = [row.document_id for row in rows if isinstance(row, Document)]
    assert sorted(names) == ["x.y", "x.z", "x.z.f"]
    assert {row.label for row in rows if isinstance(row, Document)} == {"one", "zoo"}
    refused = {row.location: row.reason for row in rows if isinstance(row, Rejected)}
    assert refused == dict.fromkeys(["ant x.z", "ant x.z.f"], "a module has this name")


def test_a_module_that_has_another_owner_is_read_again(site: Path) -> None:
    install(site, "one", {"x.py": '"""One."""'})
    before, first = PythonEnvironment(1000).collections(), read()
    install(site, "early", {"x/__init__.py": '"""Early."""'})
    after, second = PythonEnvironment(1000).collections(), read()
    assert [row.label for row in second if isinstance(row, Document)] == ["early"]
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {row.collection for row in (*first, *second)}


def test_buckets_and_their_fingerprints(site: Path) -> None:
    install(site, "one", {"one.py": '"""One."""'})
    before = PythonEnvironment(1000).collections()
    assert len(before) == 16
    install(site, "two", {"two.py": '"""Two."""'})
    after = PythonEnvironment(1000).collections()
    changed = [name for name in after if after[name] != before[name]]
    assert len(changed) == 1
    rows = list(PythonEnvironment(1000).read(changed))
    assert "two" in {row.label for row in rows if isinstance(row, Document)}
    assert PythonEnvironment(5).collections() != after
    assert PythonEnvironment(1000).judged_queries() is None


def test_the_packages_of_this_environment() -> None:
    source = PythonEnvironment(10_000_000)
    installed = {name.lower() for name in packages_distributions()}
    rows = list(islice(source.read(list(source.collections())), 200))
    assert len({row.document_id for row in rows if isinstance(row, Document)}) > 150
    for row in rows:
        if isinstance(row, Document):
            assert row.document_id.partition(".")[0].lower() in installed
            assert f"{row.document_id}.".startswith(f"{row.group}.")
