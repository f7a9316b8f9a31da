"""Releases: what was served when, and why; and the search generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ml_assets.console.layout import NOTHING, moment, table

if TYPE_CHECKING:
    from ml_assets.releases.pointer import Release
    from ml_assets.search.publishing.listing import ListedGeneration


def releases(rows: Sequence[Release]) -> RenderableType:
    """One row per release, the present one first; only the end of the present one is open."""
    if not rows:
        return Text("Nothing was served then.")
    shown = [
        {
            "release": row.release_id,
            "from": moment(row.served_from),
            "until": moment(row.served_until),
            "search": row.parts.generation_id or NOTHING,
            "model": str(row.parts.model_version or NOTHING),
            "by": row.actor,
            "why": f"{row.action}: {row.reason}",
        }
        for row in rows
    ]
    return table("Releases", shown)


def served(release: Release, encoder: str) -> str:
    """What a rollback serves again."""
    parts = release.parts
    search = f"search generation {parts.generation_id}, with the vectors of {encoder}"
    return (
        f"Served again as in release {release.release_id}:"
        f" {search if parts.generation_id else 'no search'};"
        f" {f'model version {parts.model_version}' if parts.model_version else 'no model'}."
    )


def generations(rows: Sequence[ListedGeneration]) -> RenderableType:
    """Every search generation, the published one first; recall is that of its worst index."""
    if not rows:
        return Text("No search was built yet.")
    shown = [
        {
            "generation": row.generation_id,
            "state": "withdrawn" if row.withdrawn else row.state,
            "chunks": row.chunks,
            "recall": min(row.recall.values(), default=None),
            "ndcg": row.ndcg,
            "published": moment(row.published_at),
            "goes": moment(row.drop_at)[:10],
        }
        for row in rows
    ]
    built = [
        {
            "generation": row.generation_id,
            "space": row.space_id,
            "published by": row.published_by,
            "differs in": "\n".join(
                f"no {name}" if value is None else f"{name} {value}"
                for name, value in row.differs.items()
            ),
        }
        for row in rows
    ]
    return Group(table("Search generations", shown), table("Built with", built))
