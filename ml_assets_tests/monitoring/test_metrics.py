"""Time series: every point once, whatever is run again."""

import pytest

from ml_assets.delta import Delta
from ml_assets.monitoring.metrics import (
    copy_model_performance,
    copy_training_metrics,
    training_series,
)
from ml_assets.registry.versions import register_challenger
from ml_assets.stores import clickhouse
from ml_assets.training.model import TrainingSet
from ml_assets_tests.corpus import Deployment, family


def test_points_are_copied_once_and_equal_the_history(
    trained: tuple[Deployment, TrainingSet],
) -> None:
    deployment, training_set = trained
    deployment.train(training_set, [family("neural_network")])
    connection = deployment.connection
    row = connection.execute(
        "select run_id, history from experiments where family = 'neural_network'"
    ).fetchone()
    assert row is not None
    run_id, history = row
    with clickhouse.connect(None, deployment.settings.home) as client:
        assert copy_training_metrics(connection, client) == Delta(added=len(history))
        assert copy_training_metrics(connection, client) == Delta(unchanged=len(history))
        found = client.query(
            "select step, split, metric, value from training_metrics final"
            " where run_id = {r:String}",
            parameters={"r": run_id},
        ).result_rows
        assert sorted(map(tuple, found)) == sorted(map(tuple, history))

        series = {(one["split"], one["metric"]): one for one in training_series(client)}
        loss = series["validation", "log_loss"]
        assert loss["first"] > loss["last"]
        assert sum(one["points"] for one in series.values()) == len(history)

        # Inserted again by hand, as a run killed after the insert would: still one of each.
        client.insert(
            "training_metrics", client.query("select * from training_metrics").result_rows
        )
        assert copy_training_metrics(connection, client) == Delta(unchanged=len(history))


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
