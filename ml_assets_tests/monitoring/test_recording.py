"""What the rooms computed, as points: each once, with its run, release and version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from ml_assets.delta import Delta
from ml_assets.embeddings.runs import record_run
from ml_assets.features.drift.comparison import Comparison, Finding
from ml_assets.features.drift.results import DayComparison, write_comparisons
from ml_assets.monitoring.recording import (
    count_by_day,
    first_unrecorded,
    open_metrics,
    points_of_days,
    points_of_runs,
    record,
)
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import publish
from ml_assets.settings import Settings
from ml_assets.stores import clickhouse, duckdb, postgres
from ml_assets.stores.metrics import Points, Query, Window, series
from ml_assets.usage import Sample, Usage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DAY = date(2026, 9, 7)
NOON = datetime(2026, 9, 7, 12, tzinfo=UTC)
WINDOW = Window(NOON - timedelta(hours=12), NOON + timedelta(hours=12))
LONG_AGO = NOON - timedelta(days=300)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with clickhouse.connect(None, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def empty(client: Client) -> Client:
    names = "points", "series", "minute", "hour", "day", "stale"
    for name in (*(f"metric_{each}" for each in names), "prediction_log", "request_log"):
        client.command(f"truncate table {name}")
    client.command("truncate table prediction_feedback")
    return client


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[duckdb.Connection]:
    with duckdb.connect(tmp_path / "features.duckdb") as opened:
        yield opened


def train(connection: postgres.Connection, run: str, history: list[object]) -> None:
    """A training of ten seconds that ended at noon."""
    connection.execute(
        "insert into experiments (run_id, name, description, owner, status, started_at, ended_at,"
        " training_set_hash, family, fingerprint, history, host, process, device)"
        " values (%s, '', '', '', 'completed', %s, %s, %s, 'linear', 'f', %s, 'h', 7, 'cpu')",
        [run, NOON - timedelta(seconds=10), NOON, run, Jsonb(history)],
    )


def named(found: list[Points]) -> dict[str, Points]:
    names = [each.series.name for each in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def seconds(each: Points) -> list[float]:
    """Seconds from noon to each point."""
    return ((each.times - np.datetime64("2026-09-07T12", "us")) / np.timedelta64(1, "s")).tolist()


def test_a_training_is_points_of_its_steps(connection: postgres.Connection) -> None:
    train(
        connection, "r", [[0, "train", "loss", 3.0], [5, "train", "loss", 1.0], [2, "", "a@1", 9]]
    )
    found = named(points_of_runs(connection, WINDOW))
    assert found.keys() == {"training_loss", "training_a_at_1"}
    loss = found["training_loss"]
    assert (seconds(loss), loss.values.tolist()) == ([-10, 0], [3.0, 1.0])
    labels = {"run": "r", "family": "linear", "split": "train", "host": "h", "process": "7"}
    assert dict(loss.series.labels) == {**labels, "device": "cpu"}
    before = Window(WINDOW.begin - timedelta(days=1), WINDOW.begin)
    assert points_of_runs(connection, before) == []


def test_an_embedding_is_points_of_its_seconds(connection: postgres.Connection) -> None:
    usage = Usage()
    usage.samples = [Sample(1.0, 80.0, 300.0), Sample(4.0, 120.0, 310.5)]
    record_run(connection, "e", "space", 100, NOON - timedelta(seconds=10), usage)
    connection.execute("update embedding_runs set ended_at = %s", [NOON])
    publish(
        connection,
        lambda parts: replace(parts, space_id="space"),
        Entry("tester", "publish", "search", "a test", {}),
    )
    found = named(points_of_runs(connection, WINDOW))
    assert seconds(found["embedding_cpu_percent"]) == [-9, -6]
    assert found["embedding_memory_mib"].values.tolist() == [300.0, 310.5]
    rate = found["embedding_texts_per_second"]
    assert (seconds(rate), rate.values.tolist()) == ([0], [10.0])
    assert {"run": "e", "space": "space", "release": "1"}.items() <= dict(
        rate.series.labels
    ).items()


def test_search_is_points_of_what_was_measured(connection: postgres.Connection) -> None:
    connection.execute(
        "insert into search_measurements values ('g', %s, '', 9, %s, %s, %s)",
        [
            NOON,
            Jsonb({"hybrid": {"ndcg@10": 0.5}}),
            Jsonb({"pgvector": 0.99}),
            Jsonb({"p95_ms": 9.0}),
        ],
    )
    found = named(points_of_runs(connection, WINDOW))
    assert {name: each.values.tolist() for name, each in found.items()} == {
        "search_ndcg_at_10": [0.5],
        "search_recall_at_10": [0.99],
        "search_p95_ms": [9.0],
    }
    labels = dict(found["search_ndcg_at_10"].series.labels)
    assert labels == {"generation": "g", "method": "hybrid"}
    assert dict(found["search_p95_ms"].series.labels) == {"generation": "g"}


def come(connection: postgres.Connection, at: datetime, *rows: tuple[str, str, str | None]) -> None:
    """Documents of an id, a text and a label came, or changed, at a time."""
    connection.execute(
        "insert into collections (collection, source, fingerprint) values ('c', 's', '')"
        " on conflict do nothing"
    )
    for identity, text, label in rows:
        connection.execute(
            "insert into documents (document_id, collection, title, text, label, group_id,"
            " content_hash, changed_at) values (%s, 'c', '', %s, %s, '', '', %s)"
            " on conflict (document_id) do update set text = excluded.text,"
            " label = excluded.label, changed_at = excluded.changed_at, deleted_at = null",
            [identity, text, label, at],
        )
        log(connection, at, identity, "changed")


def go(connection: postgres.Connection, at: datetime, identity: str) -> None:
    """A document left its source at a time."""
    connection.execute(
        "update documents set text = '', deleted_at = %(at)s, changed_at = %(at)s"
        " where document_id = %(id)s",
        {"at": at, "id": identity},
    )
    log(connection, at, identity, "removed")


def log(connection: postgres.Connection, at: datetime, identity: str, action: str) -> None:
    connection.execute(
        "insert into change_log (changed_at, stage, collection, document_id, action, reason)"
        " values (%s, 'documents', 'c', %s, %s, '')",
        [at, identity, action],
    )


def of_documents(connection: postgres.Connection, window: Window = WINDOW) -> dict[str, float]:
    found = named(points_of_runs(connection, window))
    for each in found.values():
        assert (dict(each.series.labels), len(each.times)) == ({"collection": "c"}, 1)
    return {name.removeprefix("documents_"): each.values[0] for name, each in found.items()}


def test_documents_are_points_of_collections_and_days(connection: postgres.Connection) -> None:
    come(connection, LONG_AGO, ("f", "of a day long ago", None))
    come(connection, NOON, ("a", "old", "x"), ("g", "came and went", "x"))
    rows = ("a", "four", "x"), ("b", "four", None), ("d", " ", None)
    come(connection, NOON + timedelta(hours=1), *rows)
    for identity in "fg":
        go(connection, NOON + timedelta(hours=2), identity)
    come(connection, WINDOW.end, ("e", "of another day", None))
    connection.execute(
        "insert into change_log (changed_at, stage, collection, document_id, action, reason)"
        " values (%s, 'chunks', 'c', 'f', 'changed', 'chunker')",
        [NOON],
    )
    connection.execute(
        "insert into rejected_documents (collection, location, reason, rejected_at)"
        " values ('c', '1', 'bad', %s)",
        [NOON],
    )
    assert of_documents(connection) == {
        "changed": 3,
        "duplicates": 1,
        "empty": 1,
        "unlabelled": 2,
        "characters": 3,
        "removed": 2,
        "rejected": 1,
    }
    (changed,) = (
        each
        for each in points_of_runs(connection, WINDOW)
        if each.series.name == "documents_changed"
    )
    assert seconds(changed) == [-12 * 3600]


def test_a_day_of_documents_is_as_it_was_whatever_comes_later(
    connection: postgres.Connection,
) -> None:
    """How many changed is known from the log; how good a text was that is gone, from nowhere."""
    come(connection, NOON, ("a", "four", "x"), ("b", "four", "x"))
    before = of_documents(connection)
    assert before.keys() == {"changed", "duplicates", "empty", "unlabelled", "characters"}
    next_day = Window(WINDOW.end, WINDOW.end + timedelta(days=1))
    come(connection, WINDOW.end, ("a", "another", "x"))
    assert of_documents(connection) == {"changed": 2}
    assert of_documents(connection, next_day)["characters"] == len("another")
    go(connection, WINDOW.end, "b")
    assert of_documents(connection) == {"changed": 2}
    come(connection, next_day.end, ("b", "back", "x"))
    assert of_documents(connection, next_day)["removed"] == 1


def test_drift_and_answers_are_points(
    connection: postgres.Connection, empty: Client, duck: duckdb.Connection
) -> None:
    finding = Finding("words", "distribution", "t", None, None, 0.2, 2.0, 0.1, 0.01, True, "", "")
    compared = Comparison("drift", "", 500, 500, (finding,))
    write_comparisons(duck, DAY, [DayComparison(DAY, "7 days", DAY, compared, 3)])
    place = [DAY, "w" * 32]
    names = ["day", "writer", "sequence", "at", "request_id", "position", "model", "version"]
    rows = [
        [*place, n + 1, NOON, "one" if n < 2 else "two", n, "m", 3, 5, "x", p, 8.0 + n // 2]
        for n, p in enumerate((0.5, 0.7, 0.9))
    ]
    rows[2][3] = NOON + timedelta(seconds=1)
    empty.insert(
        "prediction_log", rows, [*names, "release_id", "label", "probability", "latency_ms"]
    )
    told = [*place, 1, WINDOW.end + timedelta(days=2), "two", 2, "", False]
    empty.insert("prediction_feedback", [told], [*names[:6], "label", "correct"])
    minute = [*place, 1, NOON, "/v1/search", 5, 3, 1, [1.0, 2.0, 4.0], 50.0, 300.0, "h", 7]
    on_gpu = [*place, 2, NOON, "/v1/predict", 5, 1, 0, [3.0], 10.0, 400.0, "h", 7, 80.0, 900.0]
    columns = "day writer sequence at route release_id requests errors latencies_ms cpu_percent"
    names = f"{columns} memory_mib host process gpu_percent gpu_memory_mib".split()
    empty.insert("request_log", [[*minute, None, None], on_gpu], names)
    points = points_of_days(connection, duck, empty, WINDOW)
    predict = named([p for p in points if ("route", "/v1/predict") in p.series.labels])
    assert {name: each.values.tolist() for name, each in predict.items()} == {
        "service_requests": [1],
        "service_errors": [0],
        "service_cpu_percent": [10.0],
        "service_memory_mib": [400.0],
        "service_gpu_percent": [80.0],
        "service_gpu_memory_mib": [900.0],
        "service_latency_ms": [3.0],
    }
    found = named([p for p in points if ("route", "/v1/predict") not in p.series.labels])
    assert {name: each.values.tolist() for name, each in found.items()} == {
        "drift_strength": [2.0],
        "drift_effect": [0.2],
        "drift_q_value": [0.01],
        "prediction_latency_ms": [8.0, 9.0],
        "prediction_probability": [pytest.approx(0.6), 0.9],
        "prediction_correct": [0.0],
        "service_requests": [3],
        "service_errors": [1],
        "service_cpu_percent": [50.0],
        "service_memory_mib": [300.0],
        "service_latency_ms": [1.0, 2.0, 4.0],
    }
    assert seconds(found["service_latency_ms"]) == [0, 20, 40]
    assert seconds(found["prediction_correct"]) == [1]
    drift = dict(found["drift_strength"].series.labels)
    assert drift == {
        "feature": "words",
        "aspect": "distribution",
        "reference": "7 days",
        "version": "3",
    }
    answered = {"model": "m", "version": "3", "release": "5"}
    assert dict(found["prediction_latency_ms"].series.labels) == answered
    service = dict(found["service_latency_ms"].series.labels)
    assert service == {"route": "/v1/search", "release": "5", "host": "h", "process": "7"}
    # What is told later changes the day of the prediction.
    later = Window(WINDOW.end + timedelta(days=2), WINDOW.end + timedelta(days=3))
    (correct,) = points_of_days(connection, duck, empty, later)
    assert (correct.series.name, seconds(correct)) == ("prediction_correct", [1])


def test_what_is_there_is_not_written_again(empty: Client, settings: Settings) -> None:
    times = np.array(["2026-09-07T12:00:00", "2026-09-07T12:00:01"], "datetime64[us]")
    given = [Points(series("x", model="m"), times, np.array([1.0, 2.0]))]
    with open_metrics(settings, empty) as store:
        assert record(store, [], LONG_AGO) == Delta()
        assert record(store, given, LONG_AGO) == Delta(added=2)
        assert record(store, given, LONG_AGO) == Delta(unchanged=2)
        one = [replace(given[0], values=np.array([1.0, 3.0]))]
        assert record(store, one, LONG_AGO) == Delta(changed=1, unchanged=1)
        (rolled,) = store.aggregate(Query("x", WINDOW), timedelta(hours=1))
        assert (rolled.means.tolist(), rolled.counts.tolist()) == ([2.0], [2])
        later = Points(given[0].series, times + np.timedelta64(1, "s"), np.array([3.0, 4.0]))
        assert record(store, [later], LONG_AGO) == Delta(added=1, unchanged=1)
        (kept,) = store.read(Query("x", WINDOW))
        assert kept.values.tolist() == [1.0, 3.0, 4.0]
        assert record(store, given, NOON + timedelta(seconds=1)) == Delta(changed=1)
        assert record(store, given, NOON + timedelta(days=1)) == Delta()
    assert count_by_day(given) == {DAY: 2}
    assert count_by_day([]) == {}


def test_what_came_of_a_run_later_makes_no_second_series(empty: Client, settings: Settings) -> None:
    times = np.array(["2026-09-07T12:00:00"], "datetime64[us]")
    with open_metrics(settings, empty) as store:
        for name, of in (("loss", {"run": "r"}), ("ndcg", {"generation": "g"})):
            for labels in ({}, {"version": "3", "release": "4"}):
                run = Points(series(name, **of, **labels), times, np.array([1.0]))
                told = record(store, [run], LONG_AGO)
            assert told == Delta(unchanged=1)
            assert len(store.read(Query(name, WINDOW))) == 1
        for release in ("4", "5"):  # of no run: they are two
            each = Points(series("latency", release=release), times, np.array([1.0]))
            assert record(store, [each], LONG_AGO) == Delta(added=1)


def test_what_is_no_number_is_left_out(connection: postgres.Connection) -> None:
    train(connection, "r", [[0, "", "loss", 1e200], [1, "", "loss", 2.0], [0, "", "gone", 1e200]])
    (loss,) = points_of_runs(connection, WINDOW)
    assert loss.values.tolist() == [2.0]


def test_the_first_day_that_is_not_recorded(connection: postgres.Connection) -> None:
    assert first_unrecorded(connection, LONG_AGO) is None
    train(connection, "r", [[0, "", "loss", 1.0]])
    assert first_unrecorded(connection, LONG_AGO) == NOON - timedelta(seconds=10)
    since = NOON - timedelta(seconds=1)
    assert first_unrecorded(connection, since) == since
    assert first_unrecorded(connection, NOON + timedelta(seconds=1)) is None
