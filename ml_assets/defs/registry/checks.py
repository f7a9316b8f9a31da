"""Checks of the group `registry`."""

import dagster as dg

from ml_assets.defs.resources import PostgresResource
from ml_assets.registry.versions import champion
from ml_assets.releases import audit
from ml_assets.training.families.registry import BASELINES


@dg.asset_check(asset="champion_model", blocking=True)
def audit_chain_is_intact(postgres: PostgresResource) -> dg.AssetCheckResult:
    """Every entry of the audit log follows from the one before it."""
    with postgres.connect() as connection:
        broken = audit.verify(connection)
        entries = audit.count_entries(connection)
    return dg.AssetCheckResult(
        passed=broken is None, metadata={"entries": entries, "first_broken_entry": broken or "none"}
    )


@dg.asset_check(asset="champion_model", blocking=True)
def champion_has_earned_it(postgres: PostgresResource) -> dg.AssetCheckResult:
    """The present release names a registered model that is no baseline; an entry promoted it."""
    with postgres.connect() as connection:
        served = champion(connection)
        promoted = audit.count_entries(connection, served.subject, "promote") if served else 0
    if served is None:
        return dg.AssetCheckResult(passed=True, description="there is no champion")
    return dg.AssetCheckResult(
        passed=promoted > 0 and served.candidate.family not in BASELINES,
        metadata={
            "version": served.version,
            "family": served.candidate.family,
            "promotions_in_the_audit_log": promoted,
        },
    )
