"""What a training gave; its performance, importance and predictions are kept in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement
from ml_assets.training.evaluation import Evaluation
from ml_assets.training.model import Candidate, Field, Step

if TYPE_CHECKING:
    from pandas import DataFrame


COSTS = (
    "fit_seconds",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_1000_p50_ms",
    "latency_1000_p95_ms",
    "peak_memory_mib",
    "model_bytes",
)
"""What a candidate costs: seconds of the fit, milliseconds for one text and for 1,000, memory while
it was trained, and the size of the file that serves."""


@dataclass(frozen=True, eq=False)
class Trained:
    """All that one training gave: `evaluations` by split, `importance` by input.

    `schema` is what the model takes and gives. `predictions` are those on the test split:
    `document_id`, `label`, `predicted`, `probability`.
    """

    candidate: Candidate
    steps: tuple[Step, ...]
    schema: tuple[Field, ...]
    evaluations: Mapping[str, Evaluation]
    importance: Mapping[str, float]
    predictions: DataFrame


def write_results(duck: duckdb.Connection, trained: Trained) -> None:
    """Write what a candidate achieved, in place of an earlier run of the same family and set."""
    import pandas as pd

    candidate, importance = trained.candidate, trained.importance
    performance = [*_performance(trained.evaluations), *_costs(candidate)]
    tables = {
        "experiment_performance": pd.DataFrame(performance),
        "feature_importance": pd.DataFrame(importance.items(), columns=["feature", "importance"]),
        "model_predictions": trained.predictions,
    }
    key = _key(candidate)
    with duckdb.transaction(duck):
        for table, rows in tables.items():
            duck.execute(
                f"delete from {table} where training_set_hash = ? and fingerprint = ?",  # noqa: S608
                [candidate.training_set_hash, candidate.fingerprint],
            )
            with duckdb.registered(duck, written=rows.assign(**key)):
                duck.execute(f"insert into {table} by name select * from written")  # noqa: S608


def write_costs(duck: duckdb.Connection, candidate: Candidate) -> None:
    """Write what a candidate costs anew: what serves is another model than the one it was."""
    import pandas as pd

    rows = pd.DataFrame(_costs(candidate)).assign(**_key(candidate))
    with duckdb.transaction(duck), duckdb.registered(duck, written=rows):
        duck.execute(
            "delete from experiment_performance where run_id = ? and split = ''",
            [candidate.run_id],
        )
        duck.execute("insert into experiment_performance by name select * from written")


def without_results(duck: duckdb.Connection, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those of the candidates whose performance or predictions are not there."""
    query = (
        "from experiment_performance select run_id intersect from model_predictions select run_id"
    )
    written = {run_id for (run_id,) in duck.execute(query).fetchall()}
    return [candidate for candidate in candidates if candidate.run_id not in written]


@dataclass(frozen=True, slots=True)
class Summary:
    """How good a candidate is on test, and what it costs: None is from before it was measured.

    Seconds of the fit, milliseconds, MiB and bytes.
    """

    run_id: str
    family: str
    training_set_hash: str
    logged_at: datetime
    macro_f1: float | None
    accuracy: float | None
    log_loss: float | None
    calibration_error: float | None
    fit_seconds: float | None
    one_text_p50_ms: float | None
    one_text_p95_ms: float | None
    thousand_texts_p50_ms: float | None
    thousand_texts_p95_ms: float | None
    peak_memory_mib: float | None
    model_bytes: int | None


SUMMARIZED = tuple(each.name for each in fields(Summary))[4:]
"""The numbers of a summary, by their names."""


def read_summaries(duck: duckdb.Connection, most: int, family: str | None = None) -> list[Summary]:
    """The last `most` candidates, of one family or of all, the first of them first."""
    bound = {"most": most, "family": family}
    rows = duck.execute(statement("duckdb/training/summaries"), bound)
    names = [name for name, *_ in rows.description or ()]
    return [Summary(**dict(zip(names, row, strict=True))) for row in rows.fetchall()][::-1]


def read_answers(duck: duckdb.Connection, run_id: str) -> dict[str, tuple[str, float]]:
    """What a candidate answered on its test split: label and probability, by document."""
    query = "select document_id, predicted, probability from model_predictions where run_id = ?"
    rows = duck.execute(query, [run_id]).fetchall()
    return {document_id: (label, probability) for document_id, label, probability in rows}


def _key(candidate: Candidate) -> dict[str, str]:
    names = ("run_id", "training_set_hash", "family", "fingerprint")
    return {name: getattr(candidate, name) for name in names}


def _costs(candidate: Candidate) -> list[dict[str, object]]:
    """A row per cost that is known: older candidates lack some."""
    known = [name for name in COSTS if name in candidate.metrics]
    return [
        {"split": "", "label": "", "metric": name, "value": float(candidate.metrics[name])}
        for name in known
    ]


def _performance(evaluations: Mapping[str, Evaluation]) -> Iterator[dict[str, object]]:
    """A row per metric, and one per label and metric."""
    for split, evaluation in evaluations.items():
        for metrics in ({"label": "", **evaluation.metrics}, *map(asdict, evaluation.per_label)):
            label = metrics.pop("label")
            for metric, value in metrics.items():
                yield {"split": split, "label": label, "metric": metric, "value": float(value)}
