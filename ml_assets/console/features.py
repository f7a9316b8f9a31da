"""Feature views: the list, one of them, and the values of an entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ml_assets.console.layout import facts, table


def listed(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every version of every view, with the rows that are kept of it."""
    return table("Feature views", rows)


def shown(found: Mapping[str, Any], page: RenderableType) -> RenderableType:
    """A view with its documentation, where its values come from and go to, and statistics."""
    lineage = {name: ", ".join(names) or "nothing" for name, names in found["lineage"].items()}
    parts: list[RenderableType] = [page, facts("Lineage", lineage)]
    if found["statistics"]:
        parts.append(table("Current values", found["statistics"]))
    else:
        parts.append(Text("It has no values yet."))
    return Group(*parts)


def values(view: str, entity: str, found: Mapping[str, Any]) -> RenderableType:
    """The values of one entity."""
    return facts(f"{view} of {entity}", found)
