"""Time series: every point once, whatever is run again."""

import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ml_assets.delta import Delta
from ml_assets.embeddings.runs import record_run
from ml_assets.monitoring.metrics import (
    copy_model_performance,
    copy_training_metrics,
    training_series,
)
from ml_assets.registry.versions import register_challenger
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import list_releases, publish
from ml_assets.settings import Settings
from ml_assets.stores import clickhouse, postgres
from ml_assets.training.model import TrainingSet
from ml_assets.usage import Sample, Usage
from ml_assets_tests.corpus import Deployment, family


def test_points_are_copied_once_and_equal_the_history(
    trained: tuple[Deployment, TrainingSet],
) -> None:
    deployment, training_set = trained
    deployment.train(training_set, [family("neural_network")])
    connection = deployment.connection
    histories = dict(connection.execute("select family, history from experiments").fetchall())
    run_id, place = connection.execute(
        "select run_id, (host, process, device)::text from experiments"
        " where family = 'neural_network'"
    ).fetchall()[0]
    history = histories["neural_network"]
    count = sum(map(len, histories.values()))
    with clickhouse.connect(None, deployment.settings.home) as client:
        assert copy_training_metrics(connection, client) == Delta(added=count)
        assert copy_training_metrics(connection, client) == Delta(unchanged=count)
        found = client.query(
            "select step, split, metric, value from training_metrics final"
            " where run_id = {r:String}",
            parameters={"r": run_id},
        ).result_rows
        assert sorted(map(tuple, found)) == sorted(map(tuple, history))
        query = (
            "select distinct format('({},{},{})', host, toString(process), device), stage"
            " from training_metrics where run_id = {r:String}"
        )
        assert client.query(query, {"r": run_id}).result_rows == [(place, "training")]

        of_run = [one for one in training_series(client) if one["run_id"] == run_id]
        series = {(one["split"], one["metric"]): one for one in of_run}
        loss = series["validation", "log_loss"]
        assert loss["first"] > loss["last"]
        assert sum(one["points"] for one in of_run) == len(history)

        # Inserted again by hand, as a run killed after the insert would: still one of each.
        client.insert(
            "training_metrics", client.query("select * from training_metrics").result_rows
        )
        assert copy_training_metrics(connection, client) == Delta(unchanged=count)


def test_what_came_of_a_run_follows_it(trained: tuple[Deployment, TrainingSet]) -> None:
    deployment, training_set = trained
    connection = deployment.connection
    query = (
        "select distinct run_id, version, release_id from training_metrics final where version > 0"
    )
    with clickhouse.connect(None, deployment.settings.home) as client:
        copy_training_metrics(connection, client)
        assert client.query(query).result_rows == []
        version = register_challenger(
            connection, deployment.tracking, training_set, deployment.settings
        )
        assert version is not None
        run_id = version.candidate.run_id
        total = client.command("select count() from training_metrics final")
        moved = copy_training_metrics(connection, client)
        assert (moved.added, moved.changed + moved.unchanged) == (0, total)
        assert 0 < moved.changed < total
        assert client.query(query).result_rows == [(run_id, 1, 0)]
        for _ in range(2):  # the first release with it counts
            publish(
                connection,
                lambda parts: replace(parts, model_name=version.name, model_version=1),
                Entry("tester", "promote", version.subject, "a test", {}),
            )
        first = list_releases(connection)[-1].release_id
        assert copy_training_metrics(connection, client) == moved
        assert client.query(query).result_rows == [(run_id, 1, first)]
        assert copy_training_metrics(connection, client) == Delta(unchanged=total)


def test_an_embedding_is_copied_with_its_rate_and_its_place(
    connection: postgres.Connection, settings: Settings
) -> None:
    started = datetime.now(UTC) - timedelta(seconds=10)
    for encoded in (100, 50):  # the second is another try in the same run
        usage = Usage()
        usage.samples = [Sample(0.2, 80.0, 300.0), Sample(4.0, 120.0, 310.5)]
        record_run(connection, "run", "space", encoded, started, usage)
    publish(
        connection,
        lambda parts: replace(parts, space_id="space"),
        Entry("tester", "publish", "search", "a test", {}),
    )
    query = (
        "select metric, step, value, stage, family, host, process, device, version, release_id"
        " from training_metrics final order by metric, step"
    )
    with clickhouse.connect(None, settings.home) as client:
        assert copy_training_metrics(connection, client) == Delta(added=5)
        rows = client.query(query).result_rows
    here = ("embedding", "space", socket.gethostname(), os.getpid(), "cpu", 0, 1)
    *used, rate = [row[:3] for row in rows]
    assert used == [
        ("cpu_percent", 0, 80.0),
        ("cpu_percent", 4, 120.0),
        ("memory_mib", 0, 300.0),
        ("memory_mib", 4, 310.5),
    ]
    assert rate[:2] == ("texts_per_second", 10)
    assert rate[2] == pytest.approx(15, rel=0.05)
    assert {row[3:] for row in rows} == {here}


def test_an_embedding_of_more_than_a_year_ago_is_forgotten(
    connection: postgres.Connection,
) -> None:
    now = datetime.now(UTC)
    for name in ("old", "new"):
        record_run(connection, name, "space", 1, now, Usage())
        if name == "old":
            connection.execute("update embedding_runs set ended_at = now() - interval '367 days'")
    kept = connection.execute("select run_id, history from embedding_runs").fetchall()
    assert kept == [("new", [])]


def test_every_version_has_its_metrics_once(trained: tuple[Deployment, TrainingSet]) -> None:
    deployment, training_set = trained
    version = register_challenger(
        deployment.connection, deployment.tracking, training_set, deployment.settings
    )
    assert version is not None
    with clickhouse.connect(None, deployment.settings.home) as client:
        added = copy_model_performance(deployment.connection, client)
        assert added == Delta(added=len(version.metrics))
        assert copy_model_performance(deployment.connection, client) == Delta(unchanged=added.added)
        found = client.query("select metric, value from model_performance final").result_rows
    assert dict(map(tuple, found)) == pytest.approx(dict(version.metrics))
