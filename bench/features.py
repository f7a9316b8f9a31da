"""`make bench-features`: the feature store beside Feast, on the same rows and in one run.

Prints one table, and writes bench/results/features.json. Feast lies in bench/.venv-feast, which
`make` fills; without it the rows say what ml_assets takes alone.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from bench.measure import PROJECT, clean_environment, keep, machine, say
from bench.rows import Figure, Limit, Row, as_json, table
from ml_assets.features.definition import Feature, FeatureView
from ml_assets.features.join import point_in_time_join
from ml_assets.features.online import online_differences, refresh_online
from ml_assets.stores import cache, duckdb, online
from ml_assets_tests.servers import redis_over_tcp
from ml_assets_tests.servers.keyed import memcached_over_tcp
from ml_assets_tests.servers.starting import find_program

RESULTS = PROJECT / "bench" / "results" / "features.json"
FEAST = PROJECT / "bench" / ".venv-feast" / "bin" / "python"
CONTENDER = PROJECT / "bench" / "contenders" / "feast_store.py"
LOCAL = ("dask", "duckdb")
"""Feast's offline stores that need no server, each with SQLite online."""

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
VIEW = FeatureView(
    name="stats",
    version=1,
    entity="driver",
    description="Eight numbers of a driver",
    features=tuple(Feature(f"f{number}", "double", "a number") for number in range(8)),
    uses=frozenset({"training", "serving"}),
    ttl=timedelta(days=3650),
)


@dataclass(frozen=True)
class Size:
    """How much is measured; labels and rows for the join, entities for the online copy."""

    labels: int = 200_000
    rows: int = 1_000_000
    entities: int = 100_000
    reads: int = 300


def main() -> None:
    """Measure all, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.features", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    report = {"began": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        rows = measure(Path(folder), Size(), asked.repetitions)
    keep({**report, "rows": [as_json(row) for row in rows]}, asked.output)
    print(table(rows))
    say(f"Written: {asked.output}")


def measure(work: Path, size: Size, repetitions: int) -> list[Row]:
    """Both sides on the same rows, and what caches take beside what they save."""
    rows, labels = make(work, size)
    taken: dict[str, list[float]] = {}
    with duckdb.connect(work / "offline.duckdb") as duck:
        fill(duck, rows)
        for repetition in range(repetitions):
            say(f"ml_assets, {repetition + 1} of {repetitions}")
            for name, samples in ours(duck, labels, work / f"home-{repetition}", size).items():
                taken.setdefault(name, []).extend(samples)
    theirs = feast(work, size, repetitions)
    return [*_beside(taken, theirs, size), *cached(work)]


def make(work: Path, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of entities over a month, and labels; also as Parquet, as Feast reads them."""
    draw = np.random.default_rng(0)
    first = np.arange(size.entities)
    more = draw.integers(0, size.entities, size.rows - size.entities)
    rows = pd.DataFrame(draw.standard_normal((size.rows, 8)), columns=list(VIEW.columns))
    rows["driver"] = pd.Series(np.concatenate([first, more])).map("d{}".format)
    rows["event_timestamp"] = _times(draw, size.rows)
    labels = pd.DataFrame(
        {
            "driver": pd.Series(draw.integers(0, size.entities, size.labels)).map("d{}".format),
            "event_timestamp": _times(draw, size.labels),
        }
    )
    for name, frame in (("rows", rows), ("labels", labels)):
        frame.to_parquet(work / f"{name}.parquet")
    return rows, labels


def _times(draw: np.random.Generator, count: int) -> pd.DatetimeIndex:
    seconds = draw.integers(0, DAYS * 24 * 3600, count)
    return pd.DatetimeIndex(pd.Timestamp(BEGIN) + pd.to_timedelta(seconds, unit="s"))


def fill(duck: duckdb.Connection, rows: pd.DataFrame) -> None:
    """The offline table of the view, as a run leaves it; known when they were true."""
    columns = ", ".join(VIEW.columns)
    with duckdb.registered(duck, given=rows):
        duck.execute(
            f"create table {VIEW.table} as select driver as entity_id,"  # noqa: S608
            " event_timestamp::timestamptz as event_time,"
            " event_timestamp::timestamptz as known_time, false as removed,"
            f" md5(to_json(row({columns}))::varchar) as value_hash, {columns}"
            " from given qualify row_number() over (partition by driver, event_timestamp) = 1"
        )


def ours(
    duck: duckdb.Connection, labels: pd.DataFrame, home: Path, size: Size
) -> dict[str, list[float]]:
    """Seconds of a join, of the first copy and of later ones, and of reads."""
    taken: dict[str, list[float]] = {}
    spine = labels.rename(columns={"event_timestamp": "event_time"})
    began = time.perf_counter()
    joined = point_in_time_join(duck, spine, [VIEW])
    taken["join"] = [time.perf_counter() - began]
    taken["rows"] = [float(len(joined))]
    with online.connect(None, home) as store:
        began = time.perf_counter()
        delta = refresh_online(duck, store, VIEW)
        taken["materialize"] = [time.perf_counter() - began]
        assert delta.added == size.entities, delta
        began = time.perf_counter()
        assert refresh_online(duck, store, VIEW).touched == 0
        taken["unchanged"] = [time.perf_counter() - began]
        began = time.perf_counter()
        assert not any(online_differences(duck, store, VIEW).values())
        taken["check"] = [time.perf_counter() - began]
        taken["reads"] = reads(store, size)
    if find_program("redis-server"):
        with redis_over_tcp(made(home / "redis")) as url, online.connect(url, home) as store:
            began = time.perf_counter()
            refresh_online(duck, store, VIEW)
            taken["materialize on Redis"] = [time.perf_counter() - began]
            taken["reads on Redis"] = reads(store, size)
    return taken


def reads(store: online.OnlineStore, size: Size) -> list[float]:
    """Seconds of reads of 100 entities each."""
    draw, taken = random.Random(0), []
    ids = [f"d{number}" for number in range(size.entities)]
    for _ in range(size.reads):
        asked = draw.sample(ids, 100)
        began = time.perf_counter()
        given = store.get_many(VIEW.key, asked, BEGIN)
        taken.append(time.perf_counter() - began)
        assert len(given.values) == 100
    return taken


def feast(work: Path, size: Size, repetitions: int) -> dict[str, list[float]]:
    """The same of Feast, each on the offline store that is faster at it; empty if not installed."""
    if not FEAST.exists():
        say("Feast is not installed (make bench-features installs it), and is skipped")
        return {}
    taken: dict[str, dict[str, list[float]]] = {store: {} for store in LOCAL}
    for repetition in range(repetitions):
        for store in LOCAL:
            say(f"Feast on {store}, {repetition + 1} of {repetitions}")
            for name, samples in _feast(work / f"feast-{repetition}", work, store, size).items():
                taken[store].setdefault(name, []).extend(samples)
    best: dict[str, list[float]] = {}
    for name in ("join", "materialize", "reads"):
        fastest = min(LOCAL, key=lambda store: median(taken[store][name]))
        say(", ".join(f"{name} on {each}: {median(taken[each][name]):.4g} s" for each in LOCAL))
        best[name] = taken[fastest][name]
        if name == "join":
            best["rows"] = taken[fastest]["rows"]
    return best


def _feast(place: Path, work: Path, store: str, size: Size) -> dict[str, list[float]]:
    place.mkdir(exist_ok=True)
    for name in ("rows.parquet", "labels.parquet"):
        if not (place / name).exists():
            (place / name).symlink_to(work / name)
    command = [FEAST, CONTENDER, place, store, str(size.reads)]
    done = subprocess.run(
        list(map(str, command)),
        env=clean_environment({"FEAST_USAGE": "False"}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    given: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return given


def _beside(taken: dict[str, list[float]], theirs: dict[str, list[float]], size: Size) -> list[Row]:
    def figure(of: dict[str, list[float]], name: str, unit: str = "s") -> Figure | None:
        if name not in of:
            return None
        who = "Feast" if of is theirs else "ml_assets"
        samples = tuple(value * 1000 if unit == "ms" else value for value in of[name])
        return Figure(who, samples, unit)  # type: ignore[arg-type]

    def row(what: str, name: str, limit: Limit | None, unit: str = "s", beside: bool = True) -> Row:
        mine = figure(taken, name, unit)
        assert mine
        against = figure(theirs, name, unit) if beside else None
        return Row(what, mine, against, limit if against or (limit and limit.at_least) else None)

    join = f"point-in-time join, {size.labels:,} x {size.rows:,} x 8"
    rows = [
        row(join, "join", Limit(factor=1 / 5)),
        row(f"{join}: rows kept", "rows", Limit(at_least=size.labels), ""),
        row(f"materialize {size.entities:,} x 8", "materialize", Limit(factor=1 / 10)),
        row("the same again, nothing changed", "unchanged", None, beside=False),
        row("check that online equals offline", "check", None, beside=False),
        row("read 100 entities, SQLite", "reads", Limit(factor=1 / 8), "ms"),
    ]
    if "reads on Redis" in taken:
        p99 = float(np.quantile(taken["reads on Redis"], 0.99)) * 1000
        rows += [
            row(
                f"materialize {size.entities:,} x 8 on Redis",
                "materialize on Redis",
                None,
                beside=False,
            ),
            row("read 100 entities, Redis", "reads on Redis", None, "ms", beside=False),
            Row(
                "read 100 entities, Redis",
                Figure("99 of 100", (p99,), "ms"),
                None,
                Limit(plus=3, unit="ms"),
            ),
        ]
    return rows


def cached(work: Path, times: int = 200) -> list[Row]:
    """The vector of a query from each cache, beside computing it."""
    from ml_assets.embeddings.caching import CachingEncoder
    from ml_assets.embeddings.encoder import load_encoder
    from ml_assets.settings import load_settings

    encoder = load_encoder(load_settings(home=work / "models"))
    queries = [f"how to bake bread of kind {number}" for number in range(times)]
    encoder.encode_queries(queries[:3])
    computed = _each(queries, lambda query: encoder.encode_queries([query]))
    against = Figure("computed", computed, "ms")
    rows = []
    for name, url in _caches(work):
        with cache.ReadThrough(lambda url=url: cache.connect(url, work)) as opened:  # type: ignore[misc]
            front = CachingEncoder(encoder.space, lambda: encoder, opened, 3600)
            for query in queries:
                front.encode_queries([query])

            def hit(query: str, front: CachingEncoder = front) -> None:
                assert front.knows(query)
                front.encode_queries([query])

            rows.append(Row("vector of a query", Figure(name, _each(queries, hit), "ms"), against))
    return rows


def _each(queries: Sequence[str], ask: Any) -> tuple[float, ...]:
    taken = []
    for query in queries:
        began = time.perf_counter()
        ask(query)
        taken.append((time.perf_counter() - began) * 1000)
    return tuple(taken)


def _caches(work: Path) -> Iterator[tuple[str, str | None]]:
    yield "cached, SQLite", None
    if find_program("redis-server"):
        with redis_over_tcp(made(work / "redis")) as url:
            yield "cached, Redis", url
    if find_program("memcached"):
        with memcached_over_tcp(made(work / "memcached")) as url:
            yield "cached, Memcached", url


def made(folder: Path) -> Path:
    """A new folder."""
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
