"""Training sets: labels joined with the features known at their time, split by group, frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml_assets.features.join import point_in_time_join
from ml_assets.features.views import FeatureView, fingerprint, views_for
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.model import SPLITS, TrainingSet
from ml_assets.training.split import merge_duplicates, split_groups

if TYPE_CHECKING:
    from pandas import DataFrame

MIN_GROUPS = 10
"""A label with fewer groups is left out: there would be nothing to test it on."""

_HEAD = (
    *("hash", "space_id", "seed", "feature_views", "features", "left_out", "unembedded"),
    "reason",
)
_COLUMNS = ("document_id", "label", "group_id", "split", "label_time", "text_hash")


def build_training_set(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    settings: Settings,
    space_id: str,
) -> TrainingSet:
    """Describe the training set of the present documents; nothing is written.

    Labels are those of the live documents whose chunks all have a vector of `space_id`. A label is
    as old as the document's last change, and the features are joined as of that time. Documents
    with equal text (but for case and spacing) are one group. Labels with fewer than `MIN_GROUPS`
    groups are left out, and without two labels there is no training set, which is no error.
    """
    views = views_for("training")
    labelled = _labelled(connection, space_id)
    embedded = labelled[labelled["embedded"].astype(bool)].drop(columns="embedded")
    rows, left_out = _split(embedded, settings.seed)
    features = tuple(name for view in views for name in view.qualified)
    reason = ""
    if labelled.empty:
        reason = "the documents have no labels"
    elif rows.empty:
        reason = (
            f"fewer than two labels have {MIN_GROUPS} groups of embedded documents"
            f" ({len(labelled)} labelled documents, {len(left_out)} labels left out)"
        )
    joined = _join(duck, rows, views, features)
    prints = {view.key: fingerprint(view) for view in views}
    return TrainingSet(
        hash=_hash(joined, features, prints, space_id, settings.seed) if len(rows) else "",
        space_id=space_id,
        seed=settings.seed,
        feature_views=prints,
        features=features,
        rows=joined,
        left_out=left_out,
        unembedded=len(labelled) - len(embedded),
        reason=reason,
    )


def freeze(duck: duckdb.Connection, training_set: TrainingSet) -> bool:
    """Make `training_set` the current one; its rows are written once per hash. False: it was."""
    head = {name: getattr(training_set, name) for name in _HEAD}
    if _last_head(duck) == head:
        return False
    views, left_out = head.pop("feature_views"), head.pop("left_out")
    bound = {
        **head,
        "features": list(training_set.features),
        "views": list(views),
        "fingerprints": list(views.values()),
        "labels": list(left_out),
        "groups": list(left_out.values()),
    }
    with duckdb.transaction(duck):
        known = duck.execute(
            "select 1 from training_sets where hash = ? limit 1", [training_set.hash]
        ).fetchone()
        if training_set.hash and known is None:
            _insert_rows(duck, training_set)
        duck.execute(statement("duckdb/training/insert_build"), bound)
    return True


def has_labels(connection: postgres.Connection) -> bool:
    """Whether a document has a label, or one once had, and models were trained."""
    row = connection.execute(statement("postgres/training/any_label")).fetchone()
    return bool(row and row[0])


def changed_labels(
    connection: postgres.Connection, since: datetime | None
) -> tuple[int, datetime | None]:
    """How many labelled documents are new, changed or gone since then, and since when any is."""
    bound = {"since": since}
    row = connection.execute(statement("postgres/training/changed_labels"), bound).fetchone()
    documents, first = row or (0, None)
    return documents, first


def current_training_set(duck: duckdb.Connection) -> TrainingSet | None:
    """The training set that was frozen last; None before the first."""
    head = _last_head(duck)
    if head is None:
        return None
    features = list(head["features"])
    bound = {"hash": head["hash"], "features": features}
    rows = duck.execute(statement("duckdb/training/rows"), bound).df()
    return TrainingSet(**head, rows=_unpack(rows, features))


def current_hash(duck: duckdb.Connection) -> str:
    """The hash of the training set that was frozen last, its rows left alone; empty: none."""
    head = _last_head(duck)
    return head["hash"] if head else ""


def _labelled(connection: postgres.Connection, space_id: str) -> DataFrame:
    import pandas as pd

    bound = {"space_id": space_id}
    cursor = connection.execute(statement("postgres/training/labelled"), bound)
    return pd.DataFrame(cursor, columns=[column.name for column in cursor.description or ()])


def _split(labelled: DataFrame, seed: int) -> tuple[DataFrame, dict[str, int]]:
    """Merge duplicates, leave out small labels, split; return rows, and the groups left out."""
    groups = merge_duplicates(labelled["group_id"].tolist(), labelled["same_text"].tolist())
    rows = labelled.drop(columns="same_text").assign(group_id=groups)
    counts = rows.groupby("label")["group_id"].nunique()
    rows = rows[rows["label"].map(counts) >= MIN_GROUPS]
    splits = split_groups(rows["label"].tolist(), rows["group_id"].tolist(), seed)
    rows = rows.assign(split=splits)
    # Groups of several labels can keep one of them out of a split; it cannot be measured then.
    reached = rows.groupby("label")["split"].nunique()
    rows = rows[rows["label"].map(reached) == len(SPLITS)]
    if rows["label"].nunique() < 2:
        rows = rows.iloc[:0]
    left_out = {
        str(label): int(count) for label, count in counts.items() if label not in set(rows["label"])
    }
    return rows[list(_COLUMNS)].reset_index(drop=True), dict(sorted(left_out.items()))


def _join(
    duck: duckdb.Connection,
    rows: DataFrame,
    views: tuple[FeatureView, ...],
    features: tuple[str, ...],
) -> DataFrame:
    if rows.empty:
        return rows.reindex(columns=[*_COLUMNS, *features])
    spine = rows.rename(columns={"label_time": "event_time"})
    joined = point_in_time_join(duck, spine, views).rename(columns={"event_time": "label_time"})
    return joined[[*_COLUMNS, *features]].astype(dict.fromkeys(features, "float64"))


def _hash(
    rows: DataFrame,
    features: tuple[str, ...],
    views: Mapping[str, str],
    space_id: str,
    seed: int,
) -> str:
    """16 hex digits over all that decides what a model can learn from the rows."""
    import numpy as np

    values = rows[list(features)].to_numpy("float64")
    digest = hashlib.sha256(json.dumps([space_id, seed, sorted(views.items())]).encode())
    for column in ("document_id", "label", "group_id", "split", "text_hash"):
        digest.update(json.dumps(rows[column].tolist()).encode())
    # One bit pattern for every NaN.
    digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
    return digest.hexdigest()[:16]


def _last_head(duck: duckdb.Connection) -> dict[str, Any] | None:
    """All of the last build but its rows; None before the first."""
    row = duck.execute(statement("duckdb/training/current_build")).fetchone()
    if row is None:
        return None
    head = dict(zip(_HEAD, row, strict=True))
    return {**head, "features": tuple(head["features"])}


def _insert_rows(duck: duckdb.Connection, training_set: TrainingSet) -> None:
    import pyarrow as pa

    rows, names = training_set.rows, training_set.features
    offsets = range(0, len(rows) * len(names) + 1, len(names) or 1)
    values = pa.array(rows[list(names)].to_numpy("float64").ravel(), from_pandas=True)
    columns = {name: pa.array(rows[name]) for name in _COLUMNS}
    columns["features"] = pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(list(names) * len(rows), pa.string()), values
    )
    frozen = pa.table({"hash": [training_set.hash] * len(rows), **columns})
    with duckdb.registered(duck, frozen=frozen):
        duck.execute("insert into training_sets by name select * from frozen")


def _unpack(rows: DataFrame, features: list[str]) -> DataFrame:
    import numpy as np
    import pandas as pd

    values = np.array(rows["feature_values"].tolist(), dtype="float64")
    wide = pd.DataFrame(values.reshape(len(rows), len(features)), columns=features)
    return pd.concat([rows.drop(columns="feature_values"), wide], axis=1)
