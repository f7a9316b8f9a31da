"""Candidates: one model per family, trained once per training set, each an MLflow run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.evaluation import Evaluation, evaluate
from ml_assets.training.examples import TEXT, read_examples
from ml_assets.training.experiments import complete_experiment, experiment
from ml_assets.training.families.base import (
    Family,
    Fitted,
    Task,
    fit_family,
    predict_probabilities,
)
from ml_assets.training.families.registry import TRUSTED_TYPES
from ml_assets.training.importance import permutation_importance
from ml_assets.training.model import Candidate, Examples, TrainingSet
from ml_assets.training.onnx.export import Export, export
from ml_assets.training.onnx.model import FILE
from ml_assets.training.plots import confusion_plot, reliability_plot
from ml_assets.training.results import Row, write_results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OpenDuck = Callable[[], AbstractContextManager[duckdb.Connection]]
"""Opens DuckDB for a short while: nobody else may write while it is open, and training is long."""


@dataclass(frozen=True, eq=False)
class Trained:
    """All that one training gave; `answers` are the probabilities on the test split."""

    candidate: Candidate
    fitted: Fitted
    validated: Evaluation
    tested: Evaluation
    answers: NDArray[np.float64]
    importance: dict[str, float]


def train_candidates(
    connection: postgres.Connection,
    open_duck: OpenDuck,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    families: Sequence[Family],
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    owner: str = "",
) -> list[Trained]:
    """Train `families`, each in an MLflow run nested in the active one, and record the results.

    An experiment is running from the start, and completed when all else is written: a run that
    was killed or failed trains again only what it did not complete. Fitted on train, stopped and
    tuned on validation; test is for the report alone.

    Raises:
        NothingToDoError: documents changed since the training set was frozen.
    """
    task = Task(
        train=read_examples(connection, training_set, ["train"]),
        validation=read_examples(connection, training_set, ["validation"]),
        features=training_set.features,
        labels=training_set.labels,
        seed=training_set.seed,
    )
    test = read_examples(connection, training_set, ["test"])
    module = mlflow.activate(where)
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
            trained = _train(module, run.info.run_id, training_set.hash, task, test, family)
            with open_duck() as duck:
                write_results(
                    duck,
                    trained.candidate,
                    {"validation": trained.validated, "test": trained.tested},
                    trained.importance,
                    _predictions(task.labels, test, trained.answers),
                )
            complete_experiment(connection, trained.candidate, trained.fitted.steps)
        done.append(trained)
    progress(len(families), len(families))
    return done


def _train(
    module: Any, run_id: str, training_set_hash: str, task: Task, test: Examples, family: Family
) -> Trained:
    """Fit and evaluate `family`, and log what came of it to the active MLflow run."""
    started = time.perf_counter()
    fitted = fit_family(family, task)
    seconds = time.perf_counter() - started
    validation, labels = task.validation, task.labels
    answers = predict_probabilities(fitted.model, test.inputs, labels)
    tested = evaluate(labels, test.truth, answers)
    validated = evaluate(
        labels, validation.truth, predict_probabilities(fitted.model, validation.inputs, labels)
    )
    uri = mlflow.log_model(module, fitted.model, task.train.inputs.head(5), labels, TRUSTED_TYPES)
    exported = _export(module, uri, family, fitted, task)
    candidate = Candidate(
        run_id=run_id,
        training_set_hash=training_set_hash,
        family=family.name,
        fingerprint=family.fingerprint,
        parameters={**family.parameters, **fitted.chosen},
        metrics={
            **{f"validation_{name}": value for name, value in validated.metrics.items()},
            **{f"test_{name}": value for name, value in tested.metrics.items()},
            "seconds": round(seconds, 3),
        },
        model_uri=uri,
        onnx_sha256=exported.sha256,
        onnx_reason=exported.reason,
    )
    _log(module, candidate, fitted, tested)
    importance = permutation_importance(
        fitted.model, validation, labels, _groups(family, task), task.seed
    )
    return Trained(candidate, fitted, validated, tested, answers, importance)


def _export(module: Any, uri: str, family: Family, fitted: Fitted, task: Task) -> Export:
    """The ONNX form of a model, put beside it."""
    if family.baseline:
        return Export(reason="a baseline is never served")
    exported = export(fitted.model, task)
    if exported.content:
        mlflow.log_file(module, uri, FILE, exported.content)
    return exported


def _log(module: Any, candidate: Candidate, fitted: Fitted, tested: Evaluation) -> None:
    module.log_params(candidate.parameters)
    module.log_metrics(dict(candidate.metrics))
    steps = [(s.step, f"{s.split}_{s.metric}_by_step", s.value) for s in fitted.steps]
    mlflow.log_steps(module, candidate.run_id, steps)
    module.log_figure(confusion_plot(tested), "test_confusion.png")
    error = tested.metrics["calibration_error"]
    module.log_figure(reliability_plot(tested.reliability, error), "test_calibration.png")


def _groups(family: Family, task: Task) -> dict[str, list[str]]:
    """The inputs that a family reads, by name; the columns of a vector are one."""
    groups = {name: [name] for name in task.features if "features" in family.inputs}
    if "vector" in family.inputs:
        groups["vector"] = task.vector
    if "text" in family.inputs:
        groups["text"] = [TEXT]
    return groups


def _predictions(labels: Sequence[str], test: Examples, answers: NDArray[np.float64]) -> list[Row]:
    return [
        {
            "document_id": document_id,
            "label": label,
            "predicted": labels[int(row.argmax())],
            "probability": float(row.max()),
        }
        for document_id, label, row in zip(test.document_ids, test.truth, answers, strict=True)
    ]
