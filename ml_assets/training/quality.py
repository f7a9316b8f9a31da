"""The data checks of training sets and candidates, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.experiments import read_candidates
from ml_assets.training.families.registry import BASELINES
from ml_assets.training.training_set import content_hash, current_hash, current_training_set


@dataclass(frozen=True, slots=True)
class BaselineScores:
    """Macro-F1 on validation: all families, the best that is no baseline, the best baseline."""

    all: Mapping[str, float]
    best: str
    score: float
    baseline: float


def unknown_labels(
    connection: postgres.Connection, duck: duckdb.Connection
) -> tuple[list[str], list[str]]:
    """Documents of the training set that have another label now, and labels never trained on."""
    current = current_hash(duck)
    query = "select document_id, label from training_sets where hash = ?"
    frozen = dict(duck.execute(query, [current]).fetchall())
    labels = connection.execute(statement("postgres/training/labels"), [list(frozen)])
    live: dict[str, str] = dict(labels.fetchall())
    wrong = sorted(name for name, label in frozen.items() if live.get(name) != label)
    return wrong, _column(duck, "labels_not_trained_on", current)


def is_as_frozen(duck: duckdb.Connection) -> bool:
    """Whether the rows of the current training set are those of its hash."""
    current = current_training_set(duck)
    return current is None or not current.hash or content_hash(current) == current.hash


def straddling_groups(duck: duckdb.Connection) -> dict[str, list[str]]:
    """Groups and texts of the current training set that are in more than one split."""
    current = current_hash(duck)
    return {
        "groups": _column(duck, "straddling_groups", current),
        "texts": _column(duck, "straddling_texts", current),
    }


def better_than_baselines(
    connection: postgres.Connection, duck: duckdb.Connection
) -> BaselineScores | None:
    """Compare the candidates of the current training set; None: it has none."""
    current = current_hash(duck)
    candidates = read_candidates(connection, current) if current else []
    scores = {each.family: each.metrics["validation_macro_f1"] for each in candidates}
    baselines = [value for name, value in scores.items() if name in BASELINES]
    others = {name: value for name, value in scores.items() if name not in BASELINES}
    if not others:
        return None
    best = max(others, key=others.__getitem__)
    return BaselineScores(scores, best, others[best], max(baselines, default=0.0))


def _column(duck: duckdb.Connection, name: str, training_set_hash: str) -> list[str]:
    rows = duck.execute(statement(f"duckdb/training/{name}"), {"hash": training_set_hash})
    return [value for (value,) in rows.fetchall()]
