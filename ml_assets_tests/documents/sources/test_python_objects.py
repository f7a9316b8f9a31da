"""Which objects of a module are described, and under which name; on modules made for it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ml_assets.documents.sources.python_objects import Described, describe, topics

PRIVATE = '''
class Base:
    def shared(self):
        """Shared by the public class."""
    def overridden(self):
        """The base's own words."""

def accelerated():
    """Quick."""
'''
PUBLIC = '''
"""A module."""
import collections, dataclasses, enum, functools, os, random
from _toy import Base, accelerated
from os.path import join
from typing import Optional

__all__ = ["Shape", "Circle", "Colour", "Point", "Pair", "accelerated", "area", "surface",
           "choose", "CONSTANT", "Optional", "missing"]

class Shape(Base):
    """A shape."""
    def overridden(self):
        """In other words."""
    def area(self):
        """The area."""
    @property
    def size(self):
        """The size."""
    @functools.cached_property
    def weight(self):
        """The weight."""
    @classmethod
    def make(cls):
        """Make one."""
    @staticmethod
    def check():
        """Check one."""
    def silent(self):
        pass
    def _hidden(self):
        """Hidden."""
    class Inner:
        """Within."""
        def deep(self):
            """Deep."""

class Circle(Shape):
    def area(self):
        """The area."""
    def overridden(self):
        """Round words."""

class Colour(enum.Enum):
    """Colours."""
    RED = 1

@dataclasses.dataclass
class Point:
    x: int

Pair = collections.namedtuple("Pair", "a b")

def area():
    """Area of all."""

surface = area
_random = random.Random()
choose = _random.choice
CONSTANT = 5

def unlisted():
    """Not exported."""

def forgotten():
    """Documented all the same."""
'''


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Described]:
    for name, source in (("_toy", PRIVATE), ("toy", PUBLIC)):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)  # noqa: S102
    described = list(describe({"toy": ["forgotten"], "no_such_module": [], "sys.no_such": []}))
    names = [item.name for item in described]
    assert len(names) == len(set(names))
    return {item.name: item for item in described}


def test_what_is_described(found: dict[str, Described]) -> None:
    assert {name: item.kind for name, item in found.items()} == {
        "toy": "module",
        "toy.Shape": "class",
        "toy.Shape.shared": "method",
        "toy.Shape.overridden": "method",
        "toy.Shape.area": "method",
        "toy.Shape.size": "property",
        "toy.Shape.weight": "property",
        "toy.Shape.make": "method",
        "toy.Shape.check": "method",
        "toy.Shape.Inner": "class",
        "toy.Shape.Inner.deep": "method",
        "toy.Circle.overridden": "method",
        "toy.Colour": "class",
        "toy.accelerated": "function",
        "toy.area": "function",
        "toy.choose": "function",
        "toy.Optional": "data",
        "toy.forgotten": "function",
    }


def test_how_it_is_described(found: dict[str, Described]) -> None:
    assert found["toy.Shape.Inner.deep"] == Described(
        "toy.Shape.Inner.deep", "method", "toy", "toy.Shape", "toy", False, "Deep."
    )
    assert found["toy.Shape.overridden"].doc == "In other words."
    assert found["toy.accelerated"].defined_in == "_toy"
    assert found["toy"].group == "toy"


def test_the_name_of_the_library_that_documents_it() -> None:
    modules: dict[str, list[str]] = {"posixpath": [], "os.path": [], "io": [], "builtins": []}
    names = {item.name for item in describe(modules)}
    assert {"os.path.join", "builtins.open", "builtins.OSError", "io.BytesIO"} <= names
    assert "posixpath.join" not in names
    assert "io.open" not in names


def test_topics() -> None:
    described = {item.name: item for item in topics()}
    assert described["language.with"].kind == "topic"
    assert described["language.with"].doc.startswith('The "with" statement')
    assert len(described) > 70
