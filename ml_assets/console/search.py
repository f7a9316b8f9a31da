"""The results of a search, and the generations it can be served from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ml_assets.console.layout import moment, table
from ml_assets.search.filters.language import NO_FILTER

if TYPE_CHECKING:
    from ml_assets.search.answering.model import SearchResult
    from ml_assets.search.publishing.listing import ListedGeneration


def hits(result: SearchResult) -> RenderableType:
    """The documents of a search, best first, with the text that matched."""
    lines: list[RenderableType] = []
    for rank, hit in enumerate(result.hits, start=1):
        title = (hit.title or hit.document_id, "bold")
        lines.append(Text.assemble((f"{rank:>2}. ", "dim"), title, f"  {hit.collection}"))
        lines.append(Padding(Text(" ".join(hit.snippet.split()), style="default"), (0, 0, 0, 4)))
        if hit.url:
            lines.append(Text(f"    {hit.url}\n", style="blue", no_wrap=True, overflow="ignore"))
    if not result.hits:
        lines.append(Text("Nothing result."))
    if not result.complete:
        why = "the filter left" if result.filters != NO_FILTER else "there are"
        lines.append(Text(f"Incomplete: {why} fewer than asked for.", style="yellow"))
    return Group(*lines)


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
