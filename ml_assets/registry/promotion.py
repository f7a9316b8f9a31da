"""Promotion: the challenger becomes champion only through the gates."""

from __future__ import annotations

from typing import Any

from ml_assets.errors import NothingToDoError
from ml_assets.registry.audit import last_entry
from ml_assets.registry.model import MODEL_NAME, ModelVersion, Promotion
from ml_assets.registry.releases import champion, release_model
from ml_assets.registry.versions import current_challenger, subject
from ml_assets.releases.audit import append_audit
from ml_assets.settings import Settings
from ml_assets.stores import mlflow, postgres
from ml_assets.training.candidates import read_candidates
from ml_assets.training.evaluation import beats, evaluate
from ml_assets.training.examples import read_examples
from ml_assets.training.families.base import predict_probabilities
from ml_assets.training.families.registry import BASELINES, TRUSTED_TYPES
from ml_assets.training.model import TrainingSet

METRIC = "test_macro_f1"
"""What the gates compare, always on the test split of one training set."""


def promote(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    settings: Settings,
) -> Promotion:
    """Decide on the challenger, once per challenger, champion and margin; record the decision.

    It must beat both baselines (the majority class and TF-IDF with a linear model,
    trained on the same set), and the reigning champion plus `promotion_margin`, on the test split
    of `training_set`. A champion that needs another vector space or other feature views than the
    set has, or was split by another seed and so may have been trained on this test split, cannot be
    compared; then the baselines alone decide, and the reason says so.

    The alias in MLflow is set before the release is committed: a run that is killed in between
    decides again, and sets the alias to what it decides.

    Raises:
        NothingToDoError: there is no challenger that was trained on `training_set`.
        StoreError: the champion's model cannot be loaded.
    """
    challenger = _challenger(connection, training_set)
    reigning = champion(connection)
    if reigning and reigning.version == challenger.version:
        return Promotion(True, False, challenger, reigning, "it is the champion already", {})
    asked = {
        "training_set_hash": training_set.hash,
        "champion": reigning.version if reigning else None,
        "margin": settings.promotion_margin,
    }
    earlier = _refused_before(connection, challenger, asked)
    if earlier:
        return Promotion(
            False, False, challenger, reigning, earlier["reason"], dict(earlier["gates"])
        )
    gates = _gates(connection, where, training_set, challenger, reigning, settings)
    passed, reason = _judge(gates, reigning)
    serving = challenger if passed else reigning
    _set_alias(where, serving)
    details = {**asked, "gates": gates, "reason": reason}
    with connection.transaction():
        if passed:
            release_model(connection, challenger, actor=settings.actor, reason=reason)
        append_audit(
            connection,
            actor=settings.actor,
            action="promote" if passed else "refuse",
            subject=subject(challenger),
            reason=reason,
            details=details,
        )
    return Promotion(passed, True, challenger, serving, reason, gates)


def _challenger(connection: postgres.Connection, training_set: TrainingSet) -> ModelVersion:
    challenger = current_challenger(connection)
    if challenger is None or challenger.training_set_hash != training_set.hash:
        raise NothingToDoError(
            f"no version was registered for training set {training_set.hash or '(none)'}",
            where=MODEL_NAME,
            do="Materialize registered_model first",
        )
    return challenger


def _refused_before(
    connection: postgres.Connection, challenger: ModelVersion, asked: dict[str, Any]
) -> dict[str, Any] | None:
    entry = last_entry(connection, "promote", "refuse")
    if entry is None or entry[0] != subject(challenger):
        return None
    details = entry[1]
    return details if all(details.get(name) == value for name, value in asked.items()) else None


def _gates(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    challenger: ModelVersion,
    reigning: ModelVersion | None,
    settings: Settings,
) -> dict[str, float]:
    candidates = {one.family: one for one in read_candidates(connection, training_set.hash)}
    gates = {name: candidates[name].metrics[METRIC] for name in BASELINES}
    gates["challenger"] = challenger.metrics[METRIC]
    gates["margin"] = settings.promotion_margin
    if reigning and _comparable(reigning, challenger):
        gates["champion"] = _test_score(connection, where, training_set, reigning)
    return gates


def _comparable(reigning: ModelVersion, challenger: ModelVersion) -> bool:
    return (
        reigning.space_id == challenger.space_id
        and reigning.seed == challenger.seed
        and reigning.feature_views == challenger.feature_views
    )


def _test_score(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    version: ModelVersion,
) -> float:
    """Macro-F1 of `version` on the test split of `training_set`; computed if it is not its own."""
    if version.training_set_hash == training_set.hash:
        return version.metrics[METRIC]
    model = mlflow.load_model(where, version.uri, TRUSTED_TYPES)
    test = read_examples(connection, training_set, ["test"])
    answers = predict_probabilities(model, test.inputs, training_set.labels)
    return evaluate(training_set.labels, test.truth, answers).metrics["macro_f1"]


def _judge(gates: dict[str, float], reigning: ModelVersion | None) -> tuple[bool, str]:
    score, margin = gates["challenger"], gates["margin"]
    baseline = max(BASELINES, key=lambda name: gates[name])
    if not beats(score, gates[baseline]):
        return False, f"macro-F1 {score:.4f} does not beat {baseline} ({gates[baseline]:.4f})"
    beaten = f"macro-F1 {score:.4f} beats {baseline} ({gates[baseline]:.4f})"
    if reigning is None:
        return True, f"{beaten}; there was no champion"
    name = f"champion {reigning.version}"
    if "champion" not in gates:
        return True, f"{beaten}; {name} has another vector space, feature view or split seed"
    held = gates["champion"]
    if not beats(score, held + margin):
        return False, f"macro-F1 {score:.4f} does not beat {name} ({held:.4f}) plus {margin:g}"
    return True, f"{beaten} and {name} ({held:.4f}) by the margin of {margin:g}"


def _set_alias(where: mlflow.Tracking, serving: ModelVersion | None) -> None:
    client = mlflow.activate(where).MlflowClient()
    if serving is None:
        client.delete_registered_model_alias(MODEL_NAME, "champion")
    else:
        client.set_registered_model_alias(MODEL_NAME, "champion", str(serving.version))
