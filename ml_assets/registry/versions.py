"""Model versions: the best candidate becomes a version in MLflow, and the challenger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.releases.audit import Entry, append, last_entry
from ml_assets.releases.pointer import present_parts
from ml_assets.settings import Settings
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.experiments import read_candidates
from ml_assets.training.families.registry import BASELINES
from ml_assets.training.model import Candidate, TrainingSet

SELECTION_METRIC = "validation_macro_f1"
"""What the best candidate is best at; the test split plays no part in the choice."""


def register_challenger(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
) -> ModelVersion | None:
    """Make the best candidate of `training_set` a model version with the alias `challenger`.

    The baselines are measures, not candidates for use. A run has one version, whenever it is
    registered, and mlflow is not imported when it is the challenger already. None: the set has no
    candidates, or no labels.
    """
    best = best_candidate(read_candidates(connection, training_set.hash))
    if best is None:
        return None
    known = read_version(connection, run_id=best.run_id)
    if known and known == current_challenger(connection):
        return known
    module = mlflow.activate(where)
    tags = _tags(best, training_set)
    number = mlflow.ensure_version(module, MODEL_NAME, best.model_uri, best.run_id, tags)
    version = _version(best, training_set, number)
    mlflow.set_alias(where, MODEL_NAME, "challenger", number)
    with connection.transaction():
        jsons = {name: Jsonb(getattr(version, name)) for name in ("feature_views", "metrics")}
        insert = statement("postgres/registry/insert_version")
        connection.execute(insert, {**asdict(version), **jsons})
        reason = f"best {SELECTION_METRIC} of the candidates"
        details = {"training_set_hash": training_set.hash, "run_id": best.run_id}
        append(connection, Entry(settings.actor, "register", version.subject, reason, details))
    return version


def best_candidate(candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate with the best macro-F1 on validation, the baselines left out."""
    eligible = [candidate for candidate in candidates if candidate.family not in BASELINES]
    return max(eligible, key=lambda best: best.metrics[SELECTION_METRIC], default=None)


def current_challenger(connection: postgres.Connection) -> ModelVersion | None:
    """The version that was registered last."""
    entry = last_entry(connection, "register")
    return read_version(connection, version=int(entry[0].rpartition("/")[2])) if entry else None


def champion(connection: postgres.Connection) -> ModelVersion | None:
    """The version of the present release; MLflow's alias `champion` follows it."""
    version = present_parts(connection).model_version
    return None if version is None else read_version(connection, version=version)


def read_version(
    connection: postgres.Connection, *, version: int | None = None, run_id: str | None = None
) -> ModelVersion | None:
    """The version of that number, or of that run."""
    bound = {"model_name": MODEL_NAME, "version": version, "run_id": run_id}
    with connection.cursor(row_factory=class_row(ModelVersion)) as cursor:
        return cursor.execute(statement("postgres/registry/model_version"), bound).fetchone()


def _version(best: Candidate, training_set: TrainingSet, number: int) -> ModelVersion:
    return ModelVersion(
        name=MODEL_NAME,
        version=number,
        run_id=best.run_id,
        family=best.family,
        uri=f"models:/{MODEL_NAME}/{number}",
        training_set_hash=training_set.hash,
        space_id=training_set.space_id,
        seed=training_set.seed,
        feature_views=dict(training_set.feature_views),
        metrics=dict(best.metrics),
    )


def _tags(best: Candidate, training_set: TrainingSet) -> dict[str, str]:
    metrics = {name: f"{value:.6g}" for name, value in best.metrics.items()}
    return {
        "family": best.family,
        "training_set_hash": training_set.hash,
        "space_id": training_set.space_id,
        "feature_views": json.dumps(dict(training_set.feature_views), sort_keys=True),
        **metrics,
    }
