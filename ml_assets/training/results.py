"""The results of a candidate in DuckDB: performance, importance, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ml_assets.stores import duckdb
from ml_assets.training.evaluation import Evaluation
from ml_assets.training.model import Candidate

_TABLES = ("experiment_performance", "feature_importance", "model_predictions")


def write_results(
    duck: duckdb.Connection,
    candidate: Candidate,
    evaluations: Mapping[str, Evaluation],
    importance: Mapping[str, float],
    predictions: Mapping[str, Sequence[object]],
) -> None:
    """Write what a candidate achieved, in place of an earlier run of the same family and set.

    Args:
        duck: the offline store.
        candidate: whose results they are.
        evaluations: by split.
        importance: by input.
        predictions: columns `document_id`, `label`, `predicted` and `probability`.
    """
    key = {
        "run_id": candidate.run_id,
        "training_set_hash": candidate.training_set_hash,
        "family": candidate.family,
        "fingerprint": candidate.fingerprint,
    }
    written: dict[str, Mapping[str, Sequence[object]]] = {
        "experiment_performance": _performance(evaluations),
        "feature_importance": {
            "feature": list(importance),
            "importance": list(importance.values()),
        },
        "model_predictions": predictions,
    }
    with duckdb.transaction(duck):
        for table in _TABLES:
            duck.execute(
                f"delete from {table} where training_set_hash = ? and fingerprint = ?",  # noqa: S608
                [candidate.training_set_hash, candidate.fingerprint],
            )
            _insert(duck, table, key, written[table])


def _performance(evaluations: Mapping[str, Evaluation]) -> dict[str, list[object]]:
    rows: list[tuple[str, str, str, float]] = []
    for split, found in evaluations.items():
        rows += [(split, "", metric, value) for metric, value in found.metrics.items()]
        for score in found.per_label:
            values = asdict(score)
            label = values.pop("label")
            rows += [(split, label, metric, float(value)) for metric, value in values.items()]
    names = ("split", "label", "metric", "value")
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _insert(
    duck: duckdb.Connection,
    table: str,
    key: Mapping[str, str],
    columns: Mapping[str, Sequence[object]],
) -> None:
    import pyarrow as pa

    rows = len(next(iter(columns.values())))
    if not rows:
        return
    constant = {name: [value] * rows for name, value in key.items()}
    with duckdb.registered(duck, written=pa.table({**constant, **columns})):
        duck.execute(f"insert into {table} by name select * from written")  # noqa: S608
