"""Training sets: labels joined with the features known at their time, split by group, frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_assets.features.join import point_in_time_join
from ml_assets.features.views import FeatureView, fingerprint, training_views
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.model import SPLITS, TrainingSet
from ml_assets.training.split import merge_duplicates, split_groups

if TYPE_CHECKING:
    from pandas import DataFrame

MIN_GROUPS = 10
"""A label with fewer groups is left out: there would be nothing to test it on."""

_COLUMNS = ("document_id", "label", "group_id", "split", "label_time", "text_hash")
_LABELLED = ("document_id", "label", "group_id", "label_time", "text_hash", "same_text", "embedded")


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
    views = training_views()
    found = _labelled(connection, space_id)
    embedded = found[found["embedded"].astype(bool)].drop(columns="embedded")
    rows, left_out = _split(embedded, settings.seed)
    features = tuple(name for view in views for name in view.qualified)
    reason = "" if len(rows) else _reason(len(found), left_out)
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
        unembedded=len(found) - len(embedded),
        reason=reason,
    )


def freeze(duck: duckdb.Connection, training_set: TrainingSet) -> bool:
    """Make `training_set` the current one; its rows are written once per hash. False: it was."""
    bound = _build(training_set)
    if _last_build(duck) == bound:
        return False
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
    row = postgres.run(connection, statement("postgres/training/any_label")).fetchone()
    return bool(row and row[0])


def current_training_set(duck: duckdb.Connection) -> TrainingSet | None:
    """The training set that was frozen last; None before the first."""
    build = _last_build(duck)
    if build is None:
        return None
    rows = duck.execute(
        statement("duckdb/training/rows"), {"hash": build["hash"], "features": build["features"]}
    ).df()
    return TrainingSet(
        hash=build["hash"],
        space_id=build["space_id"],
        seed=build["seed"],
        feature_views=dict(zip(build["views"], build["fingerprints"], strict=True)),
        features=tuple(build["features"]),
        rows=_unpack(rows, build["features"]),
        left_out=dict(zip(build["labels"], build["groups"], strict=True)),
        unembedded=build["unembedded"],
        reason=build["reason"],
    )


def current_hash(duck: duckdb.Connection) -> str:
    """The hash of the training set that was frozen last, its rows left alone; empty: none."""
    build = _last_build(duck)
    return build["hash"] if build else ""


def _labelled(connection: postgres.Connection, space_id: str) -> DataFrame:
    import pandas as pd

    found = postgres.run(
        connection, statement("postgres/training/labelled"), {"space_id": space_id}
    )
    return pd.DataFrame(found.fetchall(), columns=list(_LABELLED))


def _split(found: DataFrame, seed: int) -> tuple[DataFrame, dict[str, int]]:
    """Merge duplicates, leave out small labels, split; return rows, and the groups left out."""
    groups = merge_duplicates(found["group_id"].tolist(), found["same_text"].tolist())
    rows = found.drop(columns="same_text").assign(group_id=groups)
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


def _reason(labelled: int, left_out: Mapping[str, int]) -> str:
    if not labelled:
        return "the documents have no labels"
    return (
        f"fewer than two labels have {MIN_GROUPS} groups of embedded documents"
        f" ({labelled} labelled documents, {len(left_out)} labels left out)"
    )


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


def _build(training_set: TrainingSet) -> dict[str, object]:
    return {
        "hash": training_set.hash,
        "space_id": training_set.space_id,
        "seed": training_set.seed,
        "views": list(training_set.feature_views),
        "fingerprints": list(training_set.feature_views.values()),
        "features": list(training_set.features),
        "labels": list(training_set.left_out),
        "groups": list(training_set.left_out.values()),
        "unembedded": training_set.unembedded,
        "reason": training_set.reason,
    }


def _last_build(duck: duckdb.Connection) -> dict[str, Any] | None:
    row = duck.execute(statement("duckdb/training/current_build")).fetchone()
    if row is None:
        return None
    found, space_id, seed, views, features, left_out, unembedded, reason = row
    return {
        "hash": found,
        "space_id": space_id,
        "seed": seed,
        "views": list(views),
        "fingerprints": list(views.values()),
        "features": features,
        "labels": list(left_out),
        "groups": list(left_out.values()),
        "unembedded": unembedded,
        "reason": reason,
    }


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
