"""Candidates: trained once, recorded in every store, and repeatable."""

import hashlib
import json
import math
import os
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from ml_assets.errors import ModelError
from ml_assets.stores import duckdb, mlflow
from ml_assets.stores.mlflow import load_model
from ml_assets.training import experiments
from ml_assets.training.candidates import SLICES, train_candidates, write_lost_results
from ml_assets.training.evaluation import evaluate, log_loss
from ml_assets.training.examples import read_examples
from ml_assets.training.experiments import (
    forget_elsewhere,
    is_stored,
    left_out,
    read_candidate,
    read_candidates,
    trained_elsewhere,
    untrained,
)
from ml_assets.training.families.base import Task, Trial, fit_family, predict_probabilities
from ml_assets.training.families.inputs import Part
from ml_assets.training.families.registry import FAMILIES, TRUSTED_TYPES
from ml_assets.training.importance import permutation_importance
from ml_assets.training.model import DEVELOPMENT, SPLITS, Step, TrainingSet
from ml_assets.training.onnx.model import FILE, OnnxModel
from ml_assets.training.quality import straddling_groups, unknown_labels, validation_gate
from ml_assets.training.results import COSTS, write_costs
from ml_assets.training.selection.choice import is_to_refit
from ml_assets.training.selection.cross_validation import cross_validate
from ml_assets.training.selection.out_of_fold import read_out_of_fold
from ml_assets_tests.corpus import FAST, Deployment, family
from ml_assets_tests.training.tasks import made_folds

Trained = tuple[Deployment, TrainingSet]


@pytest.fixture(scope="module")
def task(trained: Trained) -> Task:
    deployment, training_set = trained
    return Task(
        read_examples(deployment.connection, training_set, *DEVELOPMENT),
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
    of_splits = ("validation_", "test_")
    costs = {f"_{name}": candidate.metrics[name] for name in COSTS}
    quality = {n: v for n, v in candidate.metrics.items() if n.startswith(of_splits)}
    assert metrics == quality | costs
    tested = (training_set.rows["split"] == "test").sum()
    assert right == (pytest.approx(candidate.metrics["test_accuracy"]), tested)
    assert set(importance) == {*training_set.features, "vector"}
    assert importance["vector"] > 0.2


def test_what_a_candidate_costs_stands_beside_its_quality(trained: Trained) -> None:
    deployment, training_set = trained
    *others, chosen = read_candidates(deployment.connection, training_set.hash)
    query = (
        "select run_id, macro_f1, validation_macro_f1, fit_seconds, one_text_p50_ms,"
        " one_text_p95_ms, thousand_texts_p50_ms, thousand_texts_p95_ms, peak_memory_mib,"
        " model_bytes from experiment_summary where training_set_hash = ?"
    )
    with deployment.open_duck() as duck:
        rows = {run_id: row for run_id, *row in duck.execute(query, [training_set.hash]).fetchall()}
    for candidate in (*others, chosen):
        metrics = candidate.metrics
        names = ("test_macro_f1", "validation_macro_f1", *COSTS)
        assert rows[candidate.run_id] == [metrics[name] for name in names]
        assert 0 < metrics["latency_p50_ms"] <= metrics["latency_p95_ms"]
        assert metrics["latency_p95_ms"] <= metrics["latency_p99_ms"]
        assert metrics["latency_p50_ms"] < metrics["latency_1000_p50_ms"]
        assert 0 < metrics["fit_seconds"] <= metrics["seconds"]
        # Importing scikit-learn alone takes more than this.
        assert 100 < metrics["peak_memory_mib"] < 100_000
    onnx = f"models/{chosen.served_uri.rpartition('/')[2]}/artifacts/{FILE}"
    assert chosen.metrics["model_bytes"] == chosen.sizes[onnx]


def test_the_files_of_candidates_are_told_in_sql(trained: Trained) -> None:
    deployment, training_set = trained
    folder = deployment.tracking.artifacts
    assert folder
    told: dict[str, list[tuple[str, str, str, int]]] = {}
    for run_id, *file in deployment.connection.execute(
        "select run_id, type, path, checksum, bytes from model_artifacts"
    ):
        told.setdefault(run_id, []).append(tuple(file))
    *_, other, chosen = read_candidates(deployment.connection, training_set.hash)
    for candidate in (other, chosen):
        for _, path, checksum, size in told[candidate.run_id]:
            content = (folder / path).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (checksum, size)
    kinds = {"model", "plot", "data", "metadata"}
    assert {kind for kind, *_ in told[other.run_id]} == kinds
    assert {kind for kind, *_ in told[chosen.run_id]} == {*kinds, "onnx"}


def test_metrics_and_schemas_of_candidates_are_told_in_sql(trained: Trained) -> None:
    deployment, training_set = trained
    candidate = read_candidates(deployment.connection, training_set.hash)[2]
    metrics = deployment.connection.execute(
        "select concat_ws('_', nullif(split, ''), metric), value from model_metrics"
        " where run_id = %s",
        [candidate.run_id],
    ).fetchall()
    assert dict(metrics) == candidate.metrics
    schema = deployment.connection.execute(
        "select direction, name, type from model_schemas where run_id = %s order by position",
        [candidate.run_id],
    ).fetchall()
    module = mlflow.activate(deployment.tracking)
    signature = module.models.get_model_info(candidate.model_uri).signature
    columns = {each.name: each.type.name for each in signature.inputs}
    vector = [name for name in columns if name[0] == "e" and name[1:].isdecimal()]
    plain = [(name, kind) for name, kind in columns.items() if name not in vector]
    assert [row[1:] for row in schema if row[0] == "input"] == [
        *plain,
        ("vector", f"float[{len(vector)}]"),
    ]
    assert ("output", "probabilities", f"double[{len(training_set.labels)}]") in schema


def test_experiments_are_counted_by_status(trained: Trained) -> None:
    deployment, _ = trained
    connection, query = deployment.connection, "select status, sum(experiments)::int"
    query += " from experiment_statistics where family = 'tfidf_baseline' group by status"
    with connection.transaction(force_rollback=True):
        assert connection.execute(query).fetchall() == [("completed", 1)]
        connection.execute("update experiments set status = 'failed'")
        assert connection.execute(query).fetchall() == [("failed", 1)]
    p50, p95 = connection.execute(
        "select p50_seconds, p95_seconds from experiment_statistics where family = 'tfidf_baseline'"
    ).fetchall()[0]
    assert 0 < p50 == p95


def test_every_fit_reports_its_steps_and_what_the_process_used(trained: Trained) -> None:
    deployment, training_set = trained
    *_, candidate = read_candidates(deployment.connection, training_set.hash)
    history, place = deployment.connection.execute(
        "select history, (host, process, device)::text from experiments where run_id = %s",
        [candidate.run_id],
    ).fetchall()[0]
    assert place == f"({socket.gethostname()},{os.getpid()},cpu)"
    reported = [Step(*row) for row in history]
    assert {(step.split, step.metric) for step in reported} == {
        ("train", name)
        for name in ("loss", "gradient_norm", "step_seconds", "cpu_percent", "memory_mib")
    }
    by_metric = {
        name: [step.value for step in reported if step.metric == name]
        for name in ("loss", "gradient_norm", "memory_mib")
    }
    assert sorted(by_metric["loss"], reverse=True) == by_metric["loss"]
    assert by_metric["gradient_norm"][-1] < by_metric["gradient_norm"][0] / 10
    assert max(by_metric["memory_mib"]) <= candidate.metrics["peak_memory_mib"]


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
    assert {"out_of_fold.parquet", "test_confusion.png", "test_calibration.png"} <= artifacts
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
        deployment.tracking, candidate.served_uri, FILE, candidate.onnx_sha256
    )
    assert OnnxModel(content).labels == list(training_set.labels)


@pytest.mark.parametrize("name", [one.name for one in FAMILIES if not one.members])
def test_a_family_is_repeatable_and_saved_without_pickle(
    name: str, task: Task, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import skops.io

    folds = made_folds(task, 3)
    crossed, again = (cross_validate(family(name), task, folds) for _ in range(2))
    assert (crossed.probabilities == again.probabilities).all()
    assert (crossed.setting, crossed.steps) == (again.setting, again.steps)
    one, other = (fit_family(family(name), task, crossed.setting) for _ in range(2))
    inputs = task.examples.inputs
    answers = predict_probabilities(one, inputs, task.labels)
    assert (answers == predict_probabilities(other, inputs, task.labels)).all()
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-6)

    path = tmp_path_factory.mktemp("model") / "model.skops"
    skops.io.dump(one, path)
    loaded = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    assert (predict_probabilities(loaded, inputs, task.labels) == answers).all()


def test_a_family_that_iterates_reports_every_step(task: Task) -> None:
    crossed = cross_validate(family("neural_network"), task, made_folds(task, 3))
    by_metric = {step.metric for step in crossed.steps}
    assert by_metric == {"log_loss", "accuracy", "precision", "recall", "f1"}
    losses = {step.step: step.value for step in crossed.steps if step.metric == "log_loss"}
    assert list(losses) == list(range(1, len(losses) + 1))
    assert losses[1] > min(losses.values()) == losses[crossed.setting["epochs"]]


def test_the_answers_out_of_fold_are_those_of_the_chosen_epoch(task: Task) -> None:
    crossed = cross_validate(family("neural_network"), task, made_folds(task, 3))
    at_epoch = {
        step.metric: step.value for step in crossed.steps if step.step == crossed.setting["epochs"]
    }
    assert at_epoch["log_loss"] == min(s.value for s in crossed.steps if s.metric == "log_loss")
    achieved = log_loss(task.labels, task.examples.truth, crossed.probabilities)
    assert achieved == pytest.approx(at_epoch["log_loss"])
    right = evaluate(task.labels, task.examples.truth, crossed.probabilities).metrics["accuracy"]
    assert right == pytest.approx(at_epoch["accuracy"])


def test_a_network_reports_each_epoch_of_its_fit(task: Task) -> None:
    told: list[dict[str, float]] = []
    fit = replace(task, report=lambda step, metrics: told.append({"step": step, **metrics}))
    fit_family(family("neural_network"), fit, {"epochs": 4})
    assert [each["step"] for each in told] == [1, 2, 3, 4]
    assert {*told[0]} == {"step", "loss", "learning_rate", "gradient_norm", "step_seconds"}
    assert told[0]["loss"] > told[-1]["loss"] > 0
    assert all(each["gradient_norm"] > 0 and each["step_seconds"] > 0 for each in told)
    # Adam's, at its last step: as in the paper, before section 2.1.
    steps = 4 * math.ceil(len(task.examples.truth) / 128)
    size = 0.001 * math.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
    assert told[-1]["learning_rate"] == pytest.approx(size)


def test_out_of_fold_answers_are_read_as_they_were_measured(trained: Trained) -> None:
    deployment, training_set = trained
    rows = training_set.rows[training_set.rows["split"].isin(DEVELOPMENT)]
    for candidate in read_candidates(deployment.connection, training_set.hash):
        answers = read_out_of_fold(deployment.tracking, candidate)
        assert answers.document_ids == tuple(rows["document_id"])
        assert answers.truth.tolist() == rows["label"].tolist()
        assert answers.labels == training_set.labels
        assert answers.probabilities.dtype == np.float32
        measured = evaluate(answers.labels, answers.truth, answers.probabilities).metrics
        assert measured == {name: candidate.metrics[f"validation_{name}"] for name in measured}


def test_answers_out_of_fold_that_are_lost_are_told(trained: Trained) -> None:
    deployment, training_set = trained
    candidate = read_candidates(deployment.connection, training_set.hash)[0]
    with pytest.raises(ModelError, match="the file cannot be read"):
        read_out_of_fold(deployment.tracking, replace(candidate, run_id="nothing"))


def test_the_chosen_one_is_measured_on_test_and_serves_from_all_rows(trained: Trained) -> None:
    """The model that was measured has not seen a test row; the one that serves has seen all."""
    deployment, training_set = trained
    *others, chosen = read_candidates(deployment.connection, training_set.hash)
    assert [each.refitted_uri for each in others] == ["", ""]
    assert chosen.refitted_uri
    assert chosen.served_uri == chosen.refitted_uri != chosen.model_uri
    for uri, rows in ((chosen.model_uri, DEVELOPMENT), (chosen.served_uri, SPLITS)):
        model = load_model(deployment.tracking, uri, TRUSTED_TYPES)
        task = Task(
            read_examples(deployment.connection, training_set, *rows),
            training_set.features,
            training_set.labels,
            training_set.seed,
        )
        again = fit_family(family(chosen.family), task, chosen.parameters)
        inputs = task.examples.inputs
        assert model.predict_proba(inputs) == pytest.approx(again.predict_proba(inputs), abs=1e-4)
    assert is_stored(deployment.tracking, chosen)
    assert not is_stored(deployment.tracking, replace(chosen, refitted_uri="models:/gone"))
    assert not is_stored(deployment.tracking, replace(chosen, model_uri="models:/gone"))


def test_a_kill_before_the_chosen_one_was_refitted_is_made_good(trained: Trained) -> None:
    deployment, training_set = trained
    connection = deployment.connection
    before = read_candidates(connection, training_set.hash)
    with connection.transaction(force_rollback=True):
        connection.execute("update experiments set refitted_uri = '', onnx_sha256 = ''")
        assert is_to_refit(read_candidates(connection, training_set.hash))
        deployment.train(training_set, [])
        *_, again = read_candidates(connection, training_set.hash)
    with deployment.open_duck() as duck:
        rows = duck.execute(
            "select metric, value from experiment_performance where run_id = ? and split = ''",
            [again.run_id],
        ).fetchall()
        write_costs(duck, before[-1])  # as PostgreSQL is again
    assert dict(rows) == {name: again.metrics[name] for name in COSTS}
    assert not is_to_refit(before)
    assert again.refitted_uri not in ("", before[-1].refitted_uri)
    assert again.onnx_sha256 == before[-1].onnx_sha256


def test_slices_are_an_artifact_of_the_run(trained: Trained) -> None:
    deployment, training_set = trained
    *_, chosen = read_candidates(deployment.connection, training_set.hash)
    parts = json.loads(mlflow.read_run_file(deployment.tracking, chosen.run_id, SLICES))
    tested = int((training_set.rows["split"] == "test").sum())
    for key in ("collection", "length", "time"):
        of_key = [part for part in parts if part["by"] == key]
        assert sum(part["documents"] for part in of_key) == tested
        right = sum(part["accuracy"] * part["documents"] for part in of_key)
        assert right / tested == pytest.approx(chosen.metrics["test_accuracy"])
    assert {"latency_p50_ms", "latency_p99_ms", "peak_memory_mib", "model_bytes"} <= set(
        chosen.metrics
    )


def test_a_family_that_cannot_be_fitted_is_left_out_once(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, training_set = trained
    connection = deployment.connection

    def refuse(*given: object) -> list[list[Trial]]:
        raise ValueError("no terms remain\nof the text")

    broken = replace(family("neural_network"), try_folds=refuse, version=99)
    monkeypatch.setattr(experiments, "FAMILIES", (*FAST, broken))
    with connection.transaction(force_rollback=True):
        assert untrained(connection, deployment.tracking, training_set) == [broken]
        deployment.train(training_set, [broken])
        assert untrained(connection, deployment.tracking, training_set) == []
        told = left_out(connection, training_set.hash, 300, 3)
    assert told == {broken.fingerprint: "neural_network: no terms remain"}


def test_what_costs_too_much_is_not_trained(trained: Trained) -> None:
    deployment, training_set = trained
    arguments = (deployment.connection, deployment.tracking, training_set)
    told = left_out(deployment.connection, training_set.hash, 300, 3, seconds=1e-6)
    assert family("neural_network").fingerprint in told
    assert "ML_ASSETS_TRAINING_SECONDS is 1e-06" in next(iter(told.values()))
    assert family("neural_network") not in untrained(*arguments, seconds=1e-6)
    assert family("neural_network") in untrained(*arguments, seconds=1e6)


def test_a_missing_feature_is_no_obstacle(task: Task) -> None:
    inputs = task.examples.inputs.copy()
    inputs[task.features[0]] = np.nan
    inputs.loc[::2, task.features[1]] = np.nan
    hollow = replace(task, examples=replace(task.examples, inputs=inputs))
    model = fit_family(family("logistic_regression"), hollow, {"C": 0.2})
    answers = predict_probabilities(model, task.examples.inputs, task.labels)
    assert np.isfinite(answers).all()


def test_only_an_input_that_is_read_has_importance(task: Task) -> None:
    model = fit_family(family("tfidf_baseline"), task, {"C": 3.0})
    groups = {"text": ["text"], "vector": task.vector, task.features[0]: [task.features[0]]}
    # Measured on what it was fitted on: words it never saw tell it nothing.
    found = permutation_importance(model, task.examples, task.labels, groups, 0)
    assert found["text"] > 0.3
    assert found["vector"] == found[task.features[0]] == 0


def test_words_are_prepared_once_for_all_importances(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit_family(family("text_and_vector_regression"), task, {"C": 6.0})
    prepared, prepare = Counter[str](), Part.prepare

    def counted(part: Part, inputs: DataFrame) -> Any:
        prepared[part.name] += 1
        return prepare(part, inputs)

    monkeypatch.setattr(Part, "prepare", counted)
    groups = {"text": ["text"], "vector": task.vector, **{name: [name] for name in task.features}}
    found = permutation_importance(model, task.examples, task.labels, groups, 0)
    assert prepared == {"features": 1 + len(task.features), "vector": 1, "text": 1}
    assert found["vector"] > 0.1


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
    # It is sound while the training set is logged, and broken when the results are written.
    files = iter([deployment.settings.duckdb_file])
    with module.start_run() as parent, pytest.raises(Exception, match="cannot create the folder"):
        train_candidates(
            deployment.connection,
            lambda: duckdb.connect(next(files, broken / "offline.duckdb")),
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
