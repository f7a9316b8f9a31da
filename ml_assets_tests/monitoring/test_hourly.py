"""How models answered by the hour, and what was out of the ordinary, from the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ml_assets.monitoring.anomalies import DAY, find_anomalies
from ml_assets.monitoring.hourly import (
    HOUR,
    hourly,
    level_changes,
    read_anomalies,
    read_series,
    roll_up,
    watch,
)
from ml_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 64
BROKEN = BEGIN + 55 * DAY + 10 * HOUR
"""From then on the model is unsure."""

COLUMNS = ("day", "writer", "sequence", "at", "request_id", "position", "release_id", "model")
MORE = ("version", "text_hash", "text", "label", "probability", "probabilities", "features")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with clickhouse.connect(None, tmp_path_factory.mktemp("home")) as opened:
        _fill(opened)
        yield opened


def _fill(client: Client) -> None:
    """Twelve predictions an hour by one model, of which half are known to be right."""
    rng = np.random.default_rng(0)
    rows, told = [], []
    for hour in range(DAYS * 24):
        for number in range(12):
            at = BEGIN + hour * HOUR + timedelta(minutes=number)
            sure = 0.55 if at >= BROKEN else 0.9
            probability = float(np.clip(rng.normal(sure, 0.05), 0, 1))
            request = f"{hour}-{number}"
            place = (at.date(), "a" * 32, len(rows) + 1, at, request, 0, 1, "classifier")
            answer = ("0" * 64, None, "x", probability, {"x": probability}, {})
            rows.append((*place, 2 if hour % 2 else 1, *answer, float(rng.gamma(4, 1))))
            if number < 6:
                told.append((at.date(), "b" * 32, len(told) + 1, at, request, 0, "", True, "me"))
    client.insert("prediction_log", rows, [*COLUMNS, *MORE, "latency_ms"])
    feedback = ("label", "correct", "caller")
    client.insert("prediction_feedback", told, [*COLUMNS[:6], *feedback])
    roll_up(client, BEGIN.date(), (BEGIN + DAYS * DAY).date())


def day(number: int) -> date:
    return (BEGIN + number * DAY).date()


def judged(client: Client, numbers: Sequence[int], now: datetime | None = None) -> list[str]:
    days = [day(number) for number in numbers]
    return [f"{each.day} {each.metric}" for each in watch(client, days, now or BEGIN + DAYS * DAY)]


def test_hours_are_those_of_the_log(client: Client) -> None:
    rows = hourly(client, day(3), day(3))
    assert [row["hour"].hour for row in rows] == [*range(24)]
    assert {(row["predictions"], row["requests"]) for row in rows} == {(12, 12)}
    assert [row["version"] for row in rows[:3]] == [1, 2, 1]
    exact = client.query(
        "select toStartOfHour(at) as hour, quantilesExact(0.35, 0.65)(latency_ms),"
        f" avg(probability) from prediction_log where day = '{day(3)}' group by hour order by hour"
    ).result_rows
    for row, (_, (low, high), probability) in zip(rows, exact, strict=True):
        assert low <= row["p50_ms"] <= high
        assert row["p50_ms"] < row["p95_ms"] <= row["p99_ms"]
        assert row["probability"] == pytest.approx(probability)


def test_a_series_is_that_of_the_hours(client: Client) -> None:
    series = read_series(client, "classifier", "predictions", day(3), day(4))
    assert (series.begin, series.values.tolist()) == (BEGIN + 3 * DAY, [12.0] * 48)
    assert len(read_series(client, "another", "predictions", day(3), day(4)).values) == 0


def test_hours_that_are_computed_again_replace_themselves(client: Client) -> None:
    before = hourly(client, day(3), day(3))
    roll_up(client, day(2), day(4))
    assert hourly(client, day(3), day(3)) == before


def test_a_model_that_became_unsure_is_found_on_the_day(client: Client) -> None:
    found = watch(client, [day(55)], BEGIN + DAYS * DAY)
    (sudden,) = [each for each in found if each.kind == "sudden"]
    assert {each.metric for each in found} == {"probability"}
    assert BROKEN <= sudden.began_at <= BROKEN + 2 * HOUR
    assert sudden.ended_at == BEGIN + 56 * DAY - HOUR
    assert sudden.value == pytest.approx(0.55, abs=0.03)
    assert sudden.expected == pytest.approx(0.9, abs=0.03)
    assert read_anomalies(client, day(0), day(DAYS)) == found


def test_older_history_would_change_no_verdict(client: Client) -> None:
    whole = read_series(client, "classifier", "probability", day(0), day(55))
    known = {(each.kind, each.begin, each.score) for each in find_anomalies(whole, 0.05)}
    found = watch(client, [day(55)], BEGIN + DAYS * DAY)
    assert {(each.kind, each.began_at, each.score) for each in found} == known


def test_within_two_hours_of_it(client: Client) -> None:
    assert judged(client, [55], BROKEN) == []
    assert judged(client, [55], BROKEN + 2 * HOUR)


def test_ordinary_days_have_none_and_take_away_what_was_there(client: Client) -> None:
    client.insert(
        "anomalies",
        [[day(50), "classifier", "p95_ms", "sudden", BEGIN, BEGIN, 9.0, 1.0, 2.0]],
        ["day", "model", "metric", "kind", "began_at", "ended_at", "score", "value", "expected"],
    )
    assert judged(client, range(40, 55)) == []
    assert read_anomalies(client, day(40), day(54)) == []


def test_a_backfill_says_what_each_day_said(client: Client) -> None:
    one_by_one = [each for number in range(53, 59) for each in judged(client, [number])]
    alone = read_anomalies(client, day(53), day(58))
    assert sorted(judged(client, range(53, 59))) == sorted(one_by_one) != []
    assert read_anomalies(client, day(53), day(58)) == alone


def test_a_level_is_dated_when_it_has_lasted_a_week(client: Client) -> None:
    end = BEGIN + DAYS * DAY
    (change,) = level_changes(client, day(DAYS - 1), end)
    assert change == {"model": "classifier", "metric": "probability", "since": day(55)}
    assert level_changes(client, day(55), end) == []


def test_without_a_prediction_nothing_is_out_of_the_ordinary(client: Client) -> None:
    assert judged(client, [-400]) == []
    assert hourly(client, day(-400), day(-400)) == []
