"""The results of a candidate in DuckDB: performance, importance, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from ml_assets.stores import duckdb
from ml_assets.training.evaluation import Evaluation
from ml_assets.training.model import Candidate

Row = dict[str, object]


def write_results(
    duck: duckdb.Connection,
    candidate: Candidate,
    evaluations: Mapping[str, Evaluation],
    importance: Mapping[str, float],
    predictions: Sequence[Row],
) -> None:
    """Write what a candidate achieved, in place of an earlier run of the same family and set.

    `evaluations` are by split, `importance` is by input. `predictions` have `document_id`, `label`,
    `predicted` and `probability`.
    """
    import pyarrow as pa

    tables: dict[str, Sequence[Row]] = {
        "experiment_performance": list(_performance(evaluations)),
        "feature_importance": [
            {"feature": name, "importance": value} for name, value in importance.items()
        ],
        "model_predictions": predictions,
    }
    names = ("run_id", "training_set_hash", "family", "fingerprint")
    key: Row = {name: getattr(candidate, name) for name in names}
    with duckdb.transaction(duck):
        for table, rows in tables.items():
            duck.execute(
                f"delete from {table} where training_set_hash = ? and fingerprint = ?",  # noqa: S608
                [candidate.training_set_hash, candidate.fingerprint],
            )
            if rows:
                written = pa.Table.from_pylist([{**key, **row} for row in rows])
                with duckdb.registered(duck, written=written):
                    duck.execute(f"insert into {table} by name select * from written")  # noqa: S608


def _performance(evaluations: Mapping[str, Evaluation]) -> Iterator[Row]:
    """A row per metric, and one per label and metric."""
    for split, evaluation in evaluations.items():
        overall: Row = {"label": "", **evaluation.metrics}
        for metrics in (overall, *map(asdict, evaluation.per_label)):
            label = metrics.pop("label")
            for metric, value in metrics.items():
                yield {"split": split, "label": label, "metric": metric, "value": float(value)}
