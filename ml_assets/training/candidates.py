"""Candidates: one model per family, trained once per training set, each an MLflow run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.evaluation import Evaluation, evaluate
from ml_assets.training.examples import TEXT, read_examples
from ml_assets.training.experiments import complete_experiment, experiment, read_candidates
from ml_assets.training.families.base import Family, Task, fit_family, predict_probabilities
from ml_assets.training.families.registry import FAMILIES, TRUSTED_TYPES
from ml_assets.training.importance import permutation_importance
from ml_assets.training.model import DEVELOPMENT, Candidate, Examples, TrainingSet
from ml_assets.training.onnx.export import Export, export
from ml_assets.training.onnx.model import FILE
from ml_assets.training.plots import confusion_plot, reliability_plot
from ml_assets.training.provenance import log_provenance, log_training_set
from ml_assets.training.results import Trained, without_results, write_results
from ml_assets.training.selection import out_of_fold
from ml_assets.training.selection.cross_validation import cross_validate
from ml_assets.training.selection.folds import assign_folds
from ml_assets.training.selection.out_of_fold import OutOfFold, read_out_of_fold, to_parquet
from ml_assets.training.selection.temperature import cool, fit_temperature
from ml_assets.training.selection.time_order import (
    CHEAP,
    InTime,
    newest_metrics,
    order_in_time,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame


def train_candidates(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    families: Sequence[Family],
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    owner: str = "",
) -> list[Trained]:
    """Train `families`, each in an MLflow run nested in the active one, and record the results.

    An experiment is running from the start, and completed when all else is written: a run that
    was killed or failed trains again only what it did not complete. Settings, temperature and the
    metrics named `validation_*` come of answers out of fold, over the splits train and validation;
    the model that answers on test is fitted on both. Test is for the report alone.

    Raises:
        NothingToDoError: documents changed since the training set was frozen.
    """
    rows = _read(connection, training_set)
    rows = replace(rows, in_time=order_in_time(connection, training_set))
    module = mlflow.activate(where)
    dataset = log_training_set(connection, open_duck, module, training_set)
    done = []
    for number, family in enumerate(families):
        progress(number, len(families))
        tags = {
            "family": family.name,
            "fingerprint": family.fingerprint,
            "training_set_hash": training_set.hash,
            "space_id": training_set.space_id,
        }
        with (
            module.start_run(run_name=family.name, nested=True, tags=tags) as run,
            experiment(connection, run.info.run_id, training_set, family, owner),
        ):
            what = f"{family.name} on the training set {training_set.hash}"
            log_provenance(module, run.info.run_id, dataset, owner, what)
            trained = _train(module, run.info.run_id, training_set.hash, rows, family)
            files = mlflow.hash_files(where, trained.candidate.model_uri, run.info.run_id)
            trained = replace(trained, candidate=replace(trained.candidate, files=files))
            with open_duck() as duck:
                write_results(duck, trained)
            complete_experiment(connection, trained.candidate, trained.steps)
        done.append(trained)
    progress(len(families), len(families))
    return done


def write_lost_results(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
) -> int:
    """Write the results that DuckDB no longer has of candidates anew; return of how many.

    They follow from the models and the training set, so nothing is trained for them.
    """
    with open_duck() as duck:
        lacking = without_results(duck, read_candidates(connection, training_set.hash))
    if not lacking:
        return 0
    rows = _read(connection, training_set)
    families = {family.fingerprint: family for family in FAMILIES}
    for candidate in lacking:
        model = mlflow.load_model(where, candidate.model_uri, TRUSTED_TYPES)
        importance = _importance(model, families[candidate.fingerprint], rows)
        answers = read_out_of_fold(where, candidate).probabilities
        evaluations, predictions = _assess(model, rows, answers)
        with open_duck() as duck:
            write_results(duck, Trained(candidate, (), evaluations, importance, predictions))
    return len(lacking)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What candidates learn from, with its folds, and the examples that test them."""

    task: Task
    folds: NDArray[np.int64]
    test: Examples
    in_time: InTime | None = None


def _read(connection: postgres.Connection, training_set: TrainingSet) -> _Rows:
    rows = training_set.rows[training_set.rows["split"].isin(DEVELOPMENT)]
    folds = assign_folds(rows["group_id"].tolist(), rows["label"].tolist(), training_set.seed)
    development = read_examples(connection, training_set, *DEVELOPMENT)
    task = Task(development, training_set.features, training_set.labels, training_set.seed)
    return _Rows(task, folds, read_examples(connection, training_set, "test"))


def _train(
    module: Any, run_id: str, training_set_hash: str, rows: _Rows, family: Family
) -> Trained:
    """Fit and evaluate `family`, and log what came of it to the active MLflow run."""
    started = time.perf_counter()
    task = rows.task
    crossed = cross_validate(family, task, rows.folds)
    temperature = fit_temperature(task.labels, task.examples.truth, crossed.probabilities)
    chosen = {**crossed.setting, "temperature": temperature}
    probabilities = cool(crossed.probabilities, temperature).astype("float32")
    model = fit_family(family, task, chosen)
    metrics = {"seconds": round(time.perf_counter() - started, 3)}
    evaluations, predictions = _assess(model, rows, probabilities)
    for split, evaluation in evaluations.items():
        for name, value in evaluation.metrics.items():
            metrics[f"{split}_{name}"] = value
    if rows.in_time and family.name in CHEAP:
        metrics |= newest_metrics(family, rows.in_time, chosen)
    uri = mlflow.log_model(module, model, task.examples.inputs.head(5), task.labels, TRUSTED_TYPES)
    exported = Export(reason="a baseline is never served")
    if not family.baseline:
        exported = export(model, task)
    if exported.content:
        mlflow.log_file(module, uri, FILE, exported.content)
    parameters = {**family.parameters, **chosen}
    module.log_params(parameters)
    module.log_metrics(metrics)
    steps = [(s.step, f"{s.split}_{s.metric}_by_step", s.value) for s in crossed.steps]
    mlflow.log_steps(module, run_id, steps)
    examples = task.examples
    answers = OutOfFold(examples.document_ids, examples.truth, probabilities, task.labels)
    mlflow.log_run_file(module, run_id, out_of_fold.FILE, to_parquet(answers))
    module.log_figure(confusion_plot(evaluations["test"]), "test_confusion.png")
    module.log_figure(reliability_plot(evaluations["test"]), "test_calibration.png")
    candidate = Candidate(
        run_id=run_id,
        training_set_hash=training_set_hash,
        family=family.name,
        fingerprint=family.fingerprint,
        parameters=parameters,
        metrics=metrics,
        model_uri=uri,
        onnx_sha256=exported.sha256,
        onnx_reason=exported.reason,
    )
    importance = _importance(model, family, rows)
    return Trained(candidate, crossed.steps, evaluations, importance, predictions)


def _assess(
    model: Any, rows: _Rows, validation: NDArray[np.float32]
) -> tuple[dict[str, Evaluation], DataFrame]:
    """What a family achieves out of fold and its model on test, and what that answers there."""
    import numpy as np
    import pandas as pd

    labels, test = rows.task.labels, rows.test
    answers = predict_probabilities(model, test.inputs, labels)
    evaluations = {
        "validation": evaluate(labels, rows.task.examples.truth, validation),
        "test": evaluate(labels, test.truth, answers),
    }
    predictions = {
        "document_id": test.document_ids,
        "label": test.truth,
        "predicted": np.array(labels)[answers.argmax(axis=1)],
        "probability": answers.max(axis=1),
    }
    return evaluations, pd.DataFrame(predictions)


def _importance(model: Any, family: Family, rows: _Rows) -> dict[str, float]:
    groups = _groups(family, rows.task)
    return permutation_importance(model, rows.test, rows.task.labels, groups, rows.task.seed)


def _groups(family: Family, task: Task) -> dict[str, list[str]]:
    """The inputs that a family reads, by name; the columns of a vector are one."""
    groups = {
        "features": {name: [name] for name in task.features},
        "vector": {"vector": task.vector},
        "text": {"text": [TEXT]},
    }
    read = family.parameters.get("weights", ())
    return {name: columns for part in read for name, columns in groups[part].items()}
