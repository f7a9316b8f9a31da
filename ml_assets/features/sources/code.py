"""What the code of a function is, however it is laid out: so that a change of it is seen."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from ml_assets.errors import FeatureViewError


def code_of(function: Callable[..., Any]) -> dict[str, str]:
    """The code of a function and of what it calls in its module, as it would be written afresh.

    Comments, docstrings and layout do not count; constants that it names do: plain ones by their
    value, lists, dictionaries, sets and patterns as they are written, since a run may fill them.
    What it imports does not: another release of a library is another version for its user to name.

    Raises:
        FeatureViewError: its code cannot be told, as of a method, an object, or some lambdas.
    """
    try:
        if isinstance(function, FunctionType):
            return _code_of(function)
    except (OSError, SyntaxError):
        pass
    do = "Give one that `def` makes in a module, so that a change of it is seen"
    raise FeatureViewError(f"the code of {function!r} cannot be read", where="a Function", do=do)


def _code_of(function: FunctionType) -> dict[str, str]:
    code: dict[str, str] = {}
    pending: list[tuple[str, object]] = [(function.__name__, function)]
    while pending:
        name, value = pending.pop()
        if name in code:
            continue
        if isinstance(value, FunctionType):
            code[name] = _rewritten(value)
            known = value.__globals__
            inner = ((each, known[each]) for each in _names(value.__code__) if each in known)
            pending += [pair for pair in inner if _is_own(pair[1], value)]
        elif isinstance(value, str | int | float | bytes | tuple | frozenset):
            code[name] = repr(sorted(value) if isinstance(value, frozenset) else value)
        elif isinstance(value, list | dict | set | re.Pattern):
            code |= _as_assigned(name, function)
    return dict(sorted(code.items()))


def _is_own(value: object, function: FunctionType) -> bool:
    return not isinstance(value, FunctionType) or value.__module__ == function.__module__


def _as_assigned(name: str, function: FunctionType) -> dict[str, str]:
    """What the module of a function assigns to a name first; nothing if it is imported."""
    module = inspect.getmodule(function)
    for node in ast.parse(inspect.getsource(module)).body if module else ():
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return {name: ast.unparse(node.value)}
    return {}


def _rewritten(function: FunctionType) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _names(code: CodeType) -> set[str]:
    """The names that code looks up, and those of the functions and comprehensions within it."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
