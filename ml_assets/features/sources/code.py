"""What the code of a function is, however it is laid out: so that a change of it is seen."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any


def code_of(function: Callable[..., Any]) -> dict[str, str]:
    """The code of a function and of what it calls in its module, as it would be written afresh.

    Comments, docstrings and layout do not count; plain constants that it names do. What it imports
    does not: another release of a library is another version for its user to name.
    """
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
    return dict(sorted(code.items()))


def _is_own(value: object, function: FunctionType) -> bool:
    return not isinstance(value, FunctionType) or value.__module__ == function.__module__


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
