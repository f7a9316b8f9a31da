"""Checks of the group `registry`."""

import dagster as dg

from ml_assets.defs.assets import check
from ml_assets.defs.resources import MlflowResource, PostgresResource
from ml_assets.errors import ModelError
from ml_assets.registry.serving import load_served
from ml_assets.registry.versions import champion
from ml_assets.releases import audit
from ml_assets.releases.pointer import present_parts
from ml_assets.stores.mlflow import is_elsewhere
from ml_assets.training.families.registry import BASELINES


@check(asset="champion_model", blocking=True)
def audit_chain_is_intact(postgres: PostgresResource) -> dg.AssetCheckResult:
    """Every entry of the audit log follows from the one before it, and none is missing."""
    with postgres.connect() as connection:
        broken = audit.verify(connection)
        entries = audit.count_entries(connection)
    repair = "restore the log from a backup: `ml-assets restore`"
    return dg.AssetCheckResult(
        passed=broken is None,
        metadata={
            "entries": entries,
            "first_broken_entry": broken or "none",
            **({"repair": repair} if broken else {}),
        },
    )


@check(asset="champion_model", blocking=True)
def champion_can_be_loaded(
    postgres: PostgresResource, mlflow: MlflowResource
) -> dg.AssetCheckResult:
    """The champion is loaded as `ml-assets predict` loads it."""
    with postgres.connect() as connection:
        served = champion(connection)
    if served is None:
        return dg.AssetCheckResult(passed=True, description="there is no champion")
    if is_elsewhere(mlflow.tracking, served.candidate.served_uri):
        return dg.AssetCheckResult(passed=True, description="it lies in the home of another host")
    reason = ""
    try:
        load_served(mlflow.tracking, served)
    except ModelError as error:
        reason = str(error)
    return dg.AssetCheckResult(
        passed=not reason,
        metadata={
            "version": served.version,
            "model": served.candidate.served_uri,
            "reason": reason or "none",
        },
    )


@check(asset="champion_model", blocking=True)
def champion_has_earned_it(postgres: PostgresResource) -> dg.AssetCheckResult:
    """The present release names a registered model that is no baseline; an entry promoted it."""
    with postgres.connect() as connection:
        served = champion(connection)
        promoted = audit.count_entries(connection, served.subject, "promote") if served else 0
        named = present_parts(connection).model_version
    if served is None:
        return dg.AssetCheckResult(
            passed=named is None,
            metadata={"version_that_is_not_registered": named, "repair": "ml-assets rollback"}
            if named
            else {},
            description="there is no champion",
        )
    return dg.AssetCheckResult(
        passed=promoted > 0 and served.candidate.family not in BASELINES,
        metadata={
            "version": served.version,
            "family": served.candidate.family,
            "promotions_in_the_audit_log": promoted,
        },
    )
