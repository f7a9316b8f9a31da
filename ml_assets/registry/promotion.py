"""Promotion: the challenger becomes champion only through the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ml_assets.errors import FeatureViewError, GateError, NothingToDoError
from ml_assets.features.views import fingerprint, views_for
from ml_assets.registry.gates import promotion_gates
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.versions import champion, current_challenger, read_version
from ml_assets.releases import audit, pointer
from ml_assets.releases.gates import Decision, Gate, refuse_blocked
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.experiments import is_stored
from ml_assets.training.model import TrainingSet


def promote(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
) -> Decision:
    """Decide on the challenger, once per challenger, champion and margin; record the decision.

    It must beat both baselines (the majority class and TF-IDF with a linear model, trained on the
    same set), and the current champion plus `promotion_margin`, on the test split of
    `training_set`. A version that a person rolled back from is left to a person.

    Raises:
        NothingToDoError: there is no challenger that was trained on `training_set`.
        StoreError: MLflow does not answer.
    """
    with pointer.deciding_alone(connection):
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
            "margin": settings.promotion_margin,
        }
        subject, earlier = audit.last_entry(connection, "refuse") or ("", {})
        if subject == challenger.subject and asked.items() <= earlier.items():
            gates = [Gate(**gate) for gate in earlier["gates"]]
            return Decision(False, False, _reason(gates), gates)
        gates = promotion_gates(
            connection, open_duck, where, training_set, challenger, current, settings
        )
        passed = all(gate.outcome != "block" for gate in gates)
        details = {**asked, "gates": [asdict(gate) for gate in gates]}
        action, reason = "promote" if passed else "refuse", _reason(gates)
        entry = audit.Entry(settings.actor, action, challenger.subject, reason, details)
        if passed:
            _serve(connection, challenger, entry)
        else:
            audit.append(connection, entry)
        return Decision(passed, True, reason, gates)


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
    with pointer.deciding_alone(connection):
        version = _registered(connection, number)
        current = champion(connection)
        if current and current.version == number:
            return Decision(True, False, "it is the champion already")
        _refuse_lost(where, version)
        if not version.is_comparable(training_set):
            raise GateError(
                "it has another vector space, feature view or split seed than the training set",
                where=f"version {number} is not promoted",
                do="Go back to a release that served it: `ml-assets rollback --to`",
            )
        gates = promotion_gates(
            connection, open_duck, where, training_set, version, current, settings
        )
        refuse_blocked(gates, f"version {number} is not promoted")
        details = {"gates": [asdict(gate) for gate in gates]}
        entry = audit.Entry(settings.actor, "promote", version.subject, reason, details)
        _serve(connection, version, entry)
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
    views = {view.key: fingerprint(view) for view in views_for("training")}
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


def _reason(gates: Sequence[Gate]) -> str:
    """The messages of the gates that block, or else of all."""
    blocking = [gate.message for gate in gates if gate.outcome == "block"]
    return "; ".join(blocking or [gate.message for gate in gates])
