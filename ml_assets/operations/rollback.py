"""Going back to a release as a whole: search, feature views and model together."""

from __future__ import annotations

from dataclasses import asdict

from ml_assets.operations.pending import forget_finish
from ml_assets.registry import promotion
from ml_assets.registry.versions import follow_release
from ml_assets.releases import audit, pointer
from ml_assets.releases.roles import authorize
from ml_assets.search.generation import kept_generation
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.publishing import lifecycle
from ml_assets.settings import Settings, secret
from ml_assets.stores import mlflow, postgres


def roll_back(
    connection: postgres.Connection,
    settings: Settings,
    where: mlflow.Tracking,
    reason: str,
    to: int | None = None,
) -> pointer.Release:
    """Serve what release `to` named, or the one served before the present one that differs.

    Its parts passed their gates when they were published. Its indexes are brought up to date and
    compared before the pointer moves. What is left is withdrawn: no run publishes or promotes it
    until a person does. The next run looks at every step, and so repairs MLflow's aliases should
    this process be killed before they follow.

    Raises:
        NothingToDoError: there is none to go back to, or its indexes were dropped.
        GateError: the generation lacks vectors of live chunks, or its indexes differ from the
            tables.
        FeatureViewError: the model needs feature views that the code no longer has.
        RoleError: the actor is no approver.
    """
    authorize(connection, settings.actor, "rollback", f"release:{to or 'before'}")
    with pointer.deciding_alone(connection, secret(settings.redis_url)):
        target = pointer.rollback_target(connection, to)
        present = pointer.present_parts(connection)
        gates = promotion.ready_for_rollback(connection, where, target.parts, present)
        identity = target.parts.generation_id
        if identity and identity != present.generation_id:
            generation = kept_generation(connection, identity)
            gates.append(lifecycle.bring_up_to_date(connection, Indexes(settings), generation))
        details = {"gates": [asdict(gate) for gate in gates]}
        subject = f"release:{target.release_id}"
        entry = audit.Entry(settings.actor, "rollback", subject, reason, details)
        forget_finish(connection, subject)
        pointer.roll_back(connection, target, entry)
    follow_release(connection, where)
    return target
