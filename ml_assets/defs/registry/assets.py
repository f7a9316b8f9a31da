"""Assets of the group `registry`: the registered challenger, and the champion."""

import dagster as dg

from ml_assets.defs.assets import (
    DAILY,
    asset,
    audit_head,
    data_version,
    gate_table,
    left_alone,
    nothing_to_train_on,
    table,
)
from ml_assets.defs.resources import (
    EncoderResource,
    MlflowResource,
    OfflineStoreResource,
    PostgresResource,
)
from ml_assets.registry.cards import write_card
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.promotion import promote
from ml_assets.registry.versions import (
    champion,
    current_challenger,
    follow_release,
    register_challenger,
)
from ml_assets.releases.gates import Decision
from ml_assets.settings import Settings
from ml_assets.training.experiments import trained_elsewhere
from ml_assets.training.training_set import current_training_set


@asset(kinds={"mlflow"}, deps=["candidate_models"], pool="duckdb")
def registered_model(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    mlflow: MlflowResource,
) -> dg.MaterializeResult:
    """The candidate that was chosen out of fold, as a version with alias `challenger`."""
    with duckdb.get_connection() as duck:
        current = current_training_set(duck)
    if current is None or not current.hash:
        return nothing_to_train_on(current)
    with postgres.connect() as connection:
        with duckdb.get_connection() as duck:
            if reason := trained_elsewhere(connection, duck, mlflow.tracking):
                return left_alone(reason)
        before = current_challenger(connection)
        version = register_challenger(connection, mlflow.tracking, current, settings)
        if version:
            space, where = encoder.space(), mlflow.tracking
            open_duck = duckdb.get_connection
            write_card(connection, open_duck, where, current, version, space.model, settings)
    if version is None:
        return dg.MaterializeResult(
            metadata={"outcome": "there are no candidates; nothing was registered"}
        )
    return dg.MaterializeResult(
        metadata={
            "outcome": "nothing changed" if version == before else "a new challenger",
            **_version_metadata(version),
        },
        data_version=data_version(version.name, version.version),
    )


@asset(
    kinds={"mlflow", "postgres"},
    deps=["registered_model"],
    freshness_policy=DAILY,
    pool="duckdb",
)
def champion_model(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    mlflow: MlflowResource,
) -> dg.MaterializeResult:
    """The version that is served, alias `champion`; a challenger takes its place by the gates."""
    with duckdb.get_connection() as duck:
        current = current_training_set(duck)
    if current is None or not current.hash:
        return nothing_to_train_on(current)
    with postgres.connect() as connection:
        with duckdb.get_connection() as duck:
            if reason := trained_elsewhere(connection, duck, mlflow.tracking):
                return left_alone(reason)
        decision = promote(connection, duckdb.get_connection, mlflow.tracking, current, settings)
        moved = follow_release(connection, mlflow.tracking)
        served, challenger = champion(connection), current_challenger(connection)
        head = audit_head(connection)
    return dg.MaterializeResult(
        metadata={
            "outcome": _outcome(decision),
            "reason": decision.reason,
            "challenger": challenger.version if challenger else "none",
            "gates": gate_table(decision.gates),
            "aliases": ", ".join(moved) or "in their places",
            **(_version_metadata(served) if served else {"version": "none"}),
            **head,
        },
        data_version=data_version(served.name, served.version) if served else None,
    )


def _outcome(decision: Decision) -> str:
    what = "promoted" if decision.served else "refused"
    if decision.waits:
        what = "waiting for approval"
    return what if decision.changed else f"nothing changed, already {what}"


def _version_metadata(version: ModelVersion) -> dict[str, dg.MetadataValue | str | int]:
    return {
        "version": version.version,
        "family": version.candidate.family,
        "training_set_hash": version.candidate.training_set_hash,
        "vector_space": version.space_id,
        "feature_views": ", ".join(version.feature_views),
        "metrics": table([{"metric": name, "value": v} for name, v in version.metrics.items()]),
    }
