"""Every index over the same vectors: each in a process of its own, one after the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import ours
from bench.measure import Finished, run, say
from bench.peers import PYTHON
from bench.search.contenders.ours import SETTINGS
from bench.search.real import Chunk
from bench.search.report import IndexLine, Latency, Target
from bench.search.tables import fill, numbered
from bench.search.vectors import Matrix, Vectors, nearest_cosines, recall
from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

IN_MEMORY = {
    "raw_faiss_flat": "raw_faiss",
    "raw_faiss_hnsw": "raw_faiss",
    "raw_hnswlib": "raw_hnswlib",
}
"""The modules of what keeps all in memory, and nothing but vectors: the limit."""

ALL = (*SETTINGS, *IN_MEMORY)
OF_A_MILLION = tuple(name for name in ALL if name != "chroma")
"""What two cores build within ten minutes, and 24 GiB hold. Chroma is left out: it took in 2,235
vectors/s until there were 7,600, 1,833/s until 145,000, and ever fewer: a million would take more
than ten minutes. It is measured when it is asked for by name."""
RECALL, P50 = 0.985, 1.5
"""To be reached by the default index on 43,000 vectors; milliseconds."""


@dataclass(frozen=True)
class Contest:
    """Who is asked what; a PostgreSQL server with its data folder, and a folder to work in."""

    server: str
    data: Path
    work: Path
    vectors: Vectors
    texts: Sequence[Chunk]


def measure(contest: Contest, names: Sequence[str]) -> Iterator[IndexLine]:
    """Fill a database, then build and ask each index; those not installed are passed over."""
    vectors = contest.vectors
    say(f"exact search over {vectors.count:,} vectors")
    kth = nearest_cosines(vectors)
    with ours.database(contest.server) as url:
        say("filling the tables")
        with postgres.connect(url, contest.work) as connection:
            rows = numbered(vectors, contest.texts)
            fill(connection, current_space(load_settings()), rows)
        for name in names:
            if IN_MEMORY.get(name) == "raw_hnswlib" and not PYTHON.exists():
                say(f"{name}: skipped, `make bench-setup` installs it")
                continue
            line = _measure(contest, name, url, kth)
            say(
                f"{name}: built in {line.build_seconds:.1f} s, recall {line.recall:.3f},"
                f" {line.latency} ms"
            )
            yield line


def targets(lines: Sequence[IndexLine]) -> list[Target]:
    """What the default index must reach."""
    return [
        target
        for line in lines
        if line.name == "pgvector_hnsw_halfvec"
        for target in (
            Target(f"recall@10 of {line.name}, {line.vectors:,} vectors", line.recall, RECALL),
            Target(f"p50 of {line.name}, ms", line.latency.p50, most=P50),
        )
    ]


def _measure(contest: Contest, name: str, url: str, kth: Matrix) -> IndexLine:
    built, finished = _step(contest, "build", name, url)
    asked, _ = _step(contest, "clients", name, url)
    latencies = built["latencies"]
    return IndexLine(
        name,
        contest.vectors.count,
        built["parameters"],
        round(built["seconds"], 3),
        built["bytes"],
        finished.peak,
        round(recall(contest.vectors, built["found"], kth), 4),
        Latency.of(latencies),
        {1: round(1 / float(np.mean(latencies)), 1), 8: round(asked["rate"], 1)},
        {int(percent): Latency.of(seconds) for percent, seconds in built["filtered"].items()},
    )


def _step(contest: Contest, step: str, name: str, url: str) -> tuple[dict[str, Any], Finished]:
    state = contest.work / name
    state.mkdir(parents=True, exist_ok=True)
    report = state / f"{step}.json"
    module = IN_MEMORY.get(name, "ours")
    # PostgreSQL counts where it is the index; to the others it only gives the rows.
    server = contest.data if name.startswith("pgvector") else state
    finished = run(
        [
            PYTHON if module == "raw_hnswlib" else sys.executable,
            *("-m", "bench.search.contenders", step, name, module),
            *(url, state, contest.vectors.folder, report),
        ],
        {},
        state / f"{step}.log",
        watched_server=server,
    )
    return json.loads(report.read_text(encoding="utf-8")), finished
