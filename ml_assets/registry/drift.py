"""Whether the documents that come are like those that the champion was trained on.

New to a model is what came, or was written anew, after its training set was frozen: what it could
have learned from, labelled or not, was chosen then, and says nothing of what changed since.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from ml_assets.errors import ModelError
from ml_assets.features.drift.comparison import MIN_ROWS, Comparison, Sample, compare
from ml_assets.features.drift.results import DayComparison, last_compared
from ml_assets.features.drift.statistics import (
    Window,
    count_since,
    documents_as_now,
    documents_that_came,
    group_sizes,
    read_labels,
    some_vectors,
    summarize_frame,
    summarize_labels,
    with_features,
)
from ml_assets.features.drift.summary import Summary, summarize_categories
from ml_assets.features.drift.windows import (
    compare_with_days_before,
    current_window,
    within,
)
from ml_assets.features.views import training_views
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.serving import answer, load_measured
from ml_assets.registry.versions import read_version
from ml_assets.releases.pointer import list_releases, present_release, services
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.examples import read_seen
from ml_assets.training.model import TrainingSet
from ml_assets.training.results import read_answers
from ml_assets.training.training_set import first_built, rewritten, training_set_of

if TYPE_CHECKING:
    from pandas import DataFrame

PREDICTION = "prediction"
"""The name of the champion's answers among the features."""

MOST_ANSWERS = 1_000
"""Documents that the champion answers, at most, a random part of them."""

_NO_CHAMPION = "there was no champion"


def compare_day(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    where: mlflow.Tracking,
    day: date,
    space_id: str,
    seed: int = 0,
) -> list[DayComparison]:
    """Compare what came until a day with the days before, and with what the champion learned from.

    Statistics of days are those that `refresh_days` wrote. Where none is served, the vectors of
    `space_id` are compared.
    """
    return [
        compare_with_training_set(connection, duck, where, day, seed),
        *compare_with_days_before(connection, duck, day, space_id, seed),
    ]


def is_due(connection: postgres.Connection, open_duck: duckdb.Opener) -> bool:
    """Whether enough was written for a comparison since the champion is served and the last."""
    release = present_release(connection)
    if release is None or release.parts.model_version is None:
        return False
    service = services(connection, "model_version")[str(release.parts.model_version)]
    if count_since(connection, service.served_from) < MIN_ROWS:
        return False
    with open_duck() as duck:
        last = last_compared(duck)
    return last is None or count_since(connection, last) >= MIN_ROWS


def compare_with_training_set(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    where: mlflow.Tracking,
    day: date,
    seed: int = 0,
) -> DayComparison:
    """Compare what came until a day with the training set of the champion of that day.

    Features, labels, vectors and repeated rows; and the champion's answers with those that it gave
    on its test split, the same model, which has seen neither.
    """
    version = _champion_of(connection, day)
    if version is None:
        return DayComparison(
            day, "training set", day, Comparison("nothing to compare", _NO_CHAMPION)
        )
    training_set = training_set_of(duck, version.candidate.training_set_hash)
    frozen = first_built(duck, version.candidate.training_set_hash)
    problem = ""
    if training_set is None or frozen is None:
        problem = "what the champion was trained on is not known here"
    elif version.feature_views != training_views():
        problem = "the champion reads other feature views"
    if problem or training_set is None or frozen is None:
        compared = Comparison("cannot tell", problem)
        return DayComparison(day, "training set", day, compared, version.version)
    new = new_documents(connection, duck, training_set, frozen)
    window = current_window(new, day)
    rows = within(new, window)
    reference = _of_training_set(connection, training_set, seed)
    compared = compare(reference, Sample(len(rows)))
    if compared.outcome == "nothing to compare":
        message = "no document came since the champion's training set was frozen"
        compared = replace(compared, message=message)
    elif len(rows) >= MIN_ROWS:
        rows, names = with_features(connection, duck, rows), rows["document_id"].tolist()
        current = _of_documents(connection, training_set, rows, seed)
        # A label that was too rare to be learned is not new.
        labels = summarize_labels(
            {
                name: label
                for name, label in read_labels(connection, names).items()
                if label not in training_set.left_out
            }
        )
        answers = _answers(connection, duck, where, version, training_set, rows, seed)
        before, now = answers if answers else ({}, {})
        compared = compare(
            replace(reference, features={**reference.features, **before}),
            replace(current, features={**current.features, **labels, **now}),
            seed,
        )
    return DayComparison(day, "training set", window.first, compared, version.version)


def compare_what_is_left_out(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    training_set: TrainingSet,
    current: ModelVersion | None,
    seed: int = 0,
) -> Comparison:
    """Compare a challenger's training set with what it lacks of what came since the champion's.

    What came lately and was not labelled is in no test split: where it is unlike the training set,
    the gates look at other documents than those that are answered from now on.
    """
    if current is None:
        return Comparison("nothing to compare", _NO_CHAMPION)
    frozen = first_built(duck, current.candidate.training_set_hash)
    if frozen is None:
        return Comparison("nothing to compare", "what the champion was trained on is not known")
    came = documents_that_came(duck, alive=True)
    new = came[came["known_since"] > frozen]
    rows = new[~new["document_id"].isin(training_set.rows["document_id"])]
    reference = Sample(len(training_set.rows))
    if not len(rows):
        message = "the training set has all that came since the champion's"
        return Comparison("nothing to compare", message, reference.rows)
    if len(rows) < MIN_ROWS:
        return compare(reference, Sample(len(rows)))
    rows = with_features(connection, duck, rows)
    return compare(
        _of_training_set(connection, training_set, seed, labelled=False),
        _of_documents(connection, training_set, rows, seed),
        seed,
    )


def new_documents(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    training_set: TrainingSet,
    frozen: datetime,
) -> DataFrame:
    """What came since a training set was frozen, and of it what was written anew."""
    import pandas as pd

    came = documents_that_came(duck, alive=True)
    anew = rewritten(connection, training_set, frozen)
    return pd.concat(
        [came[came["known_since"] > frozen], documents_as_now(duck, anew)], ignore_index=True
    )


def _champion_of(connection: postgres.Connection, day: date) -> ModelVersion | None:
    """The version that was served when a day ended; of a day that has not, the present one."""
    end = Window(day, day).times["until"]
    releases = list_releases(connection, "infinity" if end > datetime.now(UTC) else end)
    number = releases[0].parts.model_version if releases else None
    return None if number is None else read_version(connection, number)


def _of_training_set(
    connection: postgres.Connection, training_set: TrainingSet, seed: int, labelled: bool = True
) -> Sample:
    rows = training_set.rows
    labels = dict(zip(rows["document_id"], rows["label"], strict=True)) if labelled else {}
    return Sample(
        rows=len(rows),
        features={**summarize_frame(rows, training_set.features), **summarize_labels(labels)},
        vectors=some_vectors(connection, training_set.space_id, [*rows["document_id"]], seed),
        groups=group_sizes(rows["text_hash"].tolist()),
    )


def _of_documents(
    connection: postgres.Connection, training_set: TrainingSet, rows: DataFrame, seed: int
) -> Sample:
    return Sample(
        rows=len(rows),
        features=summarize_frame(rows, training_set.features),
        vectors=some_vectors(connection, training_set.space_id, [*rows["document_id"]], seed),
        groups=group_sizes(rows["value_hash"].tolist()),
    )


def _answers(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    where: mlflow.Tracking,
    version: ModelVersion,
    training_set: TrainingSet,
    rows: DataFrame,
    seed: int,
) -> tuple[dict[str, Summary], dict[str, Summary]] | None:
    """What the champion answered on its test split, and answers of the new documents, in short.

    None: its model is lost, which another check tells, or it reads of other entities too.
    """
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    if not {*training_set.features} <= {*rows.columns}:
        return None
    kept = read_answers(duck, version.candidate.run_id)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:MOST_ANSWERS]
    seen = read_seen(connection, training_set.space_id, [*rows["document_id"].iloc[chosen]])
    some = rows.set_index("document_id").loc[[each.document_id for each in seen]]
    try:
        model = load_measured(where, version.candidate)
    except ModelError:
        return None
    features = {name: some[name].to_numpy("float64") for name in training_set.features}
    vectors = unit([each.vector for each in seen])
    labels, given = answer(model, [each.text for each in seen], features, vectors)
    now = [labels[place] for place in given.argmax(axis=1)]
    before = [label for label, _ in kept.values()]
    return (
        {PREDICTION: summarize_categories(before)},
        {PREDICTION: summarize_categories(now)},
    )
