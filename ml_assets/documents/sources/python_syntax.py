"""The documented public objects of a module, read from its source text without importing it."""

from __future__ import annotations

import ast
import gc
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Definition:
    """A public object with a docstring; `group` is the top-level object it belongs to."""

    name: str
    kind: str
    group: str
    doc: str


def definitions(source: bytes, module: str) -> list[Definition]:
    """Find the module itself and its public classes, functions, methods and properties.

    A literal `__all__` is respected; of two definitions of one name the first with a docstring
    counts, as for overloads and property setters.

    Raises:
        SyntaxError: the source is not that of this Python, or is nested too deeply.
    """
    enabled = gc.isenabled()
    gc.disable()  # Syntax trees have no cycles that it could collect.
    try:
        return list(_definitions(_parse(source), module))
    finally:
        if enabled:
            gc.enable()


def _definitions(tree: ast.Module, module: str) -> Iterator[Definition]:
    if doc := ast.get_docstring(tree):
        yield Definition(module, "module", module, doc)
    exported = _exported(tree)
    seen: set[str] = set()
    for node in _public(tree.body):
        if exported is None or node.name in exported:
            group = f"{module}.{node.name}"
            for definition in _walk(node, module, group, inside_class=False):
                if definition.name not in seen:
                    seen.add(definition.name)
                    yield definition


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        # Invalid escapes in the packages of others are not our reader's concern.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or "nested too deeply") from None


def _walk(
    node: _Definition, parent: str, group: str, *, inside_class: bool
) -> Iterator[Definition]:
    name = f"{parent}.{node.name}"
    if doc := ast.get_docstring(node):
        yield Definition(name, _kind(node, inside_class), group, doc)
    if isinstance(node, ast.ClassDef):
        for member in _public(node.body):
            yield from _walk(member, name, group, inside_class=True)


def _public(body: Iterable[ast.stmt]) -> Iterator[_Definition]:
    """Yield the public definitions of a body, those under `if`, `try` and `with` included."""
    for node in body:
        if isinstance(node, _Definition):
            if not node.name.startswith("_"):
                yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for block in ("body", "orelse", "finalbody"):
                yield from _public(getattr(node, block, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _public(handler.body)


def _kind(node: _Definition, inside_class: bool) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    if not inside_class:
        return "function"
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    properties = (name for name in decorators if name.rpartition(".")[2].endswith("property"))
    return "property" if any(properties) else "method"


def _exported(tree: ast.Module) -> set[str] | None:
    """Return the names of a literal `__all__`, or None when there is none or it is computed."""
    exported: set[str] | None = None
    for node in tree.body:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = getattr(node, "value", None)
            if isinstance(node, ast.AugAssign) or not isinstance(value, ast.List | ast.Tuple):
                return None
            try:
                exported = set(map(str, ast.literal_eval(value)))
            except ValueError:
                return None
    return exported
