"""The readings that rules may name, from the stores as they are filled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ml_assets.errors import StoreError
from ml_assets.features.drift.comparison import Comparison, Finding
from ml_assets.features.drift.results import DayComparison, write_comparisons
from ml_assets.monitoring.alerting import readings
from ml_assets.monitoring.alerting.evaluation import evaluate
from ml_assets.monitoring.alerting.model import Values
from ml_assets.monitoring.alerting.readings import READINGS, Records, Stores, gap_of, read
from ml_assets.monitoring.predictions import lost_records
from ml_assets.search.evaluation.measurement import MethodQuality
from ml_assets.search.evaluation.metrics import METRICS
from ml_assets.settings import load_settings
from ml_assets.stores import clickhouse, duckdb, postgres
from ml_assets.stores.metrics import points, series
from ml_assets_tests.monitoring.alerting.examples import HOUR, MINUTE, NOW, rule
from ml_assets_tests.search.corpus import generation_of
from ml_assets_tests.search.measurements import publish

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DAY = 24 * HOUR
COLUMNS = ("day", "writer", "sequence", "at", "request_id", "position", "release_id", "model")
MORE = ("version", "text_hash", "text", "label", "probability", "probabilities", "features")


def fill(client: Client, begin: datetime, count: int, right: int, version: int = 1) -> None:
    """Predictions of one minute, a second apart, of which so many are known to be right."""
    ((known,),) = client.query("select count() from prediction_log").result_rows
    rows, told = [], []
    for number in range(count):
        at, sequence = begin + timedelta(seconds=number), known + number + 1
        place = (at.date(), "a" * 32, sequence, at, f"r{sequence}", 0, 1, "classifier")
        answer = ("0" * 64, None, "x", number / count, {"x": 0.9}, {})
        rows.append((*place, version, *answer, float(number)))
        told.append(
            (at.date(), "b" * 32, sequence, at, f"r{sequence}", 0, "", number < right, "me")
        )
    client.insert("prediction_log", rows, [*COLUMNS, *MORE, "latency_ms"])
    client.insert("prediction_feedback", told, [*COLUMNS[:6], "label", "correct", "caller"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A log of four spans of five minutes: good, good, too few, and bad in the present one."""
    with clickhouse.connect(None, tmp_path_factory.mktemp("home")) as opened:
        fill(opened, NOW - 15 * MINUTE, 40, 36)
        fill(opened, NOW - 10 * MINUTE, 40, 36)
        fill(opened, NOW - 5 * MINUTE, 19, 0)
        fill(opened, NOW, 40, 10, version=2)
        yield opened


@pytest.fixture
def stores(client: Client, connection: postgres.Connection, tmp_path: Path) -> Stores:
    settings = load_settings(home=tmp_path, clickhouse_url="http://unused:1")
    return Stores(
        settings,
        connection,
        lambda: nullcontext(client),
        lambda: duckdb.connect(settings.duckdb_file, read_only=True),
        lambda since: Records(
            3 if since == NOW + MINUTE - HOUR else 0, {"a:b": True, "a:c": False}
        ),
    )


def values(stores: Stores, metric: str, **changed: Any) -> Values:
    return read(stores, rule(metric=metric, **changed), NOW + MINUTE)


def of(found: Values, subject: str) -> list[tuple[float, float]]:
    """Minutes from `NOW` to the beginning of each point, and its value."""
    return [((each.begin - NOW) / MINUTE, pytest.approx(each.value)) for each in found[subject]]


def test_every_reading_is_tested_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [name for name in READINGS if f'"{name}"' not in text] == []


def test_answers_are_read_by_span(stores: Stores) -> None:
    asked: dict[str, Any] = {"over": 5 * MINUTE, "lasting": 20 * MINUTE}
    found = values(stores, "accuracy", **asked)
    assert of(found, "classifier") == [(-15, 0.9), (-10, 0.9), (0, 0.25)]
    assert {each.end - each.begin for each in found["classifier"]} == {5 * MINUTE}
    assert of(values(stores, "probability", **asked), "classifier")[0] == (-15, 0.4875)
    times = of(values(stores, "p95_ms", **asked), "classifier")
    assert [minute for minute, _ in times] == [-15, -10, 0]
    assert 36 <= values(stores, "p95_ms", **asked)["classifier"][0].value <= 39
    counts = of(values(stores, "predictions", **asked), "classifier")
    assert counts == [(-15, 40), (-10, 40), (-5, 19)], "the present span is not over"


def test_only_as_far_back_as_a_rule_looks_is_read(stores: Stores) -> None:
    found = values(stores, "accuracy", over=5 * MINUTE, lasting=timedelta())
    assert of(found, "classifier") == [(-10, 0.9), (0, 0.25)]
    assert of(values(stores, "accuracy", over=HOUR), "classifier") == [
        (-60, pytest.approx(72 / 99)),
        (0, 0.25),
    ]


def test_accuracy_is_compared_with_that_on_test_documents(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"over": 5 * MINUTE, "lasting": 20 * MINUTE}
    assert values(stores, "accuracy_loss", **asked) == {}
    for version, expected in ((2, [(0, 0.6)]), (1, [(-15, -0.05), (-10, -0.05)])):
        served = SimpleNamespace(name="classifier", version=version, metrics={"accuracy": 0.85})
        monkeypatch.setattr(readings, "champion", lambda _, served=served: served)
        assert of(values(stores, "accuracy_loss", **asked), "classifier") == expected


def test_a_day_without_an_anomaly_is_a_value_too(stores: Stores, client: Client) -> None:
    names = ["hour", "model", "version", "predictions", "requests", "probability"]
    for back in (0, 1, 2):
        hour = NOW - back * DAY
        client.insert("model_performance_hourly", [[hour, "classifier", 1, 9, 9, 0.5]], names)
    row = [(NOW - DAY).date(), "classifier", "p95_ms", "sudden", NOW, NOW, 9.0, 1.0, 2.0]
    client.insert("anomalies", [row, [*row[:3], "lasting", *row[4:]]])
    found = values(stores, "anomalies")
    assert of(found, "classifier") == [(-3600, 0), (-2160, 2), (-720, 0)]
    client.command("truncate table model_performance_hourly")


def test_drift_is_the_strongest_that_is_one(stores: Stores) -> None:
    assert values(stores, "drift") == {}
    finding = Finding(
        "words", "distribution", "KS", 0.1, 0.1, 0.3, 3.0, 1e-9, 1e-8, True, "mean 4", "mean 9"
    )
    chance = replace(finding, feature="x", strength=9.0, drifted=False)
    with duckdb.connect(stores.settings.duckdb_file) as duck:
        for back, outcome, findings in (
            (0, "drift", (finding, chance)),
            (1, "no drift", (chance,)),
            (2, "cannot tell", ()),
            (9, "drift", (finding,)),
        ):
            day = (NOW - back * DAY).date()
            compared = Comparison(cast("Any", outcome), "", 500, 500, findings)
            write_comparisons(duck, day, [DayComparison(day, "7 days", day, compared)])
    assert of(values(stores, "drift"), "7 days") == [(-2160, 0), (-720, 3.0)]


def test_records_that_are_lost_are_counted_by_day(stores: Stores, client: Client) -> None:
    assert of(values(stores, "predictions_lost"), "") == [(-3600, 0), (-2160, 0), (-720, 0)]
    columns = ["day", "writer", "sequence", "at", "request_id", "position", "label", "caller"]
    for back, sequence in ((5, 1), (5, 4), (1, 10), (1, 11), (0, 15)):
        at = NOW - back * DAY
        row = [at.date(), "w" * 32, sequence, at, f"x{sequence}", 0, "x", "me"]
        client.insert("prediction_feedback", [row], columns)
    assert of(values(stores, "predictions_lost"), "") == [(-3600, 0), (-2160, 0), (-720, 3)]
    home = stores.settings.home
    since = [(NOW - back * DAY).date() for back in (5, 4)]
    assert [count for _, count in lost_records(client, home, since[0])] == [2, 5, 3]
    assert [count for _, count in lost_records(client, home, since[1])] == [5, 3]
    client.command("alter table prediction_feedback delete where writer = 'w' || repeat('w', 31)")


def test_the_search_that_is_served_is_as_it_was_measured(stores: Stores) -> None:
    assert values(stores, "search_recall") == values(stores, "search_ndcg") == {}
    generation = generation_of(stores.connection, stores.settings)
    publish(stores.connection, generation, recall={"pgvector": 0.99, "chroma": 0.8})
    found = values(stores, "search_recall")
    assert {name: of(found, name) for name in found} == {
        "pgvector": [(1, 0.99)],
        "chroma": [(1, 0.8)],
    }
    assert values(stores, "search_ndcg") == {}
    figures = {"reporting": {**dict.fromkeys(METRICS, 0.7), "queries": 30}}
    publish(stores.connection, generation, quality=MethodQuality(methods={"hybrid": figures}))
    assert of(values(stores, "search_ndcg"), "") == [(1, 0.7)]


def test_what_failed_is_of_the_records_of_runs(stores: Stores) -> None:
    assert of(values(stores, "runs_failed", over=HOUR), "") == [(1, 3)]
    assert of(values(stores, "runs_failed", over=2 * HOUR), "") == [(1, 0)]
    found = values(stores, "checks_failed")
    assert {name: of(found, name) for name in found} == {"a:b": [(1, 1)], "a:c": [(1, 0)]}


def test_any_series_of_the_store_of_metrics_is_a_reading(stores: Stores, client: Client) -> None:
    assert values(stores, "p50 of test_ms by model") == {}
    store = stores.metrics
    assert store is not None
    assert store is stores.metrics
    for model, begin in (("a", 10.0), ("b", 20.0)):
        each = series("test_ms", model=model, endpoint="e")
        pairs = [(NOW + n * MINUTE / 3, begin + n) for n in range(-30, 3)]
        store.write([points(each, pairs)])
    asked = {"over": 5 * MINUTE, "lasting": timedelta()}
    found = values(stores, "max of test_ms by endpoint, model", **asked)
    assert found.keys() == {"e/a", "e/b"}
    assert of(found, "e/a") == [(-10, -6), (-5, 9), (0, 12)]
    assert of(values(stores, "min of test_ms", **asked), "") == [(-10, -20), (-5, -5), (0, 10)]
    assert of(values(stores, "mean of test_ms", **asked), "") == [(-10, -8), (-5, 7), (0, 16)]
    # The present five minutes are not over.
    assert of(values(stores, "count of test_ms by model", **asked), "b") == [(-10, 15), (-5, 15)]
    ((_, first), *_) = of(values(stores, "p99.9 of test_ms by model", **asked), "b")
    assert first.expected == pytest.approx(3, rel=0.1)
    asked = {"over": 5 * MINUTE}
    assert gap_of(rule(metric="p50 of test_ms", **asked)) == 10 * MINUTE


def test_a_home_without_anything_has_no_value_and_gets_no_store(
    connection: postgres.Connection, tmp_path: Path
) -> None:
    def refuse() -> Any:
        raise AssertionError("a store was opened")

    settings = load_settings(home=tmp_path)
    empty = Stores(settings, connection, refuse, refuse, lambda _: Records(0, {}))
    found = {name: read(empty, rule(metric=name), NOW) for name in (*READINGS, "max of x")}
    assert {name for name, each in found.items() if each} == {"runs_failed"}
    assert list(tmp_path.iterdir()) == []


def test_gaps_are_two_values() -> None:
    assert gap_of(rule(metric="accuracy", over=5 * MINUTE)) == 10 * MINUTE
    assert gap_of(rule(metric="drift", over=5 * MINUTE)) == 2 * DAY


def test_a_store_that_cannot_be_read_leaves_its_rules_and_no_other(
    stores: Stores, tmp_path: Path
) -> None:
    file = tmp_path / "rules.toml"
    text = '[rules.{}]\nmetric = "{}"\ncondition = ">= 3"\nseverity = "info"\nwho = ["file"]\n'
    file.write_text(text.format("slow", "p95_ms") + text.format("fail", "runs_failed"))

    def away() -> Any:
        raise StoreError("it is away", where="CLICKHOUSE_URL", do="Wait")

    stores.settings = load_settings(
        home=tmp_path, alert_rules=file, clickhouse_url="http://unused:1"
    )
    stores.open_clickhouse = away
    found = evaluate(stores, NOW + MINUTE)
    assert [alert.name for alert in found.changes.opened] == ["fail"]
    assert found.delivered.count == 1
    assert str(found) == (
        "2 rules, 1 alerts opened, 0 resolved; opened fail;"
        " rule slow was not read: CLICKHOUSE_URL: it is away. Wait"
    )
    assert '"rule": "fail"' in (tmp_path / "alerts.jsonl").read_text()
