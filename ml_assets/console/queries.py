"""The results of a search, and the labels of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ml_assets.console.layout import table
from ml_assets.search.filters.language import NO_FILTER

if TYPE_CHECKING:
    from ml_assets.search.answering.model import SearchResult


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
        lines.append(Text("No document matches."))
    if result.behind:
        behind = f"Incomplete: an index of this host lacks changes of {result.behind} documents,"
        lines.append(Text(f"{behind} and is being written just now.", style="yellow"))
    elif not result.complete:
        why = "the filter left" if result.filters != NO_FILTER else "there are"
        lines.append(Text(f"Incomplete: {why} fewer than asked for.", style="yellow"))
    return Group(*lines)


def predictions(texts: Sequence[str], answers: Sequence[Mapping[str, float]]) -> Group:
    """The three most probable labels of each text; an answer has the likeliest first."""
    return Group(
        *(
            table(
                " ".join(text.split())[:70],
                [{"label": label, "probability": value} for label, value in best],
            )
            for text, answer in zip(texts, answers, strict=True)
            for best in [islice(answer.items(), 3)]
        )
    )
