"""Hybrid search end to end, the query's embedding included, beside LangChain, by turns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import ours
from bench.measure import say
from bench.peers import PYTHON
from bench.search.real import Chunk, Real
from bench.search.report import Latency, Target, markdown
from bench.search.serving import serving
from bench.search.tables import fill
from bench.search.vectors import save
from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

OURS = "ml_assets, `search()`"
LANGCHAIN = "LangChain, `EnsembleRetriever` of BM25 and PGVectorStore"
P50, P99, TIMES = 12.0, 40.0, 3.0
"""To be reached: milliseconds, and how many times faster than LangChain."""

Asking = Callable[[Sequence[str]], list[float]]
"""Asks a search for some texts, and says how many seconds each took."""

_TURN = 10
"""Texts that one is asked before it is the other's turn."""


@dataclass(frozen=True)
class SearchLine:
    """What was measured of one search over so many chunks."""

    name: str
    chunks: int
    asked: int
    latency: Latency


def measure(work: Path, server: str, real: Real) -> list[SearchLine]:
    """Ask both for the same texts, over the same chunks and vectors on the same server."""
    state = work / "langchain"
    save(state / "vectors", [real.vectors], real.queries)
    _write_texts(real.chunks, state / "texts.jsonl")
    with ExitStack() as on:
        mine, theirs = (on.enter_context(ours.database(server)) for _ in range(2))
        say(f"hybrid, {len(real.chunks):,} chunks")
        with postgres.connect(mine, work) as connection:
            rows = zip(real.chunks, real.vectors, strict=True)
            fill(connection, current_space(load_settings()), rows)
        model = ours.model()
        one = serving(sys.executable, "search_ours", mine, work / "ours", model)
        both = {OURS: on.enter_context(one).ask}
        if PYTHON.exists():
            say("  filling LangChain's table, one row after the other")
            other = serving(PYTHON, "search_langchain", theirs, state, model)
            both[LANGCHAIN] = on.enter_context(other).ask
        seconds = by_turns(both, real.asked)
    return [
        SearchLine(name, len(real.chunks), len(taken), Latency.of(taken))
        for name, taken in seconds.items()
    ]


def by_turns(both: Mapping[str, Asking], asked: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of each text by each search; the first turn, warming up, is asked twice."""
    for ask in both.values():
        ask(asked[:_TURN])
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for start in range(0, len(asked), _TURN):
        for name, ask in both.items():
            seconds[name] += ask(asked[start : start + _TURN])
    return seconds


def table(lines: Sequence[SearchLine]) -> str:
    """The searches, and how many times as long as ours each takes."""
    mine = lines[0].latency.p50
    head = ("hybrid search, end to end", "chunks", "queries", "p50 / p95 / p99 ms", "ratio of p50")
    return markdown(
        head,
        [
            (
                line.name,
                f"{line.chunks:,}",
                f"{line.asked:,}",
                str(line.latency),
                f"{line.latency.p50 / mine:.1f}",
            )
            for line in lines
        ],
    )


def targets(lines: Sequence[SearchLine]) -> list[Target]:
    """What our search must reach."""
    mine, *others = lines
    return [
        Target("p50 of hybrid search, ms", mine.latency.p50, most=P50),
        Target("p99 of hybrid search, ms", mine.latency.p99, most=P99),
        *(
            Target(f"p50 of {one.name}, times ours", one.latency.p50 / mine.latency.p50, TIMES)
            for one in others
        ),
    ]


def _write_texts(chunks: Sequence[Chunk], file: Path) -> None:
    """What was embedded of every chunk, as a JSON line."""
    with file.open("w", encoding="utf-8") as lines:
        for chunk in chunks:
            whole = f"{chunk.heading}\n{chunk.text}" if chunk.heading else chunk.text
            lines.write(json.dumps(whole) + "\n")
