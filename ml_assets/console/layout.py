"""Tables and facts, and how a value is written in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NOTHING = "-"
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, but the tabulator and the line end."""


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A table of equal-keyed rows; numbers to the right."""
    shown = Table(box=None, pad_edge=False)
    for key in rows[0] if rows else ():
        numeric = isinstance(rows[0][key], int | float)
        justify: JustifyMethod = "right" if numeric else "left"
        # Folded, not cut: ids are what other commands take.
        shown.add_column(key.replace("_", " "), justify=justify, overflow="fold")
    for row in rows:
        shown.add_row(*(cell(value) for value in row.values()))
    return _titled(title, shown)


def facts(title: str, pairs: Mapping[str, Any]) -> RenderableType:
    """Two columns: names and values."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="dim")
    shown.add_column()
    for name, value in pairs.items():
        shown.add_row(name.replace("_", " "), cell(value))
    return _titled(title, shown)


def _titled(title: str, shown: Table) -> RenderableType:
    # Not the table's own title: that is wrapped to the width of the columns.
    return Padding(Group(Text(printable(title), style="bold"), shown), (1, 0, 0, 2), expand=False)


def printable(text: str) -> str:
    """A text without the commands of a terminal, which documents and names of files may hold."""
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def cell(value: Any) -> str:
    """A value as a table shows it: three decimals, thousands apart, yes and no, UTC minutes."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return moment(value)
    return escape(printable(str(value)))


def moment(value: datetime | str | None) -> str:
    """To the minute, in UTC; a text is a time as JSON keeps it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if value else NOTHING
