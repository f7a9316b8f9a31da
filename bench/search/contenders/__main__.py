"""One index in a process of its own, twice: `build`, then `clients`.

`python -m bench.search.contenders STEP NAME MODULE DATABASE STATE VECTORS REPORT` writes JSON:
`build` builds the index and asks it, one query after the other, and under filters; `clients` asks
the index that is there by eight clients at once, and drops it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

from bench.search.contenders.protocol import Ask, Contender, Filtering, Job
from bench.search.report import FILTERED
from bench.search.vectors import K, Matrix, load

CLIENTS = 8
WARM_UP = 100
ASKED = 500
"""Queries that are timed, at least, by each client."""


def main() -> None:
    """Read the arguments, open the contender, do the step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=("build", "clients"))
    parser.add_argument("name")
    parser.add_argument("module")
    parser.add_argument("database")
    for place in ("state", "vectors", "report"):
        parser.add_argument(place, type=Path)
    asked = parser.parse_args()
    job = Job(asked.name, asked.database, asked.state, load(asked.vectors))
    contender: Contender = import_module(f"bench.search.contenders.{asked.module}").open_contender(
        job
    )
    report = (_build if asked.step == "build" else _clients)(contender, job.vectors.queries)
    asked.report.write_text(json.dumps(report), encoding="utf-8")


def _build(contender: Contender, queries: Matrix) -> dict[str, Any]:
    started = time.perf_counter()
    size = contender.build()
    seconds = time.perf_counter() - started
    with contender.client() as ask:
        found = [ask(query, K) for query in queries]  # the warm-up, too
        latencies = _timed(ask, queries)
    return {
        "parameters": contender.parameters,
        "seconds": seconds,
        "bytes": size,
        "found": found,
        "latencies": latencies,
        "filtered": _filtered(contender, queries) if isinstance(contender, Filtering) else {},
    }


def _filtered(contender: Filtering, queries: Matrix) -> dict[int, list[float]]:
    """Seconds of each query under each filter."""
    seconds = {}
    for percent in FILTERED:
        with contender.filtered(percent) as ask:
            for query in queries[:WARM_UP]:
                ask(query, K)
            seconds[percent] = _timed(ask, queries)
    return seconds


def _clients(contender: Contender, queries: Matrix) -> dict[str, Any]:
    with ExitStack() as on:
        start = Barrier(CLIENTS + 1)

        def one() -> None:
            # Opened in its own thread: SQLite keeps to it.
            with contender.client() as ask:
                for query in queries[:WARM_UP]:
                    ask(query, K)
                start.wait()
                _timed(ask, queries)

        pool = on.enter_context(ThreadPoolExecutor(CLIENTS))
        running = [pool.submit(one) for _ in range(CLIENTS)]
        for future in running:
            future.add_done_callback(lambda done: start.abort() if done.exception() else None)
        with suppress(BrokenBarrierError):  # one failed, and says so below
            start.wait()
        started = time.perf_counter()
        for future in running:
            future.result()
        seconds = time.perf_counter() - started
    contender.drop()
    return {"rate": CLIENTS * _rounds(queries) * len(queries) / seconds}


def _timed(ask: Ask, queries: Matrix) -> list[float]:
    """Seconds of each query, all of them asked in rounds until there are `ASKED`."""
    latencies = []
    for _ in range(_rounds(queries)):
        for query in queries:
            started = time.perf_counter()
            ask(query, K)
            latencies.append(time.perf_counter() - started)
    return latencies


def _rounds(queries: Sequence[Any] | Matrix) -> int:
    return -(-ASKED // len(queries))


if __name__ == "__main__":
    main()
