"""Feature views: the list, one of them, and the values of an entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ml_assets.console.layout import facts, table


def listed(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every version of every view, with the rows that are kept of it."""
    # Names are left whole, as other commands take them: they are narrow columns that wrap.
    shown = [
        {
            "view": f"{row['view']} {row['version']}",
            **{name: value for name, value in row.items() if name not in ("view", "version")},
            "uses": row["uses"] and row["uses"].replace(", ", "\n"),
        }
        for row in rows
    ]
    return table("Feature views, by name and version", shown)


def shown(found: Mapping[str, Any], page: RenderableType) -> RenderableType:
    """A view with its documentation, lineage and statistics, and what its source gave in vain."""
    lineage = {name: ", ".join(names) or "nothing" for name, names in found["lineage"].items()}
    parts: list[RenderableType] = [page, facts("Lineage", lineage)]
    if found["statistics"]:
        parts.append(table("Current values", found["statistics"]))
    else:
        parts.append(Text("It has no values yet."))
    if left_out := found["left_out"]:
        rows = [{"reason": reason, "rows": count} for reason, count in left_out.items()]
        parts.append(table("Rows of the source that were left out", rows))
    return Group(*parts)


def values(view: str, entity: str, found: Mapping[str, Any]) -> RenderableType:
    """The values of one entity."""
    return facts(f"{view} of {entity}", found)
