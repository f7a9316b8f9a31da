"""Days of models from their hours, and days of search from its measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from ml_assets.monitoring.daily import (
    performance_by_day,
    record_search_quality,
    roll_up_days,
    search_quality,
    unlike_their_hours,
    worse_searches,
)
from ml_assets.monitoring.hourly import roll_up
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import publish
from ml_assets.search.evaluation.measurement import keep_measurement, kept_measurements
from ml_assets.stores import clickhouse, postgres
from ml_assets_tests.search.measurements import measurement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FIRST, LAST = date(2026, 1, 5), date(2026, 1, 7)
COLUMNS = ["day", "writer", "sequence", "at", "request_id", "position", "model", "version"]
MORE = ["label", "probability", "latency_ms"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with clickhouse.connect(None, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture(scope="module")
def latencies(client: Client) -> dict[date, list[float]]:
    """Three days of two versions; one busy hour of each day is slow, the others are not."""
    rng = np.random.default_rng(0)
    rows, of_day = [], dict[date, list[float]]()
    for number in range(3):
        day = FIRST + timedelta(days=number)
        for hour in range(24):
            slow = hour == 9
            for place in range(600 if slow else 10):
                took = float(rng.gamma(4, 50 if slow else 1))
                of_day.setdefault(day, []).append(took)
                at = datetime(day.year, day.month, day.day, hour, place % 60, tzinfo=UTC)
                name = f"{day}-{hour}-{place}"
                rows.append([day, "w", len(rows) + 1, at, name, 0, "m", 1, "x", 0.5, took])
    client.insert("prediction_log", rows, [*COLUMNS, *MORE])
    roll_up(client, FIRST, LAST)
    roll_up_days(client, FIRST, LAST)
    return of_day


def test_a_day_has_the_quantiles_of_its_predictions_not_the_mean_of_those_of_its_hours(
    client: Client, latencies: dict[date, list[float]]
) -> None:
    rows = performance_by_day(client, FIRST, LAST)
    assert [row["day"] for row in rows] == [*latencies]
    for row in rows:
        took = latencies[row["day"]]
        assert (row["predictions"], row["requests"]) == (len(took), len(took))
        assert row["probability"] == pytest.approx(0.5)
        for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
            low, high = np.quantile(took, [share - 0.01, min(1, share + 0.01)])
            assert low <= row[name] <= high
        assert (row["known"], row["accuracy"]) == (0, None)
    # Averaged, the p95s of 23 fast hours and a slow one would be about 20 ms.
    assert min(row["p95_ms"] for row in rows) > 200


def test_what_was_true_is_told_after_a_day_was_computed(
    client: Client, latencies: dict[date, list[float]]
) -> None:
    told = [[LAST, "t", n, datetime.now(UTC), f"{FIRST}-9-{n}", 0, "", n < 3] for n in range(4)]
    names = [*COLUMNS[:6], "label", "correct"]
    client.insert("prediction_feedback", told, names)
    first, *others = performance_by_day(client, FIRST, LAST)
    assert (first["known"], first["accuracy"]) == (4, 0.75)
    assert {row["known"] for row in others} == {0}


def test_days_that_are_computed_again_replace_themselves_and_those_that_are_stale_are_told(
    client: Client, latencies: dict[date, list[float]]
) -> None:
    before = performance_by_day(client, FIRST, LAST)
    roll_up_days(client, FIRST, LAST)
    assert performance_by_day(client, FIRST, LAST) == before
    assert unlike_their_hours(client, FIRST, LAST) == []
    late = [LAST, "late", 1, datetime(2026, 1, 7, 23, tzinfo=UTC), "late", 0, "m", 1]
    client.insert("prediction_log", [[*late, "x", 0.5, 1.0]], [*COLUMNS, *MORE])
    roll_up(client, LAST, LAST)
    (line,) = unlike_their_hours(client, FIRST, LAST)
    assert line.startswith("2026-01-07 m/1: 830 predictions")
    assert "in its hours 831" in line
    roll_up_days(client, LAST, LAST)
    assert unlike_their_hours(client, FIRST, LAST) == []


def test_a_day_that_nobody_computed_is_told(
    client: Client, latencies: dict[date, list[float]]
) -> None:
    client.command("alter table model_performance_daily delete where 1 settings mutations_sync = 2")
    assert len(unlike_their_hours(client, FIRST, LAST)) == 3
    roll_up_days(client, FIRST, LAST)
    assert unlike_their_hours(client, FIRST, LAST) == []


NOW = datetime(2026, 2, 20, 12, tzinfo=UTC)


def day(number: int) -> date:
    return date(2026, 2, number)


def measured(connection: postgres.Connection, identity: str, at: datetime, ndcg: float) -> None:
    connection.execute(
        "insert into search_measurements values (%s, %s, 'v', 5, %s, %s, %s)",
        [
            identity,
            at,
            Jsonb({"hybrid": {"ndcg@10": ndcg}, "keyword": {"ndcg@10": ndcg - 0.1}}),
            Jsonb({"pgvector": 0.99}),
            Jsonb({"p50_ms": 3.0, "p95_ms": 9.0}),
        ],
    )


def served(connection: postgres.Connection, identity: str, since: datetime) -> None:
    """Serve a generation from a time of the past on: releases are appended, so in their order."""
    entry = Entry("tester", "publish", identity, "a test", {})
    publish(connection, lambda parts: replace(parts, generation_id=identity), entry)
    connection.execute("alter table releases disable trigger all")
    connection.execute(
        "update releases set served = tstzrange(lower(served), %s)"
        " where not upper_inf(served) and upper(served) > %s",
        [since, NOW],
    )
    connection.execute(
        "update releases set served = tstzrange(%s, null) where upper_inf(served)", [since]
    )


def test_a_day_of_search_has_what_was_known_at_its_end(
    connection: postgres.Connection, client: Client
) -> None:
    measured(connection, "one", datetime(2026, 2, 1, 12, tzinfo=UTC), 0.50)
    served(connection, "one", datetime(2026, 2, 2, 1, tzinfo=UTC))
    measured(connection, "one", datetime(2026, 2, 4, tzinfo=UTC), 0.60)
    measured(connection, "two", datetime(2026, 2, 5, 8, tzinfo=UTC), 0.70)
    measured(connection, "two", datetime(2026, 2, 20, 13, tzinfo=UTC), 0.10)  # after now
    served(connection, "two", datetime(2026, 2, 6, 9, tzinfo=UTC))
    days = [day(number) for number in range(1, 21)]
    for _ in range(2):
        record_search_quality(connection, client, days, NOW)
        rows = search_quality(client, days[0], days[-1])
        hybrid = {
            (row["day"].day, row["generation_id"]): (row["value"], row["is_served"])
            for row in rows
            if (row["method"], row["metric"]) == ("hybrid", "ndcg@10")
        }
        assert hybrid == {
            (1, "one"): (0.5, False),
            (2, "one"): (0.5, True),
            (3, "one"): (0.5, True),
            (4, "one"): (0.6, True),
            (5, "one"): (0.6, True),
            (5, "two"): (0.7, False),
            (6, "one"): (0.6, True),
            **{(number, "two"): (0.7, True) for number in range(6, 21)},
        }
        of_one = [row for row in rows if (row["day"].day, row["generation_id"]) == (2, "one")]
        assert {(row["method"], row["metric"], row["value"]) for row in of_one} == {
            ("hybrid", "ndcg@10", 0.5),
            ("keyword", "ndcg@10", 0.4),
            ("pgvector", "recall@10", 0.99),
            ("hybrid", "p50_ms", 3.0),
            ("hybrid", "p95_ms", 9.0),
        }
    assert worse_searches(client, days[0], days[-1]) == []
    measured(connection, "two", datetime(2026, 2, 19, tzinfo=UTC), 0.64)
    record_search_quality(connection, client, days, NOW)
    (line,) = worse_searches(client, days[0], days[-1])
    assert line == "generation two: ndcg@10 0.640, 0.700 at best since 2026-02-01"


def test_without_a_measurement_there_is_no_quality(
    connection: postgres.Connection, client: Client
) -> None:
    assert record_search_quality(connection, client, [date(2020, 1, 1)], NOW) == []
    assert worse_searches(client, date(2020, 1, 1), date(2020, 1, 2)) == []


def test_a_measurement_is_kept_beside_those_before_it(connection: postgres.Connection) -> None:
    keep_measurement(connection, "one", measurement(judged_queries=4), [0.002, 0.004, 0.006])
    (first,) = kept_measurements(connection, datetime.now(UTC))
    assert (first.generation_id, first.queries, first.recall["pgvector"]) == ("one", 4, 1.0)
    assert first.latency == pytest.approx({"p50_ms": 4.0, "p95_ms": 5.8})
    keep_measurement(connection, "one", measurement(), [])
    count = connection.execute("select count(*) from search_measurements").fetchone()
    assert count == (2,)
    # Of a day, in UTC wherever the server stands, the last before a time is read.
    connection.execute("set timezone = 'Pacific/Kiritimati'")
    connection.execute(
        "update search_measurements set measured_at = '2026-02-03 00:00:01Z' where queries = 4"
    )
    connection.execute(
        "update search_measurements set measured_at = '2026-02-03 23:59:59Z' where queries <> 4"
    )
    end = datetime(2026, 2, 4, tzinfo=UTC)
    (last,) = kept_measurements(connection, end)
    assert last.latency == {}
    (before,) = kept_measurements(connection, end - timedelta(seconds=1))
    assert before.queries == 4
    assert kept_measurements(connection, end - timedelta(days=1)) == []


def test_measurements_are_kept_for_two_years_and_the_last_of_each_always(
    connection: postgres.Connection,
) -> None:
    for identity, years in (("one", 3), ("one", 1), ("two", 4), ("two", 3)):
        measured(connection, identity, datetime.now(UTC) - timedelta(days=366 * years), 0.5)
    keep_measurement(connection, "three", measurement(), [])
    rows = connection.execute(
        "select generation_id, round(extract(epoch from now() - measured_at) / 86400 / 366)::int"
        " from search_measurements order by 1"
    ).fetchall()
    assert rows == [("one", 1), ("three", 0), ("two", 3)]
