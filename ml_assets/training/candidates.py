"""Candidates: one model per family, trained once per training set, each an MLflow run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.evaluation import Evaluation, evaluate
from ml_assets.training.examples import TEXT, read_examples
from ml_assets.training.experiments import (
    complete_experiment,
    experiment,
    read_candidates,
    record_refit,
)
from ml_assets.training.families.base import (
    Family,
    Task,
    UnfitError,
    at_once,
    predict_probabilities,
)
from ml_assets.training.families.registry import FAMILIES, TRUSTED_TYPES
from ml_assets.training.importance import permutation_importance
from ml_assets.training.model import SPLITS, Candidate, Examples, Field, Step, TrainingSet
from ml_assets.training.onnx.export import export
from ml_assets.training.onnx.model import FILE, OnnxModel
from ml_assets.training.plots import confusion_plot, reliability_plot
from ml_assets.training.provenance import log_provenance, log_training_set
from ml_assets.training.results import Trained, without_results, write_costs, write_results
from ml_assets.training.selection import out_of_fold
from ml_assets.training.selection.choice import choose, resampled_macro_f1
from ml_assets.training.selection.folds import assign_folds, fold_count
from ml_assets.training.selection.learning import Learned, build, learn
from ml_assets.training.selection.out_of_fold import OutOfFold, read_out_of_fold, to_parquet
from ml_assets.training.selection.slices import slices, thirds
from ml_assets.training.selection.time_order import (
    CHEAP,
    InTime,
    newest_metrics,
    order_in_time,
)
from ml_assets.usage import Usage, usage_sampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

SLICES = "slices.json"
"""The artifact of a run with the slices of the test split."""
_ANSWERS = 20
"""Texts that are answered one by one, for the latency."""
_MANY, _TIMES = 1_000, 3
"""Texts that are answered at once, so many times; those of the test split again and again."""


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
    the model that answers on test is fitted on both. Test is for the report alone. At the end the
    candidate to serve is fitted anew on all rows, if it was not. A family that cannot be fitted is
    left out, which `experiments.left_out` tells.

    Raises:
        NothingToDoError: documents changed since the training set was frozen.
    """
    rows = _read(connection, training_set)
    rows = replace(rows, in_time=order_in_time(connection, training_set))
    module = mlflow.activate(where)
    dataset = log_training_set(connection, open_duck, module, training_set)
    done = []
    for number, family in enumerate(families):
        progress(number, len(families) + 1)
        tags = {
            "family": family.name,
            "fingerprint": family.fingerprint,
            "training_set_hash": training_set.hash,
            "space_id": training_set.space_id,
        }
        try:
            with (
                module.start_run(run_name=family.name, nested=True, tags=tags) as run,
                experiment(connection, run.info.run_id, training_set, family, owner),
                usage_sampled() as usage,
            ):
                what = f"{family.name} on the training set {training_set.hash}"
                log_provenance(module, run.info.run_id, dataset, owner, what)
                known = read_candidates(connection, training_set.hash)
                trained = _train(
                    module, where, run.info.run_id, training_set, rows, family, known, usage
                )
                trained = replace(trained, candidate=_with_files(where, trained.candidate))
                with open_duck() as duck:
                    write_results(duck, trained)
                complete_experiment(connection, trained)
        except UnfitError:
            continue
        done.append(trained)
    progress(len(families), len(families) + 1)
    _refit(connection, open_duck, module, where, training_set, rows)
    progress(len(families) + 1, len(families) + 1)
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
        evaluations, predictions, _ = _assess(model, rows, answers)
        with open_duck() as duck:
            write_results(duck, Trained(candidate, (), (), evaluations, importance, predictions))
    return len(lacking)


@dataclass(frozen=True, eq=False)
class _Rows:
    """All examples of a training set, the folds of those that models learn from, and slices."""

    whole: Task
    tested: NDArray[np.bool_]
    folds: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.object_]]
    in_time: InTime | None = None

    @cached_property
    def task(self) -> Task:
        """What models learn from: the splits train and validation."""
        return self.whole.part(~self.tested)

    @cached_property
    def test(self) -> Examples:
        """What no model that is measured has seen."""
        return self.whole.examples.part(self.tested)


def _read(connection: postgres.Connection, training_set: TrainingSet) -> _Rows:
    rows = training_set.rows
    tested = (rows["split"] == "test").to_numpy()
    learned = rows[~tested]
    groups, labels = learned["group_id"].tolist(), learned["label"].tolist()
    folds = assign_folds(groups, labels, training_set.seed, fold_count(len(groups)))
    examples = read_examples(connection, training_set, *SPLITS)
    whole = Task(examples, training_set.features, training_set.labels, training_set.seed)
    query = statement("postgres/training/collections_of")
    collections: dict[str, str] = dict(
        connection.execute(query, [rows["document_id"].tolist()]).fetchall()
    )
    parts = {
        "collection": rows["document_id"].map(collections),
        "length": thirds(examples.inputs[TEXT].str.len().tolist()),
        "time": thirds(rows["label_time"].tolist()),
    }
    return _Rows(whole, tested, folds, {k: _objects(v)[tested] for k, v in parts.items()})


def _objects(values: Any) -> NDArray[np.object_]:
    import numpy as np

    return np.asarray(values, dtype=object)


def _train(
    module: Any,
    where: mlflow.Tracking,
    run_id: str,
    training_set: TrainingSet,
    rows: _Rows,
    family: Family,
    known: Sequence[Candidate],
    usage: Usage,
) -> Trained:
    """Fit and evaluate `family`, and log what came of it to the active MLflow run."""
    started, reported = time.perf_counter(), list[Step]()
    task = replace(rows.task, report=partial(_keep, reported))
    members = {each.family: each for each in known if each.family in _names(family)}
    answers = {name: read_out_of_fold(where, c).probabilities for name, c in members.items()}
    learned = learn(family, task, rows.folds, answers)
    fitting = time.perf_counter()
    model = build(
        family,
        task,
        learned.chosen,
        lambda families: [
            mlflow.load_model(where, members[each.name].model_uri, TRUSTED_TYPES)
            for each in families
        ],
    )
    fitted = time.perf_counter()
    metrics = {"seconds": round(fitted - started, 3), "fit_seconds": round(fitted - fitting, 3)}
    evaluations, predictions, tested = _assess(model, rows, learned.probabilities)
    for split, evaluation in evaluations.items():
        for name, value in evaluation.metrics.items():
            metrics[f"{split}_{name}"] = value
    if rows.in_time and family.name in CHEAP:
        metrics |= newest_metrics(family, rows.in_time, learned.chosen)
    metrics |= _costs(model.predict_proba, rows.test)
    uri = mlflow.log_model(module, model, task.examples.inputs.head(5), task.labels, TRUSTED_TYPES)
    metrics["model_bytes"] = mlflow.model_bytes(where, uri)
    usage.sample()
    metrics["peak_memory_mib"] = usage.peak_memory_mib
    parameters = {**family.parameters, **learned.chosen}
    module.log_params(parameters)
    module.log_metrics(metrics)
    used = [Step(second, "train", name, value) for second, name, value in usage.points()]
    steps = (*learned.steps, *reported, *used)
    _log_files(module, run_id, rows, learned, steps, evaluations["test"], tested)
    candidate = Candidate(
        run_id=run_id,
        training_set_hash=training_set.hash,
        family=family.name,
        fingerprint=family.fingerprint,
        parameters=parameters,
        metrics=metrics,
        model_uri=uri,
        onnx_reason="a baseline is never served" if family.baseline else "it was not chosen",
        resampled=resampled_macro_f1(
            task.labels, task.examples.truth, learned.probabilities, task.seed
        ),
    )
    importance = _importance(model, family, rows)
    return Trained(candidate, steps, _schema(task), evaluations, importance, predictions)


def _keep(reported: list[Step], step: int, metrics: Mapping[str, float]) -> None:
    reported += [Step(step, "train", name, value) for name, value in metrics.items()]


def _schema(task: Task) -> tuple[Field, ...]:
    """What every family takes and gives, as the signature in MLflow; the vector in one."""
    return (
        Field("input", TEXT, "string"),
        *(Field("input", name, "double") for name in task.features),
        Field("input", "vector", f"float[{len(task.vector)}]"),
        Field("output", "probabilities", f"double[{len(task.labels)}]"),
        Field("output", "label", "string"),
    )


def _log_files(
    module: Any,
    run_id: str,
    rows: _Rows,
    learned: Learned,
    steps: Sequence[Step],
    evaluation: Evaluation,
    tested: NDArray[np.float64],
) -> None:
    """Log the steps, the answers out of fold, the slices and the pictures of a training."""
    by_step = [(s.step, f"{s.split}_{s.metric}_by_step", s.value) for s in steps]
    mlflow.log_steps(module, run_id, by_step)
    examples, labels = rows.task.examples, rows.task.labels
    answers = OutOfFold(examples.document_ids, examples.truth, learned.probabilities, labels)
    mlflow.log_run_file(module, run_id, out_of_fold.FILE, to_parquet(answers))
    parts = [*slices(labels, rows.test.truth, tested, rows.parts)]
    mlflow.log_run_file(module, run_id, SLICES, json.dumps(parts, indent=1).encode())
    module.log_figure(confusion_plot(evaluation), "test_confusion.png")
    module.log_figure(reliability_plot(evaluation), "test_calibration.png")


def _refit(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    module: Any,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    rows: _Rows,
) -> None:
    """Fit the candidate to serve on all rows, and log that model and its ONNX form to its run."""
    candidates = read_candidates(connection, training_set.hash)
    candidate = choose(candidates)
    if candidate is None or candidate.refitted_uri:
        return
    families = {family.fingerprint: family for family in FAMILIES}
    parameters = {each.family: each.parameters for each in candidates}
    whole = rows.whole

    def fit(family: Family) -> Any:
        return build(family, whole, parameters[family.name], lambda members: at_once(fit, members))

    model = fit(families[candidate.fingerprint])
    with module.start_run(run_id=candidate.run_id, nested=True):
        inputs = whole.examples.inputs.head(5)
        uri = mlflow.log_model(module, model, inputs, whole.labels, TRUSTED_TYPES)
        exported = export(model, whole)
        measured = {}
        if exported.content:
            mlflow.log_file(module, uri, FILE, exported.content)
            measured = _costs(_answering(OnnxModel(exported.content), whole), rows.test)
            measured["model_bytes"] = len(exported.content)
        module.log_metrics(measured)
        module.set_tag("refitted_model", uri)
    refitted = replace(
        candidate,
        refitted_uri=uri,
        metrics={**candidate.metrics, **measured},
        onnx_sha256=exported.sha256,
        onnx_reason=exported.reason,
    )
    with open_duck() as duck:
        write_costs(duck, refitted)
    record_refit(connection, _with_files(where, refitted))


def _answering(model: OnnxModel, task: Task) -> Callable[[DataFrame], Any]:
    """The ONNX form, asked as the original is."""
    return lambda inputs: model.predict_proba(
        inputs[TEXT].tolist(),
        {name: inputs[name].to_numpy("float64") for name in task.features},
        inputs[task.vector].to_numpy("float32"),
    )


def _names(family: Family) -> set[str]:
    return {member.name for member in family.members}


def _with_files(where: mlflow.Tracking, candidate: Candidate) -> Candidate:
    uris, run_id = candidate.uris, candidate.run_id
    files, sizes = mlflow.hash_files(where, uris, run_id), mlflow.file_sizes(where, uris, run_id)
    return replace(candidate, files=files, sizes=sizes)


def _costs(answer: Callable[[DataFrame], Any], examples: Examples) -> dict[str, float]:
    """How long one text takes, and 1,000 at once, in milliseconds; their vectors are given."""
    import numpy as np

    inputs = examples.inputs
    singles = [inputs.iloc[[row]] for row in range(min(_ANSWERS, len(inputs)))]
    many = inputs.iloc[np.arange(_MANY) % len(inputs)].reset_index(drop=True)
    one = np.percentile(_milliseconds(answer, singles), [50, 95, 99])
    thousand = np.percentile(_milliseconds(answer, [many] * _TIMES), [50, 95])
    names = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
    more = ("latency_1000_p50_ms", "latency_1000_p95_ms")
    return dict(zip((*names, *more), [*one.tolist(), *thousand.tolist()], strict=True))


def _milliseconds(answer: Callable[[DataFrame], Any], asked: Sequence[DataFrame]) -> list[float]:
    """How long each of what is asked takes."""
    took = []
    for inputs in asked:
        started = time.perf_counter()
        answer(inputs)
        took.append(1000 * (time.perf_counter() - started))
    return took


def _assess(
    model: Any, rows: _Rows, validation: NDArray[np.float32]
) -> tuple[dict[str, Evaluation], DataFrame, NDArray[np.float64]]:
    """What a family achieves out of fold and its model on test, and what that answers there."""
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
        "predicted": _objects(labels)[answers.argmax(axis=1)],
        "probability": answers.max(axis=1),
    }
    return evaluations, pd.DataFrame(predictions), answers


def _importance(model: Any, family: Family, rows: _Rows) -> dict[str, float]:
    """What each input is worth on test; an average has the importance of its members."""
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
    return {
        name: columns for part in groups if part in read for name, columns in groups[part].items()
    }
