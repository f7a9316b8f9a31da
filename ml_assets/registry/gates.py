"""The gates of promotion: a challenger against the baselines, and against the current champion."""

from __future__ import annotations

from collections.abc import Mapping

from ml_assets.errors import GateError
from ml_assets.registry.model import ModelVersion
from ml_assets.releases.gates import Gate
from ml_assets.releases.pointer import present_parts
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.evaluation import beats, evaluate
from ml_assets.training.examples import read_examples
from ml_assets.training.experiments import is_stored, read_candidates
from ml_assets.training.families.base import predict_probabilities
from ml_assets.training.families.registry import BASELINES, TRUSTED_TYPES
from ml_assets.training.model import TrainingSet
from ml_assets.training.training_set import without_learned

METRIC = "test_macro_f1"
"""The gates compare this, always on the test split of one training set."""


def promotion_gates(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    challenger: ModelVersion,
    current: ModelVersion | None,
    settings: Settings,
) -> list[Gate]:
    """The gates on a challenger: against the baselines, and the current champion.

    No version is tested on what it was trained on, and two are tested on the same documents.

    Raises:
        GateError: a baseline was not trained on `training_set`, or the challenger was on all that
            would test it.
    """
    candidates = {each.family: each for each in read_candidates(connection, training_set.hash)}
    if missing := [name for name in BASELINES if name not in candidates]:
        raise GateError(
            f"the baselines {', '.join(missing)} were not trained on this training set",
            where="promotion",
            do="Run `ml-assets run`, which trains what a killed run left out",
        )
    baselines = {name: candidates[name].metrics[METRIC] for name in BASELINES}
    unseen = _unseen(open_duck, training_set, challenger)
    if not _tests(unseen):
        raise GateError(
            "it was trained on every document of the test split",
            where=f"version {challenger.version} is not promoted",
            do="Add documents with labels, and run `ml-assets run`",
        )
    score = against = score_on_test(connection, where, unseen, challenger)
    stands: float | str = "there was no champion"
    if current is None and (named := present_parts(connection).model_version) is not None:
        stands = f"version {named} was served without being registered, and answered nothing"
    if current and not is_stored(where, current.candidate):
        stands = f"the model of champion {current.version} is lost: it answers nothing"
    elif current and not current.is_comparable(training_set):
        stands = f"champion {current.version} has another vector space, feature view or split seed"
    elif current:
        shared = _unseen(open_duck, training_set, challenger, current)
        stands = f"champion {current.version} was trained on every document of the test split"
        if _tests(shared):
            stands = score_on_test(connection, where, shared, current)
        if _tests(shared) and shared.hash != unseen.hash:
            against = score_on_test(connection, where, shared, challenger)
    return [
        baseline_gate(score, baselines),
        champion_gate(against, current, stands, settings.promotion_margin),
    ]


def _unseen(
    open_duck: duckdb.Opener, training_set: TrainingSet, *versions: ModelVersion
) -> TrainingSet:
    """`training_set` with only those test rows that none of the versions was trained on."""
    with open_duck() as duck:
        hashes = [version.candidate.training_set_hash for version in versions]
        return without_learned(duck, training_set, hashes)


def _tests(training_set: TrainingSet) -> bool:
    """Whether it has a row to test a model on."""
    return bool((training_set.rows["split"] == "test").any())


def baseline_gate(score: float, baselines: Mapping[str, float]) -> Gate:
    """The challenger beats every baseline."""
    best = max(baselines, key=lambda name: baselines[name])
    return _gate(
        "challenger_beats_the_baselines",
        {"challenger": score, **baselines},
        baselines[best],
        f"{best} ({baselines[best]:.4f})",
        "Train on more documents, or on better labels",
    )


def champion_gate(
    score: float, current: ModelVersion | None, stands: float | str, margin: float
) -> Gate:
    """The challenger beats the current champion by the margin.

    `stands` is the champion's score on the same split, or why there is none: its model is lost, it
    needs another vector space or other feature views, or was split by another seed and so may have
    been trained on this test split. Then the gate cannot tell, and the baselines alone decide.
    """
    name, numbers = "challenger_beats_the_champion", {"challenger": score, "margin": margin}
    if current is None or isinstance(stands, str):
        return Gate(name, "cannot tell" if current else "pass", str(stands), numbers)
    return _gate(
        name,
        {**numbers, "champion": stands},
        stands + margin,
        f"champion {current.version} ({stands:.4f}) plus {margin:g}",
        "Keep the champion, or lower ML_ASSETS_PROMOTION_MARGIN",
    )


def _gate(name: str, numbers: Mapping[str, float], bar: float, rival: str, do: str) -> Gate:
    score = numbers["challenger"]
    if beats(score, bar):
        return Gate(name, "pass", f"macro-F1 {score:.4f} beats {rival}", numbers)
    return Gate(name, "block", f"macro-F1 {score:.4f} does not beat {rival}", numbers, do)


def score_on_test(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    version: ModelVersion,
) -> float:
    """Macro-F1 of `version` on the test split of `training_set`; computed if it is not its own."""
    if version.candidate.training_set_hash == training_set.hash:
        return version.metrics[METRIC]
    model = mlflow.load_model(where, version.candidate.model_uri, TRUSTED_TYPES)
    test = read_examples(connection, training_set, "test")
    answers = predict_probabilities(model, test.inputs, training_set.labels)
    return evaluate(training_set.labels, test.truth, answers).metrics["macro_f1"]
