"""Checks of the group `registry`."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from ml_assets.defs.assets import check, tried_again
from ml_assets.defs.resources import MlflowResource, PostgresResource
from ml_assets.errors import ModelError
from ml_assets.registry.decisions import last_decision, read_gates
from ml_assets.registry.gates import GATES
from ml_assets.registry.serving import load_served
from ml_assets.registry.versions import champion, current_challenger
from ml_assets.releases import anchor, audit
from ml_assets.releases.pointer import present_parts
from ml_assets.stores.mlflow import is_elsewhere
from ml_assets.training.families.registry import BASELINES


@check(asset="champion_model", blocking=True)
def audit_chain_is_intact(postgres: PostgresResource) -> dg.AssetCheckResult:
    """Every entry of the audit log follows from the one before it, up to what the home kept."""
    with postgres.connect() as connection:
        broken = anchor.verify(connection, Path(postgres.home), shared=bool(postgres.url))
        entries = audit.count_entries(connection) if audit.exists(connection) else 0
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


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(gate.__name__, asset="champion_model", description=gate.__doc__)
        for gate in GATES
    ]
)
@tried_again
def promotion_gates(postgres: PostgresResource) -> Iterator[dg.AssetCheckResult]:
    """What each gate said of the challenger when it was decided on; none of them stops a run."""
    with postgres.connect() as connection:
        challenger = current_challenger(connection)
        entry = last_decision(connection, challenger) if challenger else None
    gates = {gate.name: gate for gate in read_gates(entry)} if entry else {}
    for asked in GATES:
        name = asked.__name__
        if gate := gates.get(name):
            yield dg.AssetCheckResult(
                check_name=name,
                passed=gate.outcome in ("pass", "warn"),
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{gate.message}. {gate.do}" if gate.do else gate.message,
                metadata={"outcome": gate.outcome, **gate.numbers},
            )
        else:
            reason = "there is no decision that asked this gate"
            yield dg.AssetCheckResult(check_name=name, passed=True, description=reason)
