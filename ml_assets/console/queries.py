"""The results of a search, the sources of an answer, and the labels of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ml_assets.console.layout import printable, table
from ml_assets.search.filters.language import NO_FILTER

if TYPE_CHECKING:
    from ml_assets.answers.model import Answer
    from ml_assets.search.answering.model import Hit, SearchResult


def hits(result: SearchResult) -> RenderableType:
    """The documents of a search, best first: headings, collection, relevance, text, id, URL."""
    lines: list[RenderableType] = []
    for rank, hit in enumerate(result.hits, start=1):
        title = (hit.title or hit.document_id, "bold")
        relevance = "" if hit.relevance is None else f"  {hit.relevance:.2f}"
        path = "".join(f" > {heading}" for heading in hit.path)
        lines.append(_whole((f"{rank:>2}. ", "dim"), title, path, f"  {hit.collection}", relevance))
        lines.append(Padding(_snippet(hit), (0, 0, 0, 4)))
        lines += [_whole(f"    {place}", style="blue") for place in _places(hit)]
        lines.append(Text())
    if not result.hits:
        lines.append(Text("No document matches."))
    if result.behind:
        lines.append(Text(_behind(result), style="yellow"))
    elif not result.complete:
        why = "the filter left" if result.filters != NO_FILTER else "there are"
        lines.append(Text(f"Incomplete: {why} fewer than asked for.", style="yellow"))
    return Group(*lines)


def _places(hit: Hit) -> list[str]:
    """Where to go on: the id, which other commands take, and the URL, unless one is the other."""
    return list(dict.fromkeys(filter(None, (hit.document_id, hit.url))))


def _behind(result: SearchResult) -> str:
    count = result.behind
    waiting = "1 document waits" if count == 1 else f"{count:,} documents wait"
    if result.complete:
        return f"{waiting} to be indexed; none could pass the filter."
    return f"Incomplete: {waiting} to be indexed. `ml-assets run` does that, unless it runs."


def _whole(*parts: str | tuple[str, str], style: str = "") -> Text:
    """One line, however narrow the terminal is, or the pipe: it may be copied."""
    line = Text(no_wrap=True, overflow="ignore")
    for part in parts:
        text, its_style = (part, "") if isinstance(part, str) else part
        line.append(printable(text), its_style)
    line.stylize(style)
    return line


def _snippet(hit: Hit) -> Text:
    return Text(printable(" ".join(hit.snippet.split())), style="default")


def sources(answer: Answer) -> RenderableType:
    """What stands below an answer: which passages it cites, and what kind it is."""
    lines: list[RenderableType] = [Text()] if answer.sentences else []
    for passage in answer.cited:
        title = (passage.title or passage.document_id, "bold")
        lines.append(_whole((f"[{passage.number}] ", "dim"), title, f"  {passage.collection}"))
        places = dict.fromkeys(filter(None, (passage.document_id, passage.url)))
        lines += [_whole(f"    {place}", style="blue") for place in places]
    lines.append(Text(f"{answer.notice}.", style="yellow"))
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
