"""Candidates: trained once, recorded in every store, and repeatable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_assets.stores import duckdb, mlflow
from ml_assets.stores.mlflow import load_model
from ml_assets.training.candidates import train_candidates, write_lost_results
from ml_assets.training.evaluation import evaluate
from ml_assets.training.examples import read_examples
from ml_assets.training.experiments import (
    forget_elsewhere,
    read_candidate,
    read_candidates,
    trained_elsewhere,
    untrained,
)
from ml_assets.training.families.base import Task, fit_family, predict_probabilities
from ml_assets.training.families.registry import FAMILIES, TRUSTED_TYPES
from ml_assets.training.importance import permutation_importance
from ml_assets.training.model import Examples, TrainingSet
from ml_assets.training.onnx.model import FILE, OnnxModel
from ml_assets.training.quality import straddling_groups, unknown_labels, validation_gate
from ml_assets_tests.corpus import FAST, Deployment, family

Trained = tuple[Deployment, TrainingSet]


@pytest.fixture(scope="module")
def task(trained: Trained) -> Task:
    deployment, training_set = trained
    return Task(
        train=read_examples(deployment.connection, training_set, "train"),
        validation=read_examples(deployment.connection, training_set, "validation"),
        features=training_set.features,
        labels=training_set.labels,
        seed=training_set.seed,
    )


def test_a_trained_family_is_not_trained_again(trained: Trained) -> None:
    deployment, training_set = trained
    assert untrained(deployment.connection, deployment.tracking, training_set) == list(FAMILIES[3:])
    candidates = read_candidates(deployment.connection, training_set.hash)
    assert [candidate.family for candidate in candidates] == [each.name for each in FAST]


def test_the_meaning_beats_the_words(trained: Trained) -> None:
    deployment, _ = trained
    with deployment.open_duck() as duck:
        gate = validation_gate(deployment.connection, duck)
        assert straddling_groups(duck) == {"groups": [], "texts": []}
        assert unknown_labels(deployment.connection, duck) == ([], [])
    assert gate is not None
    assert gate.outcome == "pass"
    assert gate.numbers["logistic_regression"] > 0.7


def test_duckdb_holds_performance_importance_and_predictions(trained: Trained) -> None:
    deployment, training_set = trained
    candidate = read_candidates(deployment.connection, training_set.hash)[2]
    with deployment.open_duck() as duck:
        metrics = dict(
            duck.execute(
                "select split || '_' || metric, value from experiment_performance"
                " where run_id = ? and label = ''",
                [candidate.run_id],
            ).fetchall()
        )
        right = duck.execute(
            "select avg((label = predicted)::int), count(*) from model_predictions"
            " where run_id = ?",
            [candidate.run_id],
        ).fetchone()
        importance = dict(
            duck.execute(
                "select feature, importance from feature_importance where run_id = ?",
                [candidate.run_id],
            ).fetchall()
        )
    assert metrics == {name: v for name, v in candidate.metrics.items() if name != "seconds"}
    tested = (training_set.rows["split"] == "test").sum()
    assert right == (pytest.approx(candidate.metrics["test_accuracy"]), tested)
    assert set(importance) == {*training_set.features, "vector"}
    assert importance["vector"] > 0.2


def test_mlflow_holds_the_run_and_the_model_it_reports_on(trained: Trained) -> None:
    deployment, training_set = trained
    candidate = read_candidates(deployment.connection, training_set.hash)[2]
    module = mlflow.activate(deployment.tracking)
    run = module.get_run(candidate.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["training_set_hash"] == training_set.hash
    assert run.data.tags["mlflow.parentRunId"]
    assert run.data.metrics["test_macro_f1"] == pytest.approx(candidate.metrics["test_macro_f1"])
    artifacts = {one.path for one in module.MlflowClient().list_artifacts(candidate.run_id)}
    assert {"test_confusion.png", "test_calibration.png"} <= artifacts
    info = module.models.get_model_info(candidate.model_uri)
    assert info.signature.inputs.input_names()[0] == "text"
    assert info.saved_input_example_info is not None

    model = load_model(deployment.tracking, candidate.model_uri, TRUSTED_TYPES)
    test = read_examples(deployment.connection, training_set, "test")
    answers = predict_probabilities(model, test.inputs, training_set.labels)
    found = evaluate(training_set.labels, test.truth, answers).metrics
    assert found["macro_f1"] == pytest.approx(candidate.metrics["test_macro_f1"])


def test_the_onnx_form_lies_beside_the_model_and_its_hash_in_postgresql(trained: Trained) -> None:
    deployment, training_set = trained
    baseline, _, candidate = read_candidates(deployment.connection, training_set.hash)
    assert (baseline.onnx_sha256, baseline.onnx_reason) == ("", "a baseline is never served")
    assert candidate.onnx_reason == ""
    assert read_candidate(deployment.connection, candidate.run_id) == candidate
    content = mlflow.read_file(
        deployment.tracking, candidate.model_uri, FILE, candidate.onnx_sha256
    )
    assert OnnxModel(content).labels == list(training_set.labels)


@pytest.mark.parametrize("name", [one.name for one in FAMILIES])
def test_a_family_is_repeatable_and_saved_without_pickle(
    name: str, task: Task, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import skops.io

    one = fit_family(family(name), task)
    other = fit_family(family(name), task)
    answers = predict_probabilities(one.model, task.validation.inputs, task.labels)
    repeated = predict_probabilities(other.model, task.validation.inputs, task.labels)
    assert (answers == repeated).all()
    assert one.steps == other.steps
    assert answers.sum(axis=1) == pytest.approx(1)

    path = tmp_path_factory.mktemp("model") / "model.skops"
    skops.io.dump(one.model, path)
    loaded = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    read = predict_probabilities(loaded, task.validation.inputs, task.labels)
    assert (read == answers).all()


@pytest.mark.parametrize("name", ["gradient_boosting", "neural_network"])
def test_a_family_that_iterates_reports_every_step(name: str, task: Task) -> None:
    steps = fit_family(family(name), task).steps
    losses = [one for one in steps if (one.split, one.metric) == ("validation", "log_loss")]
    trained = [one for one in steps if (one.split, one.metric) == ("train", "log_loss")]
    assert [one.step for one in losses] == list(range(len(losses)))
    assert len(trained) == len(losses) > 3
    assert losses[0].value > min(one.value for one in losses)
    assert trained[0].value > trained[-1].value


def test_the_network_keeps_the_weights_of_its_best_epoch(task: Task) -> None:
    fitted = fit_family(family("neural_network"), task)
    best = min(s.value for s in fitted.steps if (s.split, s.metric) == ("validation", "log_loss"))
    answers = predict_probabilities(fitted.model, task.validation.inputs, task.labels)
    found = evaluate(task.labels, task.validation.truth, answers)
    assert found.metrics["log_loss"] == pytest.approx(best)


def test_a_missing_feature_is_no_obstacle(task: Task) -> None:
    inputs = task.train.inputs.copy()
    inputs[task.features[0]] = np.nan
    inputs.loc[::2, task.features[1]] = np.nan
    train = Examples(inputs, task.train.truth, task.train.document_ids)
    hollow = Task(train, task.validation, task.features, task.labels, task.seed)
    fitted = fit_family(family("logistic_regression"), hollow)
    answers = predict_probabilities(fitted.model, task.validation.inputs, task.labels)
    assert np.isfinite(answers).all()


def test_only_an_input_that_is_read_has_importance(task: Task) -> None:
    model = fit_family(family("tfidf_baseline"), task).model
    groups = {"text": ["text"], "vector": task.vector, task.features[0]: [task.features[0]]}
    # Measured on what it was fitted on: words it never saw tell it nothing.
    found = permutation_importance(model, task.train, task.labels, groups, 0)
    assert found["text"] > 0.3
    assert found["vector"] == found[task.features[0]] == 0


def test_a_crash_before_the_record_leaves_no_double_results(
    deployment: Deployment, trained: Trained
) -> None:
    """A killed training still says `running`: the next takes its place, in DuckDB as well."""
    _, training_set = trained
    source, _ = trained
    before = read_candidates(source.connection, training_set.hash)[0]
    with source.connection.transaction(force_rollback=True):
        source.connection.execute(
            "update experiments set status = 'running', ended_at = null where run_id = %s",
            [before.run_id],
        )
        missing = untrained(source.connection, source.tracking, training_set)[:1]
        assert missing == [family(before.family)]
        with mlflow.activate(source.tracking).start_run():
            train_candidates(
                source.connection, source.open_duck, source.tracking, training_set, missing
            )
        (after,) = [
            one
            for one in read_candidates(source.connection, training_set.hash)
            if one.family == before.family
        ]
        with source.open_duck() as duck:
            runs = duck.execute(
                "select distinct run_id from model_predictions where fingerprint = ?",
                [before.fingerprint],
            ).fetchall()
    assert after.run_id != before.run_id
    assert runs == [(after.run_id,)]


def test_a_failure_closes_the_run_as_failed(trained: Trained) -> None:
    deployment, training_set = trained
    module = mlflow.activate(deployment.tracking)
    broken = deployment.settings.home / "no-folder"
    broken.write_text("a file where the offline store's folder should be")
    with module.start_run() as parent, pytest.raises(Exception, match="cannot create the folder"):
        train_candidates(
            deployment.connection,
            lambda: duckdb.connect(broken / "offline.duckdb"),
            deployment.tracking,
            training_set,
            FAMILIES[3:4],
        )
    children = module.search_runs(
        filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", output_format="list"
    )
    assert [run.info.status for run in children] == ["FAILED"]
    rows = deployment.connection.execute(
        "select status, ended_at >= started_at from experiments where family = %s",
        [FAMILIES[3].name],
    ).fetchall()
    assert rows == [("failed", True)]
    assert untrained(deployment.connection, deployment.tracking, training_set) == list(FAMILIES[3:])


def test_results_that_are_lost_are_written_again_from_the_models(trained: Trained) -> None:
    deployment, training_set = trained
    tables = ("experiment_performance", "feature_importance", "model_predictions")

    def rows() -> list[tuple[object, ...]]:
        """But for the last digits, which a model has in memory alone."""
        with deployment.open_duck() as duck:
            frames = [duck.execute(f"from {table} order by all").df() for table in tables]
        frames[0] = frames[0].drop(columns="logged_at")
        return [row for frame in frames for row in frame.round(9).itertuples(index=False)]

    arguments = (deployment.connection, deployment.open_duck, deployment.tracking, training_set)
    write_lost_results(*arguments)  # those that another test put a later run in place of
    before = rows()
    with deployment.open_duck() as duck:
        for table in tables:
            duck.execute(f"delete from {table}")
    assert write_lost_results(*arguments) == len(FAST)
    assert rows() == before
    assert write_lost_results(*arguments) == 0
    with deployment.open_duck() as duck:
        duck.execute("delete from model_predictions where family = 'tfidf_baseline'")
    assert write_lost_results(*arguments) == 1
    assert rows() == before


def test_what_another_host_trained_is_left_alone_until_it_is_forgotten(
    trained: Trained, tmp_path: Path
) -> None:
    deployment, training_set = trained
    connection, here = deployment.connection, replace(deployment.tracking, shared=True)
    there = replace(here, artifacts=tmp_path)
    server = replace(here, artifacts=None)
    with deployment.open_duck() as duck, duckdb.connect(tmp_path / "offline.duckdb") as other:
        assert trained_elsewhere(connection, duck, here) == ""
        told = trained_elsewhere(connection, duck, there)
        assert told.startswith(
            "the models lie in the home of another host. Set MLFLOW_TRACKING_URI"
        )
        assert "Set DUCKDB_PATH" in trained_elsewhere(connection, other, server)
        assert trained_elsewhere(connection, other, replace(there, shared=False)) == ""
        with connection.transaction(force_rollback=True):
            forget_elsewhere(connection, duck, here)
            assert len(read_candidates(connection, training_set.hash)) == len(FAST)
            forget_elsewhere(connection, duck, there)
            assert read_candidates(connection, training_set.hash) == []
            assert trained_elsewhere(connection, duck, there) == ""
