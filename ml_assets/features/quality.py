"""The data checks of features: range, coverage, leakage of the label, and what was altered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_assets.features.definition import FeatureView
from ml_assets.features.offline import create_table, query_current, read_current
from ml_assets.features.online import online_differences
from ml_assets.features.sources.corpus import RELATIONS, Corpus
from ml_assets.features.views import VIEWS
from ml_assets.problem import Problem
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.online import OnlineStore
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAKAGE_SKILL = 0.9
"""A single feature with this skill or more is taken for the label in disguise."""

SAMPLE = 5000
"""Labelled documents that the leakage check looks at, at most."""

TIMES = 8
"""Moments as of which a view over documents is computed again."""

_FOLDS = 5
_ROWS_PER_BIN = 10


@dataclass(frozen=True, slots=True)
class RangeReport:
    """How many current values of a feature there are, and how many are out of order.

    `refused` are unknown values of a feature that has to be known.
    """

    feature: str
    values: int
    unknown: int
    refused: int
    not_finite: int
    below: int
    above: int

    @property
    def sound(self) -> bool:
        """Whether what has to be known is, and every known value is finite and in its range."""
        return not (self.refused or self.not_finite or self.below or self.above)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Live entities, and those that have no current row, several, or one without being live."""

    live: int
    without_row: int
    with_several: int
    not_live: int

    @property
    def exact(self) -> bool:
        """Whether each live entity has exactly one current row, and no other entity has any."""
        return not (self.without_row or self.with_several or self.not_live)


def value_ranges(duck: duckdb.Connection, view: FeatureView) -> list[RangeReport]:
    """Compare the current values of `view` with the ranges that it declares."""
    bounds = {
        "features": list(view.columns),
        "minima": [feature.minimum for feature in view.features],
        "maxima": [feature.maximum for feature in view.features],
        "refused": [feature.nulls == "refused" for feature in view.features],
    }
    return [RangeReport(**row) for row in read_current(duck, view, "ranges", bounds)]


def document_coverage(
    connection: postgres.Connection, duck: duckdb.Connection, view: FeatureView
) -> Coverage:
    """Compare the current rows of a view over documents with the live documents."""
    rows = connection.execute("select document_id from documents where deleted_at is null")
    with duckdb.registered(duck, live=duckdb.arrow_table(rows, {"entity_id": "string"})):
        (row,) = read_current(duck, view, "coverage")
    return Coverage(**row)


def altered_values(duck: duckdb.Connection, view: FeatureView) -> list[Problem]:
    """Entities of which a row, of now or before, has other values than were computed."""
    rows = duck.execute(_formatted("altered_values", view)).fetchall()
    return Problem.of("entities_with_altered_values", [entity_id for (entity_id,) in rows])


def forget_altered(duck: duckdb.Connection, online: OnlineStore) -> None:
    """Forget altered rows, and what is online in their place: the next run computes all anew."""
    for table in ("document_neighbours", "document_vectors"):
        duck.execute(f"delete from {table}")  # noqa: S608
    for view in VIEWS.values():
        create_table(duck, view)
        with duckdb.transaction(duck):
            duck.execute(_formatted("forget_altered", view))
            for table in ("feature_inputs", "feature_states"):
                duck.execute(f"delete from {table} where view = ?", [view.key])  # noqa: S608
        if "serving" in view.uses:
            differing = online_differences(duck, online, view, whole=True)
            online.delete_many(view.key, differing["different"])


def follows_from_later(corpus: Corpus, view: FeatureView, times: int = TIMES) -> list[str]:
    """Entities of which a view over documents has a row that it could not have had at its time.

    At `times` moments at which a document came, next after some row: what the source gives of the
    documents, and the labels, of before has to have every row of before.
    """
    source, duck = view.source, corpus.duck
    if source is None:
        return []
    kept = {name: corpus.relation(name) for name in {"documents", *source.reads} & {*RELATIONS}}
    duck.execute("create or replace temp table left_out (reason varchar, rows bigint)")
    source.stage(replace(corpus, kept=kept), view)
    duck.execute("create or replace temp table whole as from staged")
    with duckdb.registered(duck, documents=kept["documents"]):
        text = statement("duckdb/features/moments_after_rows")
        moments = [moment for (moment,) in duck.execute(text, {"times": times}).fetchall()]
    text = statement("duckdb/features/follows_from_later").format(same=" and ".join(_same(view)))
    found: set[str] = set()
    for moment in moments:
        source.stage(replace(corpus, kept=kept, before=moment), view)
        found |= {name for (name,) in duck.execute(text, {"moment": moment}).fetchall()}
    return sorted(found)


def _same(view: FeatureView) -> Iterator[str]:
    """Conditions of equal features; what was added up in another order may differ in a last bit."""
    for f in view.features:
        given, seen = f"whole.{f.name}", f"staged.{f.name}"
        near = f"abs({given} - {seen}) <= 1e-9 * abs({given})" if f.dtype == "double" else "false"
        yield f"({given} is not distinct from {seen} or coalesce({near}, false))"


def _formatted(name: str, view: FeatureView) -> str:
    text = statement(f"duckdb/features/{name}")
    return text.format(table=view.table, columns=", ".join(view.columns))


def label_leakage(
    connection: postgres.Connection, duck: duckdb.Connection, view: FeatureView, seed: int = 0
) -> dict[str, float]:
    """How well each feature of `view` alone predicts the label; see `single_feature_skill`.

    Looks at `SAMPLE` labelled documents at most. Empty when fewer than two labels are there.
    """
    import numpy as np

    bound = {"seed": str(seed), "sample": SAMPLE}
    rows = connection.execute(statement("postgres/features/labels"), bound).fetchall()
    if len({label for _, label in rows}) < 2:
        return {}
    header = {"entity_id": "string", "label": "string"}
    with duckdb.registered(duck, labels=duckdb.arrow_table(rows, header)):
        columns = query_current(duck, view, "labelled_values").fetchnumpy()
    labels = np.asarray(columns["label"], np.intp)
    values = {
        name: np.ma.asarray(columns[name], np.float64).filled(np.nan) for name in view.columns
    }
    return {name: single_feature_skill(values[name], labels, seed) for name in view.columns}


def single_feature_skill(
    values: NDArray[np.float64], labels: NDArray[np.intp], seed: int = 0
) -> float:
    """How far one feature leads from guessing the commonest label to knowing it, in [0, 1].

    (accuracy - m) / (1 - m), cross-validated, m the share of the commonest label. The rule is
    OneR: cut the values into bins and predict the commonest label of each, Holte (1993), "Very
    simple classification rules perform well on most commonly used datasets", Machine Learning 11.
    `values` (n,) may hold nan, which sorts last; `labels` (n,) are codes from 0 on.
    """
    import numpy as np

    majority = np.bincount(labels).max() / len(labels)
    if majority == 1:
        return 0.0
    bins = _bins(values)
    folds = np.random.default_rng(seed).permutation(len(labels)) % _FOLDS
    rows = np.zeros((_FOLDS, bins.max() + 1, labels.max() + 1), np.int64)
    np.add.at(rows, (folds, bins, labels), 1)
    others = rows.sum(axis=0) - rows
    # A bin that no training row is in predicts the commonest label.
    empty = others.sum(axis=2, keepdims=True) == 0
    predicted = np.where(empty, others.sum(axis=1, keepdims=True), others).argmax(axis=2)
    accuracy = np.mean(predicted[folds, bins] == labels)
    return float(max(0.0, (accuracy - majority) / (1 - majority)))


def _bins(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """One bin per value where values repeat often enough, else quantiles of some rows each."""
    import numpy as np

    distinct, codes = np.unique(values, return_inverse=True)
    if len(distinct) * _ROWS_PER_BIN <= len(values):
        return codes
    ranks = np.searchsorted(np.sort(values), values)
    return ranks // _ROWS_PER_BIN
