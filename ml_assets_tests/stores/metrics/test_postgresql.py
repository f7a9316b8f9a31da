"""Metrics in PostgreSQL: what a read touches, what is kept, how chunks should be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import metrics
from ml_assets.stores.metrics import Chunk, Query, Retention, Window, advice, series
from ml_assets.stores.metrics.postgresql import PostgresMetrics
from ml_assets_tests.monitoring.scraping import wait_for
from ml_assets_tests.stores.metrics.opening import (
    BEGIN,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    PGLITE,
    TODAY,
    written,
)

DAYS = Window(TODAY - 30 * DAY, TODAY)


@pytest.fixture(scope="module")
def store(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresMetrics]:
    """Thirty days of a point an hour."""
    with metrics.connect("timeseries", database, tmp_path_factory.mktemp("home")) as opened:
        assert isinstance(opened, PostgresMetrics)
        rows = {DAYS.begin + number * HOUR: float(number) for number in range(30 * 24)}
        written(opened, {series("loss", model="a"): rows, series("loss", model="b"): rows})
        opened._connection.execute("analyze")
        yield opened


def scanned(store: PostgresMetrics, step: timedelta, exact: bool) -> dict[str, int]:
    """The relations that an aggregate of three days reads, and rows of each."""
    query = Query("loss", Window(TODAY - 3 * DAY, TODAY))
    text, bound, _ = store.plan(query, step, [0.5], exact)
    explain = postgres_text("explain (analyze, costs off, timing off, format json) ") + text
    ((plan,),) = store._connection.execute(explain, bound).fetchall()
    found: dict[str, int] = {}
    nodes: list[dict[str, Any]] = [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if (name := node.get("Relation Name")) and node["Actual Loops"]:
            rows = node["Actual Rows"] * node["Actual Loops"]
            found[name] = found.get(name, 0) + round(rows)
    return found


def postgres_text(text: str) -> Any:
    from psycopg import sql

    return sql.SQL(text)  # type: ignore[arg-type]


def test_a_read_touches_the_days_of_its_window(store: PostgresMetrics) -> None:
    found = scanned(store, HOUR, exact=True)
    assert sum(found.values()) == 2 * 72, json.dumps(found)
    assert len(found) == 3
    assert scanned(store, HOUR, exact=False) == {"metric_hour": 2 * 72}
    assert scanned(store, DAY, exact=False) == {"metric_day": 2 * 3}


def test_what_is_old_is_dropped_and_days_stay(store: PostgresMetrics) -> None:
    short = PostgresMetrics(store._connection, store.layout, Retention(days=20))
    said = short.maintain(NOW)
    assert len([line for line in said if line.startswith("metric_points")]) == 10
    query = Query("loss", DAYS, {"model": "a"})
    (points,) = short.aggregate(query, DAY, exact=True)
    (minutes,) = short.aggregate(query, MINUTE)
    (days,) = short.aggregate(query, DAY)
    assert (len(points.times), len(minutes.times), len(days.times)) == (20, 20 * 24, 30)
    assert short.maintain(NOW) == []
    # The rollups that are left would be made of less than they are when more is kept.
    at = TODAY - 25 * DAY
    with pytest.raises(StoreError, match=rf"before {TODAY - 20 * DAY:%Y-%m-%d}.* Leave it out$"):
        written(store, {series("loss", model="a"): {at: 1.0}})
    (days,) = store.aggregate(query, DAY)
    assert days.counts.tolist() == [24] * 30


@pytest.mark.skipif(PGLITE in os.environ, reason="it has one connection")
def test_two_writers_of_a_minute_are_both_rolled_up(
    store: PostgresMetrics, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits until the first has committed, and then sees its points."""
    each, other = series("shared"), Thread()
    roll_up = type(store.layout).roll_up
    written(store, {each: {BEGIN + 2 * DAY: 9.0}})  # to name it would make the second wait, too

    def waiting() -> bool:
        text = (
            "select exists (select from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock')"
        )
        row = store._connection.execute(text).fetchone()
        return bool(row and row[0])

    with metrics.connect("timeseries", database, tmp_path) as second:

        def roll_up_beside(*given: Any) -> None:
            nonlocal other
            monkeypatch.undo()
            roll_up(*given)
            rows = {each: {BEGIN + timedelta(seconds=1): 3.0}}
            other = Thread(target=written, args=(second, rows))
            other.start()
            wait_for(waiting)

        monkeypatch.setattr(type(store.layout), "roll_up", roll_up_beside)
        written(store, {each: {BEGIN: 1.0}})
        other.join()
    for step in (MINUTE, HOUR, DAY):
        (found,) = store.aggregate(Query("shared", Window(BEGIN, BEGIN + DAY)), step)
        assert (found.counts.tolist(), found.means.tolist()) == ([2], [2.0])


def test_a_second_connection_finds_the_tables_as_they_are(
    store: PostgresMetrics, database: str, tmp_path: Path
) -> None:
    with metrics.connect("timeseries", database, tmp_path) as again:
        assert isinstance(again, PostgresMetrics)
        assert again.layout is store.layout
        written(again, {series("again"): {BEGIN: 1.0}})
    assert len(store.read(Query("again", Window(BEGIN, TODAY)))) == 1


def test_a_write_that_fails_writes_nothing(
    store: PostgresMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(type(store.layout), "roll_up", fail)
    with pytest.raises(RuntimeError):
        written(store, {series("half"): {BEGIN: 1.0}})
    assert store.read(Query("half", Window(BEGIN, TODAY))) == []


def test_what_the_server_refuses_is_one_line(database: str, tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"^TIMESERIES_URL: relation .*and run again$") as raised,
        metrics.connect("timeseries", database, tmp_path) as opened,
    ):
        opened._connection.execute("select * from nowhere")  # type: ignore[attr-defined]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "TIMESERIES_URL: it is not set"),
        ("postgresql://me:secret@127.0.0.1:1/metrics", "TIMESERIES_URL: .*refused"),
        ("postgresql://me:a@b@127.0.0.1:1/metrics", "TIMESERIES_URL: the password has an @"),
    ],
)
def test_a_server_that_does_not_answer_is_named(
    url: str | None, message: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(StoreError, match=message) as raised,
        metrics.connect("timeseries", url, tmp_path),
    ):
        pass
    assert "secret" not in str(raised.value)


def chunks(*rows: int, span: timedelta = DAY) -> list[Chunk]:
    return [
        Chunk(str(n), count, 0, 0, Window(BEGIN + n * span, BEGIN + (n + 1) * span))
        for n, count in enumerate(rows)
    ]


@pytest.mark.parametrize("rows", [(), (5,), (100_000, 1), (1_000_000, 0), (50_000, 150_000, 9)])
def test_chunks_of_a_good_size_are_not_told(rows: tuple[int, ...]) -> None:
    assert advice(chunks(*rows)) is None


@pytest.mark.parametrize(
    ("rows", "interval"),
    [(99_999, "3 days"), (1_000_001, "8 hours"), (10, "31623 days"), (0, "316228 days")],
)
def test_of_other_chunks_the_interval_to_set_is_told(rows: int, interval: str) -> None:
    said = advice(chunks(rows, 7))
    assert said
    assert f"a chunk has {rows:,} rows" in said
    assert f"set_chunk_time_interval('metric_points', interval '{interval}')" in said
