"""Statistics of features by day, kept in DuckDB: of what came on it, and merged over days.

An entity counts on the day of its first event time, with the values it had then. What changed in it
later, or in its neighbours, does not make it come again; in a view with history, every event does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import nan
from typing import TYPE_CHECKING

from ml_assets.features.definition import FeatureView
from ml_assets.features.documents import read_vectors, with_keys
from ml_assets.features.drift.comparison import MOST_VECTORS
from ml_assets.features.drift.summary import (
    Summary,
    merge,
    summarize_categories,
    summarize_numbers,
)
from ml_assets.features.join import point_in_time_join
from ml_assets.features.offline import create_table, current_rows
from ml_assets.features.views import views_for
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

LABEL = "label"
"""The name of the labels among the features, and of their view, which has one version."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole days in UTC, from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def times(self) -> dict[str, datetime]:
        """The times `since` (included) and `until` (not)."""
        return {
            "since": datetime.combine(self.first, time(), UTC),
            "until": datetime.combine(self.last + timedelta(days=1), time(), UTC),
        }

    @property
    def days(self) -> dict[str, date]:
        """The same as days."""
        return {"since": self.first, "until": self.last + timedelta(days=1)}

    def before(self, days: int) -> Window:
        """The days before this window."""
        return Window(self.first - timedelta(days=days), self.first - timedelta(days=1))


def refresh_statistics(
    connection: postgres.Connection, duck: duckdb.Connection, window: Window
) -> None:
    """Write the statistics of every day of a window anew, of all views that are monitored.

    Those of the labels too, as they are now. Late documents and corrections are in them.
    """
    with duckdb.transaction(duck):
        write_statistics(connection, duck, window)


def write_statistics(
    connection: postgres.Connection, duck: duckdb.Connection, window: Window
) -> None:
    """Do so in a transaction of the caller."""
    for view in views_for("monitoring"):
        create_table(duck, view)
    came = documents_that_came(duck, window)
    labels = read_labels(connection, came["document_id"].tolist())
    days = [(moment.date(), labels.get(name)) for name, moment in _moments(came)]
    rows = [(str(day), label) for day, label in days if label is not None]
    for view in views_for("monitoring"):
        _write(duck, view, window)
    bound = {"view": LABEL, "version": 1}
    duck.execute(statement("duckdb/features/forget_statistics"), {**bound, **window.days})
    header = {"day": "string", "label": "string"}
    with duckdb.registered(duck, labels=duckdb.arrow_table(rows, header)):
        duck.execute(statement("duckdb/features/label_statistics"), bound)


def _moments(came: DataFrame) -> list[tuple[str, datetime]]:
    return list(zip(came["document_id"], came["event_time"], strict=True))


def _write(duck: duckdb.Connection, view: FeatureView, window: Window) -> None:
    numbers = [feature.name for feature in view.features if feature.is_number]
    categories = [name for name in view.columns if name not in numbers]
    bound = {"view": view.name, "version": view.version}
    duck.execute(statement("duckdb/features/forget_statistics"), {**bound, **window.days})
    text = statement("duckdb/features/drift_statistics").format(
        arrivals=_arrivals(view),
        numbers=", ".join(numbers),
        categories=", ".join(f"{name}::varchar" for name in categories),
    )
    bound |= {"numbers": numbers, "categories": categories, **window.times}
    duck.execute(text, bound)


def _arrivals(view: FeatureView) -> str:
    entity = "entity_id, event_time" if view.has_history else "entity_id"
    return statement("duckdb/features/arrivals").format(table=view.table, entity=entity)


def read_statistics(duck: duckdb.Connection, window: Window) -> dict[str, Summary]:
    """The statistics of the days of a window, merged, by the name of the feature: `view__feature`.

    Of the present version of each view.
    """
    views = [f"{LABEL}_v1", *(view.key for view in views_for("monitoring"))]
    text = statement("duckdb/features/read_statistics")
    rows = duck.execute(text, {"views": views, **window.days}).fetchall()
    by_feature: dict[str, list[Summary]] = defaultdict(list)
    for view, feature, count, missing, mean, deviation, sketch, categories in rows:
        summary = Summary(
            numeric=categories is None,
            rows=count,
            missing=missing,
            counts=(sketch if categories is None else categories) or {},
            mean=nan if mean is None else mean,
            deviation=nan if deviation is None else deviation,
        )
        by_feature[LABEL if view == LABEL else f"{view}__{feature}"].append(summary)
    return {name: merge(summaries) for name, summaries in by_feature.items()}


def documents_that_came(
    duck: duckdb.Connection, window: Window | None = None, *, alive: bool = False
) -> DataFrame:
    """The documents that came in a window, or ever, by id; with `alive` those alone that are left.

    Columns: `document_id`, `event_time`, `known_since` (both in UTC), and `value_hash`, which is
    equal for equal texts.
    """
    query = (
        "select entity_id as document_id, event_time, known_since, value_hash"  # noqa: S608
        f" from ({_arrivals(DOCUMENT_TEXT)}) where not $alive or not gone order by entity_id"
    )
    times = window.times if window else _EVER
    return duck.execute(query, {**times, "alive": alive}).df()


def documents_as_now(duck: duckdb.Connection, document_ids: Sequence[str]) -> DataFrame:
    """Documents as they are now, in the same columns; those that are gone are left out."""
    query = (
        "select entity_id as document_id, event_time, known_time as known_since, value_hash"  # noqa: S608
        f" from ({current_rows(DOCUMENT_TEXT)}) where entity_id in (select unnest($ids))"
        " order by entity_id"
    )
    return duck.execute(query, {"ids": list(document_ids)}).df()


def with_features(
    connection: postgres.Connection, duck: duckdb.Connection, documents: DataFrame
) -> DataFrame:
    """Documents with what models read of each, as of its event time: the join of training."""
    views = views_for("training")
    asked = documents[["document_id", "event_time"]]
    joined = point_in_time_join(duck, with_keys(connection, asked, views), views)
    return documents.assign(**{name: joined[name] for view in views for name in view.qualified})


_EVER = {
    "since": datetime.min.replace(tzinfo=UTC),
    "until": datetime.max.replace(tzinfo=UTC),
}


def summarize_frame(rows: DataFrame, features: Sequence[str]) -> dict[str, Summary]:
    """Summaries of those of the features, all numbers, that are columns, by name."""
    present = [name for name in features if name in rows]
    return {name: summarize_numbers(rows[name].to_numpy("float64")) for name in present}


def summarize_labels(labels: Mapping[str, str]) -> dict[str, Summary]:
    """The summary of the labels of documents; empty without any."""
    return {LABEL: summarize_categories(labels.values())} if labels else {}


def read_labels(connection: postgres.Connection, document_ids: Sequence[str]) -> dict[str, str]:
    """The labels of those documents that have one now."""
    text = statement("postgres/features/labels_of")
    rows = connection.execute(text, {"document_ids": list(document_ids)}).fetchall()
    return dict(rows)


def count_since(connection: postgres.Connection, since: datetime) -> int:
    """How many live documents were written since then."""
    bound = {"since": since}
    ((count,),) = connection.execute(statement("postgres/features/count_since"), bound).fetchall()
    return int(count)


def group_sizes(hashes: Sequence[str]) -> dict[int, int]:
    """How many groups of equal rows there are, by their size."""
    return dict(Counter(Counter(hashes).values()))


def some_vectors(
    connection: postgres.Connection, space_id: str, document_ids: Sequence[str], seed: int = 0
) -> NDArray[np.float32]:
    """The unit vectors of some of these documents, at most `MOST_VECTORS`, (n, dimension)."""
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    chosen = np.random.default_rng(seed).permutation(len(document_ids))[:MOST_VECTORS]
    some = sorted(document_ids[place] for place in chosen)
    _, vectors = read_vectors(connection, space_id, some)
    return unit(vectors)
