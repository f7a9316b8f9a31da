"""Model versions: the best candidate becomes one in MLflow, whose aliases follow what is served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.releases.audit import Entry, append, last_entry
from ml_assets.releases.pointer import present_parts
from ml_assets.releases.roles import authorize
from ml_assets.settings import Settings
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.experiments import read_candidate, read_candidates
from ml_assets.training.model import TrainingSet
from ml_assets.training.selection.choice import choose


def register_challenger(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
) -> ModelVersion | None:
    """Make the best candidate of `training_set` a model version with the alias `challenger`.

    The baselines are measures, not candidates for use. A run has one version, whenever it is
    registered: what a person withdrew stays withdrawn when its documents come back. mlflow is not
    imported when it is the challenger already. None: the set has no candidates, or no labels.
    """
    best = choose(read_candidates(connection, training_set.hash))
    if best is None:
        return None
    challenger = current_challenger(connection)
    if challenger and challenger.candidate.run_id == best.run_id:
        return challenger
    authorize(connection, settings.actor, "register", MODEL_NAME)
    known = _version_of(connection, best.run_id)
    version = known or ModelVersion(
        name=MODEL_NAME,
        version=_next_number(connection),
        space_id=training_set.space_id,
        seed=training_set.seed,
        feature_views=training_set.feature_views,
        metrics=best.metrics,
        candidate=best,
    )
    mlflow.set_alias(where, MODEL_NAME, "challenger", _in_mlflow(where, version))
    with connection.transaction():
        if not known:
            jsons = {name: Jsonb(getattr(version, name)) for name in ("feature_views", "metrics")}
            bound = {**asdict(best), **asdict(version), **jsons, "served_uri": best.served_uri}
            connection.execute(statement("postgres/registry/insert_version"), bound)
        reason = "least log loss of the candidates within noise of the best macro-F1"
        details = {"training_set_hash": training_set.hash, "run_id": best.run_id}
        append(connection, Entry(settings.actor, "register", version.subject, reason, details))
    return version


def current_challenger(connection: postgres.Connection) -> ModelVersion | None:
    """The version that was registered last."""
    entry = last_entry(connection, "register")
    return read_version(connection, int(entry[0].rpartition("/")[2])) if entry else None


def champion(connection: postgres.Connection) -> ModelVersion | None:
    """The version of the present release; MLflow's alias `champion` follows it."""
    version = present_parts(connection).model_version
    return None if version is None else read_version(connection, version)


def read_version(connection: postgres.Connection, number: int) -> ModelVersion | None:
    """The version of that number."""
    bound = {"model_name": MODEL_NAME, "version": number}
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement("postgres/registry/model_version"), bound).fetchone()
    candidate = read_candidate(connection, row.pop("run_id")) if row else None
    return ModelVersion(**row, candidate=candidate) if row and candidate else None


@dataclass(frozen=True, slots=True)
class Registered:
    """A version, the hash of its training set, and since when it is one."""

    version: int
    training_set_hash: str
    registered_at: datetime


def registered_versions(connection: postgres.Connection, most: int = 20) -> list[Registered]:
    """The last `most` versions, the newest first."""
    bound = {"model_name": MODEL_NAME, "most": most}
    with connection.cursor(row_factory=class_row(Registered)) as cursor:
        return cursor.execute(statement("postgres/registry/registered"), bound).fetchall()


def mark_forgotten(
    connection: postgres.Connection, request_id: str, documents: Mapping[str, int]
) -> list[int]:
    """Mark the versions that learned from documents of a request; return their numbers.

    `documents`: how many of them each training set has, by its hash. Repeatable.
    """
    bound = {
        "model_name": MODEL_NAME,
        "request_id": request_id,
        "hashes": [*documents],
        "counts": [*documents.values()],
    }
    rows = connection.execute(statement("postgres/registry/mark_forgotten"), bound).fetchall()
    return [version for (version,) in rows]


def count_forgotten(connection: postgres.Connection, version: ModelVersion) -> int:
    """Documents that a version was trained, chosen or tested on and that were forgotten since."""
    bound = {"model_name": version.name, "version": version.version}
    text = statement("postgres/registry/count_forgotten")
    return postgres.read_counts(connection, text, bound)["documents"]


def version_numbers(connection: postgres.Connection) -> dict[str, int]:
    """The number of the version that the model of a run is, by that run."""
    query = "select run_id, version from model_versions where model_name = %s"
    return dict(connection.execute(query, [MODEL_NAME]).fetchall())


def _version_of(connection: postgres.Connection, run_id: str) -> ModelVersion | None:
    """The version that the model of a run is."""
    query = "select version from model_versions where model_name = %s and run_id = %s"
    row = connection.execute(query, [MODEL_NAME, run_id]).fetchone()
    return read_version(connection, row[0]) if row else None


def follow_release(connection: postgres.Connection, where: mlflow.Tracking) -> list[str]:
    """Make MLflow's aliases name what is registered and released; say what was moved.

    The release is committed first. A process that is killed before it comes here leaves an alias
    behind, and a person can move one: the next run puts both right.

    Raises:
        StoreError: MLflow does not answer, or does not have the version.
    """
    moved = []
    for alias, version in astray(connection, where).items():
        number = _in_mlflow(where, version) if version else None
        mlflow.set_alias(where, MODEL_NAME, alias, number)
        moved.append(f"{alias} → {version.version if version else 'none'}")
    return moved


def astray(
    connection: postgres.Connection, where: mlflow.Tracking
) -> dict[str, ModelVersion | None]:
    """The aliases that MLflow has elsewhere, or not at all, and the version that each is to name.

    A version is told by its model: MLflow's numbers begin again where its records were lost.
    """
    versions = {"challenger": current_challenger(connection), "champion": champion(connection)}
    if not any(versions.values()):
        return {}
    aliases = mlflow.read_aliases(where, MODEL_NAME)
    return {
        alias: version
        for alias, version in versions.items()
        if aliases.get(alias) != (version.candidate.served_uri if version else None)
    }


def _in_mlflow(where: mlflow.Tracking, version: ModelVersion) -> int:
    """The number of a version in MLflow, where it is registered again if it is not there."""
    candidate = version.candidate
    tags = {
        "family": candidate.family,
        "training_set_hash": candidate.training_set_hash,
        "space_id": version.space_id,
        "feature_views": json.dumps(version.feature_views, sort_keys=True),
        "version": str(version.version),
        **{name: f"{value:.6g}" for name, value in version.metrics.items()},
    }
    return mlflow.ensure_version(where, version.name, candidate.served_uri, candidate.run_id, tags)


def _next_number(connection: postgres.Connection) -> int:
    """Ours, not MLflow's: that begins again where its records are renamed or lost."""
    query = "select coalesce(max(version), 0) + 1 from model_versions where model_name = %s"
    ((number,),) = connection.execute(query, [MODEL_NAME]).fetchall()
    return int(number)
