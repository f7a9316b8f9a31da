"""The comparison that gates look at, measured: every model on the same test documents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.documents.collections import collections_of
from ml_assets.errors import GateError
from ml_assets.features.online import count_behind
from ml_assets.features.views import training_views, views_for
from ml_assets.registry.drift import compare_what_is_left_out
from ml_assets.registry.gates import Answers, Comparison
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.serving import answer, load_measured, load_served
from ml_assets.registry.versions import count_forgotten
from ml_assets.releases.holds import holding_alerts
from ml_assets.releases.pointer import present_parts
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, mlflow, online, postgres
from ml_assets.training.examples import TEXT, read_examples
from ml_assets.training.experiments import is_stored, left_out, read_candidates
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import Candidate, Examples, TrainingSet
from ml_assets.training.results import read_answers
from ml_assets.training.training_set import days_since_built, was_built, without_learned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TIMED = 100
"""Answers that are timed, one document each."""


@dataclass(frozen=True, slots=True)
class _Rivals:
    """Who is compared, and on which test rows; `without` says why there is no champion in it."""

    tested: TrainingSet
    challenger: ModelVersion
    champion: ModelVersion | None
    without: str = ""
    stays: bool = False


def measure(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    challenger: ModelVersion,
    current: ModelVersion | None,
    settings: Settings,
) -> Comparison:
    """Have a challenger, the baselines and the champion answer the same test documents.

    No version that is compared learned from any of these. A candidate of this training set has
    answered its test split already; another answers now, as it does where it is served.

    Raises:
        GateError: a baseline was not trained on `training_set`, or the challenger was on all that
            would test it.
    """
    import numpy as np

    baselines = _baselines(connection, training_set)
    rivals = _rivals(connection, open_duck, where, training_set, challenger, current)
    examples = read_examples(connection, rivals.tested, "test")
    candidates = {**baselines, "challenger": challenger.candidate}
    if rivals.champion:
        candidates["champion"] = rivals.champion.candidate
    answered = {
        name: _answered(open_duck, where, training_set, candidate, examples)
        for name, candidate in candidates.items()
    }
    own = training_set.labels
    others = {label for each in answered.values() for label in each.given} - {*own}
    places = {label: place for place, label in enumerate([*own, *sorted(others)])}

    def numbered(name: str) -> Answers:
        given = np.array([places[label] for label in answered[name].given], np.intp)
        return Answers(given, answered[name].confidence)

    with open_duck() as duck, online.connect(secret(settings.online_url), settings.home) as store:
        behind = {view.key: count_behind(duck, store, view) for view in views_for("training")}
        days = days_since_built(duck, challenger.candidate.training_set_hash)
        drift = compare_what_is_left_out(connection, duck, training_set, current, settings.seed)
    groups = rivals.tested.rows.loc[rivals.tested.rows["split"] == "test", "group_id"]
    lost = answered["champion"].labels - answered["challenger"].labels if rivals.champion else ()
    return Comparison(
        labels=tuple(places),
        truth=np.array([places[label] for label in examples.truth], np.intp),
        groups=groups.factorize()[0],
        challenger=numbered("challenger"),
        baselines={name: numbered(name) for name in baselines},
        champion=numbered("champion") if rivals.champion else None,
        champion_name=f"champion {current.version}" if current else "the champion",
        without=rivals.without or Comparison.without,
        stays=rivals.stays,
        slices=_slices(connection, examples),
        seconds=_timed(load_served(where, challenger), examples),
        lost_labels=tuple(sorted(lost)),
        lost_inputs=_lost_inputs(challenger, training_set),
        not_online=behind,
        age_days=days,
        drift=drift,
        alerts=holding_alerts(connection),
        forgotten=count_forgotten(connection, challenger),
        settings=settings,
    )


def _baselines(connection: postgres.Connection, training_set: TrainingSet) -> dict[str, Candidate]:
    """The baselines of a training set; one that cannot be fitted on it is no measure."""
    candidates = {each.family: each for each in read_candidates(connection, training_set.hash)}
    rows, labels = len(training_set.rows), len(training_set.labels)
    unfit = left_out(connection, training_set.hash, rows, labels)
    wanted = [each.name for each in FAMILIES if each.baseline and each.fingerprint not in unfit]
    if missing := [name for name in wanted if name not in candidates]:
        raise GateError(
            f"the baselines {', '.join(missing)} were not trained on this training set",
            where="promotion",
            do="Run `ml-assets run`, which trains what a killed run left out",
        )
    return {name: candidates[name] for name in wanted}


def _rivals(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    challenger: ModelVersion,
    current: ModelVersion | None,
) -> _Rivals:
    """Who can be compared with the challenger, on rows that neither learned from."""
    unseen = _unseen(open_duck, training_set, challenger)
    if not _tests(unseen):
        raise GateError(
            "it was trained on every document of the test split",
            where=f"version {challenger.version} is not promoted",
            do="Add documents with labels, and run `ml-assets run`",
        )
    alone = _Rivals(unseen, challenger, None)
    if current is None:
        named = present_parts(connection).model_version
        if named is None:
            return alone
        reason = f"version {named} was served without being registered, and answered nothing"
        return _Rivals(unseen, challenger, None, reason)
    name = f"champion {current.version}"
    if not is_stored(where, current.candidate):
        reason = f"the model of {name} is lost: it answers nothing"
        return _Rivals(unseen, challenger, None, reason)
    if not current.answers_for(training_set):
        reason = f"{name} has another vector space or feature view, and cannot answer"
        return _Rivals(unseen, challenger, None, reason)
    with open_duck() as duck:
        known = was_built(duck, current.candidate.training_set_hash)
    shared = _unseen(open_duck, training_set, challenger, current)
    if not known:
        reason = f"{name} cannot be compared: what it was trained on is not known here"
        return _Rivals(unseen, challenger, None, reason, stays=True)
    if not _tests(shared):
        reason = f"{name} cannot be compared: it was trained on every document of the test split"
        return _Rivals(unseen, challenger, None, reason, stays=True)
    return _Rivals(shared, challenger, current)


def _unseen(
    open_duck: duckdb.Opener, training_set: TrainingSet, *versions: ModelVersion
) -> TrainingSet:
    """`training_set` with only those test rows that none of the versions learned from."""
    with open_duck() as duck:
        hashes = [version.candidate.training_set_hash for version in versions]
        return without_learned(duck, training_set, hashes)


def _tests(training_set: TrainingSet) -> bool:
    """Whether it has a row to test a model on."""
    return bool((training_set.rows["split"] == "test").any())


@dataclass(frozen=True, eq=False)
class _Answered:
    """The labels that a model gave, how sure it was of each, (n,), and all that it knows."""

    given: list[str]
    confidence: NDArray[np.float64]
    labels: set[str]


def _answered(
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    candidate: Candidate,
    examples: Examples,
) -> _Answered:
    """What a candidate answers: as it did when it was trained on this set, or else now."""
    import numpy as np

    if candidate.training_set_hash == training_set.hash:
        with open_duck() as duck:
            kept = read_answers(duck, candidate.run_id)
        if kept.keys() >= {*examples.document_ids}:
            given = [kept[name] for name in examples.document_ids]
            sure = np.array([confidence for _, confidence in given])
            return _Answered([label for label, _ in given], sure, {*training_set.labels})
    model = load_measured(where, candidate)
    labels, probabilities = answer(model, *_inputs(examples))
    best = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1).astype(np.float64)
    return _Answered([labels[place] for place in best], sure, {*labels})


def _inputs(
    examples: Examples,
) -> tuple[list[str], dict[str, NDArray[np.float64]], NDArray[np.float32]]:
    """Texts, features by name and unit vectors of examples, as `answer` takes them."""
    inputs = examples.inputs
    vector = [name for name in inputs.columns if name[0] == "e" and name[1:].isdecimal()]
    features = [name for name in inputs.columns if name not in {TEXT, *vector}]
    return (
        inputs[TEXT].tolist(),
        {name: inputs[name].to_numpy("float64") for name in features},
        inputs[vector].to_numpy("float32"),
    )


def _timed(model: Any, examples: Examples) -> NDArray[np.float64]:
    """Seconds of a processor of single answers; the first, which warms up, is not among them.

    Not by the clock: a busy machine is no reason to keep a model back.
    """
    import numpy as np

    texts, features, vectors = _inputs(examples)
    seconds = []
    for row in [0, *range(min(_TIMED, len(texts)))]:
        part = slice(row, row + 1)
        started = time.thread_time()
        answer(
            model,
            texts[part],
            {name: values[part] for name, values in features.items()},
            vectors[part],
        )
        seconds.append(time.thread_time() - started)
    return np.array(seconds[1:])


def _slices(connection: postgres.Connection, examples: Examples) -> dict[str, NDArray[np.bool_]]:
    """Masks over the test documents: of each collection, third of the lengths, and label."""
    import numpy as np

    collections = collections_of(connection, examples.document_ids)
    lengths = np.array([len(text) for text in examples.inputs[TEXT]])
    third, two_thirds = np.quantile(lengths, [1 / 3, 2 / 3])
    names: Mapping[str, NDArray[Any]] = {
        "collection": np.array([collections.get(name, "") for name in examples.document_ids]),
        "length": np.where(
            lengths <= third, "short", np.where(lengths > two_thirds, "long", "middle")
        ),
        "label": examples.truth,
    }
    return {
        f"{kind} {value!r}": values == value
        for kind, values in names.items()
        for value in sorted({*values.tolist()})
    }


def _lost_inputs(version: ModelVersion, training_set: TrainingSet) -> tuple[str, ...]:
    """What a version reads and nothing computes any more."""
    views = training_views()
    lost = [name for name, known in version.feature_views.items() if views.get(name) != known]
    if version.space_id != training_set.space_id:
        lost.append(f"vectors of space {version.space_id}")
    return tuple(lost)
