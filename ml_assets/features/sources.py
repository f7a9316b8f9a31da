"""Where the values of a view come from: SQL over the corpus, a Python function, a table outside.

What each kind gives is staged in `features.staging`, without asking which kind it is.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

Row = Mapping[str, Any]
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """One `select` over the relations of the corpus, in the SQL of DuckDB.

    It gives the entity in a column called as the view's entity (`document_id`, `collection`, or
    the key), and every feature. With `event_time`, the name of a column, it gives the values of an
    entity at several times; without, those of now.
    """

    sql: str
    event_time: str = ""

    @property
    def has_history(self) -> bool:
        """Whether there is an event time."""
        return bool(self.event_time)

    def meaning(self) -> dict[str, Any]:
        """The query, however it is indented, and its event time."""
        lines = [line.strip() for line in self.sql.strip().splitlines()]
        return {"sql": "\n".join(filter(None, lines)), "event_time": self.event_time}


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function from rows to columns.

    It is given a list of rows, each with the `inputs`, and returns for each feature one value per
    row, in their order. What it says of a row must follow from that row: rows come in batches, and
    one whose inputs are as they were is not computed again. Rows are the live documents, or those
    of a query `sql`, which gives the entity, too. Over documents alone, a request can be computed.
    """

    compute: Callable[[Sequence[Row]], Columns]
    inputs: tuple[str, ...] = ("title", "text")
    sql: str = ""
    has_history: bool = False

    def meaning(self) -> dict[str, Any]:
        """The code of the function, and of what it calls in its own module; the rows it reads."""
        return {"code": _code(self.compute), "inputs": list(self.inputs), "sql": self.sql.strip()}


@dataclass(frozen=True, slots=True)
class Table:
    """A table outside: files of Parquet or CSV, by path or glob, or `sql:` and a query.

    `key` is its column of the entity, `event_time` when a row was true, `known_time`, if there is
    such a column, when it was known; else a row is known from when it is first read. Times without
    a zone are those of `timezone`. A query asks the database of `ML_ASSETS_SOURCE_URL`. Every
    feature is a column of its own name.
    """

    url: str
    key: str
    event_time: str
    known_time: str = ""
    timezone: str = "UTC"

    @property
    def has_history(self) -> bool:
        """Always: it is a table of events."""
        return True

    def meaning(self) -> dict[str, Any]:
        """The columns, and for a query its text; files may move."""
        query = self.url if self.url.startswith("sql:") else ""
        columns = [self.key, self.event_time, self.known_time, self.timezone]
        return {"columns": columns, "query": query}


def _code(function: Callable[..., Any]) -> dict[str, str]:
    """The code of a function and of what it calls in its module, as it would be written afresh.

    Comments, docstrings and layout do not count. Values are those of plain constants.
    """
    code: dict[str, str] = {}
    pending = [function]
    while pending:
        each = pending.pop()
        if not isinstance(each, FunctionType) or each.__qualname__ in code:
            continue
        code[each.__qualname__] = _rewritten(each)
        for name in _names(each.__code__):
            value = each.__globals__.get(name)
            if isinstance(value, FunctionType) and value.__module__ == each.__module__:
                pending.append(value)
            elif isinstance(value, str | int | float | tuple | frozenset):
                code[name] = repr(sorted(value) if isinstance(value, frozenset) else value)
    return dict(sorted(code.items()))


def _rewritten(function: FunctionType) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _names(code: Any) -> set[str]:
    """The names that code looks up, and those of the functions and comprehensions within it."""
    inner = [const for const in code.co_consts if hasattr(const, "co_names")]
    return set(code.co_names).union(*map(_names, inner))
