"""Promotion: the challenger becomes champion only through the gates."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ml_assets.errors import FeatureViewError, GateError, NothingToDoError
from ml_assets.features.views import training_views
from ml_assets.registry.comparison import measure
from ml_assets.registry.decisions import last_decision, read_gates, reason_of, refusing
from ml_assets.registry.gates import PASSING, judge, passes
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.versions import champion, current_challenger, read_version
from ml_assets.releases import audit, pointer
from ml_assets.releases.gates import Decision, Gate, refuse_blocked
from ml_assets.releases.roles import authorize
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.experiments import is_stored
from ml_assets.training.model import TrainingSet

LIMITS = (
    "promotion_margin",
    "max_slice_loss",
    "max_calibration_error",
    "max_latency_ms",
    "max_training_set_days",
    "max_drift",
    "approval",
)
"""The settings that a decision depends on: with another it is decided anew."""


def promotion_gates(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    challenger: ModelVersion,
    current: ModelVersion | None,
    settings: Settings,
) -> list[Gate]:
    """Ask all gates about a challenger, against the baselines and the current champion.

    Raises:
        GateError: a baseline was not trained on `training_set`, or the challenger was on all that
            would test it.
    """
    return judge(measure(connection, open_duck, where, training_set, challenger, current, settings))


def promote(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
) -> Decision:
    """Decide on the challenger, once per challenger, champion and limits; record the decision.

    It must pass every gate; where one cannot tell, the champion stays. With `approval` set, what
    passed waits for a person. A version that a person rolled back from is left to a person.

    Raises:
        NothingToDoError: there is no challenger that was trained on `training_set`.
        StoreError: MLflow does not answer.
    """
    authorize(connection, settings.actor, "promote", MODEL_NAME)
    with pointer.deciding_alone(connection, secret(settings.redis_url)):
        challenger = current_challenger(connection)
        if challenger is None or challenger.candidate.training_set_hash != training_set.hash:
            raise NothingToDoError(
                f"no version was registered for training set {training_set.hash or '(none)'}",
                where=MODEL_NAME,
                do="Materialize registered_model first",
            )
        current = champion(connection)
        if current and current.version == challenger.version:
            return Decision(True, False, "it is the champion already")
        withdrawn = pointer.withdrawals(connection, "model_version")
        if withdrawal := withdrawn.get(str(challenger.version)):
            return Decision(False, False, f"version {withdrawal}")
        asked = {
            "training_set_hash": training_set.hash,
            "current_champion": current.version if current else None,
            "current_champion_is_lost": bool(current and not is_stored(where, current.candidate)),
            "limits": {name: getattr(settings, name) for name in LIMITS},
        }
        earlier = last_decision(connection, challenger)
        if earlier and earlier.action != "promote" and asked.items() <= earlier.details.items():
            gates = read_gates(earlier)
            if not PASSING & {gate.name for gate in refusing(gates)}:
                return Decision(False, False, earlier.reason, gates, earlier.action == "wait")
        gates = promotion_gates(
            connection, open_duck, where, training_set, challenger, current, settings
        )
        action, reason = "promote", reason_of(gates)
        if not passes(gates):
            action = "refuse"
        elif settings.approval:
            action = "wait"
        details = {**asked, "gates": [asdict(gate) for gate in gates]}
        entry = audit.Entry(settings.actor, action, challenger.subject, reason, details)
        if action == "promote":
            _serve(connection, challenger, entry)
        else:
            audit.append(connection, entry)
        return Decision(action == "promote", True, reason, gates, action == "wait")


def promote_by_hand(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
    number: int,
    reason: str,
) -> Decision:
    """Promote a version as a person does, through the same gates; it may have been withdrawn.

    Raises:
        NothingToDoError: there is no such version.
        GateError: a gate blocks, or the version cannot be tested on `training_set`.
    """
    authorize(connection, settings.actor, "publish by hand", f"{MODEL_NAME}/{number}")
    with pointer.deciding_alone(connection, secret(settings.redis_url)):
        version = _registered(connection, number)
        current = champion(connection)
        if current and current.version == number:
            return Decision(True, False, "it is the champion already")
        _refuse_unfit(where, version, training_set, "promoted")
        gates = promotion_gates(
            connection, open_duck, where, training_set, version, current, settings
        )
        refuse_blocked(gates, f"version {number} is not promoted")
        details = {"gates": [asdict(gate) for gate in gates]}
        entry = audit.Entry(settings.actor, "promote", version.subject, reason, details)
        _serve(connection, version, entry)
    return Decision(True, True, reason, gates)


def approve(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
    number: int,
    reason: str,
) -> Decision:
    """Serve a version that waits, with a person's approval; all gates are asked again, now.

    The champion may have changed since it passed them. Approval, release and promotion are written
    in one transaction.

    Raises:
        NothingToDoError: there is no such version.
        GateError: a gate does not pass, or the version cannot be tested on `training_set`.
    """
    authorize(connection, settings.actor, "approve", f"{MODEL_NAME}/{number}")
    with pointer.deciding_alone(connection, secret(settings.redis_url)):
        version = _registered(connection, number)
        current = champion(connection)
        if current and current.version == number:
            return Decision(True, False, "it is the champion already")
        _refuse_unfit(where, version, training_set, "approved")
        gates = promotion_gates(
            connection, open_duck, where, training_set, version, current, settings
        )
        for gate in refusing(gates):
            do = gate.do.replace("VERSION", str(number))
            raise GateError(str(gate), where=f"version {number} is not approved", do=do)
        details = {"gates": [asdict(gate) for gate in gates]}
        approval = audit.Entry(settings.actor, "approve", version.subject, reason, details)
        with connection.transaction():
            audit.append(connection, approval)
            _serve(connection, version, replace(approval, action="promote"))
    return Decision(True, True, reason, gates)


def ready_for_rollback(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    target: pointer.Parts,
    present: pointer.Parts,
) -> list[Gate]:
    """Check that the model of a release can be served again; no gate where it is served now.

    Raises:
        NothingToDoError: the record of its version is not there.
        GateError: its model is lost.
        FeatureViewError: it needs feature views that the code no longer has.
    """
    number = target.model_version
    if number is None or number == present.model_version:
        return []
    version = _registered(connection, number)
    _refuse_lost(where, version)
    views = training_views()
    if version.feature_views != views:
        raise FeatureViewError(
            f"version {number} was trained on others ({', '.join(version.feature_views)})",
            where="feature views",
            do="Install the ml_assets that had them, or choose another release with --to",
        )
    return [Gate("model_has_its_feature_views", "pass", "the code has them", {"views": len(views)})]


def _registered(connection: postgres.Connection, number: int) -> ModelVersion:
    version = read_version(connection, number)
    if version is None:
        raise NothingToDoError(
            f"there is no version {number}", where=MODEL_NAME, do="See `ml-assets releases`"
        )
    return version


def _refuse_unfit(
    where: mlflow.Tracking, version: ModelVersion, training_set: TrainingSet, done: str
) -> None:
    """Refuse a version that is lost, or that the training set cannot test."""
    _refuse_lost(where, version)
    if not version.answers_for(training_set):
        raise GateError(
            "it has another vector space or feature view than the training set",
            where=f"version {version.version} is not {done}",
            do="Go back to a release that served it: `ml-assets rollback --to`",
        )


def _refuse_lost(where: mlflow.Tracking, version: ModelVersion) -> None:
    if mlflow.is_elsewhere(where, version.candidate.model_uri):
        raise GateError(
            "its model lies in the home of another host",
            where=f"version {version.version} is not served",
            do="Do it there, or set MLFLOW_TRACKING_URI to a tracking server on every host",
        )
    if not is_stored(where, version.candidate):
        raise GateError(
            f"its model {version.candidate.model_uri} is lost or damaged",
            where=f"version {version.version} is not served",
            do="Restore a backup that has it, or choose another: see `ml-assets releases`",
        )


def _serve(connection: postgres.Connection, version: ModelVersion, entry: audit.Entry) -> None:
    """Serve another model version, and all else as it is."""
    changed: dict[str, Any] = {
        "feature_views": version.feature_views,
        "model_name": version.name,
        "model_version": version.version,
        "model_space_id": version.space_id,
    }
    pointer.publish(connection, lambda parts: replace(parts, **changed), entry)
