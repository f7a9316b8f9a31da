"""The documented objects of a Python, found by importing its standard library.

This file is run as a script, by an interpreter of its own (`python -I -S`): importing three
hundred modules leaves marks on a process, and site packages leave marks on the standard library.
So it imports nothing but the standard library. It reads a JSON object from standard input, each
module's name with the public names its `__all__` forgot, and writes one JSON object per documented
object to standard output.
"""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from types import ModuleType
from typing import Any, NamedTuple

_GENERATED = (
    "Alias for field number ",
    "A generic version of ",
    "An enumeration.",
    "Structure/Union member",
    "Internal ",
)
_SAME_MODULE = {"posixpath": "os.path", "ntpath": "os.path", "genericpath": "os.path"}


@dataclass(frozen=True, slots=True)
class Described:
    """A documented object under its best public name.

    `group` is the top-level object it belongs to, `defined_in` the module that holds its code.
    """

    name: str
    kind: str
    module: str
    group: str
    defined_in: str
    exception: bool
    doc: str


class _Candidate(NamedTuple):
    """One name of an object, and how far it is from the name that people use (low is near)."""

    distance: tuple[int, ...]
    name: str
    module: str
    value: Any


def describe(modules: Mapping[str, Iterable[str]]) -> Iterator[Described]:
    """Yield every documented public object of `modules`, each once, under its best name.

    The values are names to describe beside those of `__all__`. Modules that this Python does not
    have are passed over. An inherited member belongs to the class that defines it, or, where that
    class is private, to the nearest public one.
    """
    loaded = {name: value for name in modules if (value := _load(name)) is not None}
    chosen = _best(_module_candidates(loaded, modules))
    members = _best(
        member
        for order, candidate in enumerate(chosen.values())
        if inspect.isclass(candidate.value)
        for member in _class_candidates(candidate, order, chosen)
    )
    for name, value in loaded.items():
        yield from _described(name, value, "module", name)
    functions = {}
    for _, name, module, value in chosen.values():
        functions[name] = value
        yield from _described(name, value, _kind(value), module)
    for key, (_, name, module, value) in members.items():
        function = functions.get(f"{module}.{name.rpartition('.')[2]}")
        if key not in chosen and not _retells(function, value):
            yield from _described(name, value, _member_kind(value), module)


def topics() -> Iterator[Described]:
    """Yield the language topics of `pydoc_data`: what `help("with")` shows."""
    from pydoc_data.topics import topics as texts

    for topic, text in texts.items():
        name = f"language.{topic}"
        yield Described(name, "topic", "language", name, "language", False, inspect.cleandoc(text))


def _load(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        parent, _, attribute = name.rpartition(".")
        value = getattr(sys.modules.get(parent), attribute, None)
        return value if isinstance(value, ModuleType) else None


def _best(candidates: Iterable[_Candidate]) -> dict[int, _Candidate]:
    """Keep the nearest name of each object, by the identity of the object, and one of each name."""
    best: dict[int, _Candidate] = {}
    names: set[str] = set()
    for candidate in sorted(candidates, key=lambda candidate: candidate.distance):
        key = id(_function(candidate.value))
        if key not in best and candidate.name not in names:
            best[key] = candidate
            names.add(candidate.name)
    return best


def _module_candidates(
    loaded: Mapping[str, ModuleType], forgotten: Mapping[str, Iterable[str]]
) -> Iterator[_Candidate]:
    for order, (name, module) in enumerate(loaded.items()):
        exported = getattr(module, "__all__", None)
        names = vars(module) if exported is None else (*exported, *forgotten[name])
        for attribute in names:
            value = getattr(module, attribute, None)
            if attribute.startswith("_") or not _kind(value):
                continue
            home = _defined_in(value)
            if exported is None and home in loaded and name not in (home, "builtins"):
                continue
            own = getattr(value, "__name__", attribute)
            if getattr(module, own, value) is not value:
                continue  # socket.SocketType: the base that socket.socket extends
            away = (home != name, not _accelerates(home, name), own != attribute)
            distance = (name != "builtins", name.startswith("_"), *away, order)
            yield _Candidate(distance, f"{name}.{attribute}", name, value)


def _class_candidates(
    candidate: _Candidate, order: int, chosen: Mapping[int, _Candidate]
) -> Iterator[_Candidate]:
    """Yield the members of a class that no public base class has with the same docstring."""
    seen: set[str] = set()
    for steps, owner in enumerate(candidate.value.__mro__):
        inside = _accelerates(owner.__module__, candidate.module)
        if steps and (id(owner) in chosen or not inside):
            seen.update(vars(owner))
            continue
        for attribute, value in vars(owner).items():
            if attribute in seen or not _is_member(owner, attribute, value):
                continue
            own = getattr(_function(value), "__name__", attribute)
            name = f"{candidate.name}.{attribute}"
            member = _Candidate((steps, own != attribute, order), name, candidate.module, value)
            public = [vars(base) for base in candidate.value.__mro__[1:] if id(base) in chosen]
            overridden = [names[attribute] for names in public if attribute in names]
            if _own_doc(value) not in map(_own_doc, overridden):
                yield member
            if inspect.isclass(value):
                yield from _class_candidates(member, order, chosen)
        seen.update(vars(owner))


def _is_member(owner: type, attribute: str, value: Any) -> bool:
    if attribute.startswith("_") or not _member_kind(value):
        return False
    if isinstance(owner, enum.EnumMeta) and attribute in owner.__members__:
        return False
    return not inspect.isclass(value) or value.__qualname__ == f"{owner.__qualname__}.{attribute}"


def _retells(function: Any, member: Any) -> bool:
    """Say whether a function is a method offered as a function, as in `random` and `turtle`."""
    code = getattr(function, "__code__", None)
    generated = code is not None and code.co_filename == "<string>"
    return function is not None and (generated or _own_doc(function) == _own_doc(member))


def _described(name: str, value: Any, kind: str, module: str) -> Iterator[Described]:
    if doc := _own_doc(value):
        group = ".".join(name.split(".")[: module.count(".") + 2])
        exception = inspect.isclass(value) and issubclass(value, BaseException)
        yield Described(name, kind, module, group, _defined_in(value), exception, doc)


def _own_doc(value: Any) -> str:
    """Return the docstring a person wrote for this very object, or an empty text."""
    if inspect.isclass(value):
        doc = value.__doc__ if "__doc__" in vars(value) else None
        signed = is_dataclass(value) or hasattr(value, "_fields")
        if signed and str(doc).startswith(f"{value.__name__}(") and "\n" not in str(doc):
            return ""  # A data class or named tuple, and its own signature.
    else:
        doc = getattr(_function(value), "__doc__", None)
    if not isinstance(doc, str) or doc.startswith(_GENERATED):
        return ""
    return inspect.cleandoc(doc).strip()


def _kind(value: Any) -> str:
    """Return the kind of a module's attribute; empty for what is not described."""
    if inspect.ismodule(value):
        return ""
    if inspect.isclass(value):
        return "class"
    if inspect.isroutine(value):
        return "function"
    doc = getattr(value, "__doc__", None)
    # A constant with a docstring of its own, like typing.Union, and not that of its type.
    return "data" if isinstance(doc, str) and doc != type(value).__doc__ else ""


def _member_kind(value: Any) -> str:
    """Return the kind of a class's attribute; empty for what is not described."""
    if inspect.isclass(value):
        return "class"
    if isinstance(value, functools.cached_property) or inspect.isdatadescriptor(value):
        return "property"
    if isinstance(value, staticmethod | classmethod) or inspect.isroutine(value):
        return "method"
    return ""


def _function(value: Any) -> Any:
    """Return the function within a static method or class method."""
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def _defined_in(value: Any) -> str:
    module = getattr(value, "__name__" if inspect.ismodule(value) else "__module__", None)
    return _SAME_MODULE.get(module, module) if isinstance(module, str) else ""


def _accelerates(home: str, name: str) -> bool:
    """Say whether `home` is the accelerator (`_ssl`) or a submodule (`asyncio.tasks`) of `name`."""
    return home.lstrip("_").startswith(name.partition(".")[0])


def main() -> None:
    """Describe the modules named on standard input; nothing a module prints gets in between."""
    modules = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w", encoding="ascii") as output:
        os.dup2(2, 1)
        for described in (*describe(modules), *topics()):
            output.write(json.dumps(asdict(described)) + "\n")


if __name__ == "__main__":
    main()
