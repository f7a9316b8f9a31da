"""What a training gave; its performance, importance and predictions are kept in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ml_assets.stores import duckdb
from ml_assets.training.evaluation import Evaluation
from ml_assets.training.model import Candidate, Step

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Trained:
    """All that one training gave: `evaluations` by split, `importance` by input.

    `predictions` are those on the test split: `document_id`, `label`, `predicted`, `probability`.
    """

    candidate: Candidate
    steps: tuple[Step, ...]
    evaluations: Mapping[str, Evaluation]
    importance: Mapping[str, float]
    predictions: DataFrame


def write_results(duck: duckdb.Connection, trained: Trained) -> None:
    """Write what a candidate achieved, in place of an earlier run of the same family and set."""
    import pandas as pd

    candidate, importance = trained.candidate, trained.importance
    tables = {
        "experiment_performance": pd.DataFrame(_performance(trained.evaluations)),
        "feature_importance": pd.DataFrame(importance.items(), columns=["feature", "importance"]),
        "model_predictions": trained.predictions,
    }
    names = ("run_id", "training_set_hash", "family", "fingerprint")
    key = {name: getattr(candidate, name) for name in names}
    with duckdb.transaction(duck):
        for table, rows in tables.items():
            duck.execute(
                f"delete from {table} where training_set_hash = ? and fingerprint = ?",  # noqa: S608
                [candidate.training_set_hash, candidate.fingerprint],
            )
            with duckdb.registered(duck, written=rows.assign(**key)):
                duck.execute(f"insert into {table} by name select * from written")  # noqa: S608


def without_results(duck: duckdb.Connection, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those of the candidates whose performance or predictions are not there."""
    query = (
        "from experiment_performance select run_id intersect from model_predictions select run_id"
    )
    written = {run_id for (run_id,) in duck.execute(query).fetchall()}
    return [candidate for candidate in candidates if candidate.run_id not in written]


def read_answers(duck: duckdb.Connection, run_id: str) -> dict[str, tuple[str, float]]:
    """What a candidate answered on its test split: label and probability, by document."""
    query = "select document_id, predicted, probability from model_predictions where run_id = ?"
    rows = duck.execute(query, [run_id]).fetchall()
    return {document_id: (label, probability) for document_id, label, probability in rows}


def _performance(evaluations: Mapping[str, Evaluation]) -> Iterator[dict[str, object]]:
    """A row per metric, and one per label and metric."""
    for split, evaluation in evaluations.items():
        for metrics in ({"label": "", **evaluation.metrics}, *map(asdict, evaluation.per_label)):
            label = metrics.pop("label")
            for metric, value in metrics.items():
                yield {"split": split, "label": label, "metric": metric, "value": float(value)}
