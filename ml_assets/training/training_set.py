"""Training sets: labels joined with the features known at their time, split by group, frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_assets.features.definition import FeatureView
from ml_assets.features.documents import read_vectors, with_keys
from ml_assets.features.join import point_in_time_join
from ml_assets.features.offline import first_times
from ml_assets.features.views import training_views, views_for
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.model import SPLITS, Split, TrainingSet
from ml_assets.training.split import (
    EDITED,
    NEAR,
    hash_words,
    merge_duplicates,
    same_words,
    similar_pairs,
    split_groups,
)

if TYPE_CHECKING:
    from pandas import DataFrame

MIN_GROUPS = 10
"""A label with fewer groups is left out: there would be nothing to test it on."""

_COLUMNS = ("document_id", "label", "group_id", "split", "label_time", "text_hash")


def build_training_set(
    connection: postgres.Connection, duck: duckdb.Connection, settings: Settings, space_id: str
) -> TrainingSet:
    """Describe the training set of the present documents; only the sides of the split are written.

    Labels are those of the live documents whose chunks all have a vector of `space_id`. A label is
    as old as the document's last change, but no older than its first features, and the features
    are joined as of that time; those of its author, say, as of before the document was there.
    Documents with equal text (but for case and spacing), and with the same words and near vectors,
    are one group. Labels with fewer than `MIN_GROUPS` groups are left out, and without two labels
    there is no training set, which is no error.
    """
    views = views_for("training")
    labelled = _labelled(connection, space_id)
    embedded = labelled[labelled["embedded"].astype(bool)].drop(columns="embedded")
    rows, left_out = _split(connection, duck, embedded, settings.seed, space_id)
    features = tuple(name for view in views for name in view.qualified)
    reason = ""
    if labelled.empty:
        reason = "the documents have no labels"
    elif rows.empty:
        reason = (
            f"fewer than two labels have {MIN_GROUPS} groups of embedded documents"
            f" ({len(labelled)} labelled documents, {len(left_out)} labels left out)"
        )
    if len(rows):
        rows = _not_before_features(duck, rows, views)
        asked = rows[["document_id", "label_time"]].rename(columns={"label_time": "event_time"})
        joined = point_in_time_join(duck, with_keys(connection, asked, views), views)
        rows = rows.assign(**{name: joined[name] for name in features})
    rows = rows.reindex(columns=[*_COLUMNS, *features]).astype(dict.fromkeys(features, "float64"))
    built = TrainingSet(
        hash="",
        space_id=space_id,
        seed=settings.seed,
        feature_views=training_views(),
        features=features,
        rows=rows,
        left_out=left_out,
        unembedded=len(labelled) - len(embedded),
        reason=reason,
    )
    return replace(built, hash=content_hash(built)) if len(rows) else built


def freeze(duck: duckdb.Connection, training_set: TrainingSet) -> bool:
    """Make `training_set` the current one; its rows are written once per hash. False: it was."""
    names = [each.name for each in fields(TrainingSet) if each.name != "rows"]
    head = {name: getattr(training_set, name) for name in names}
    if _last_head(duck) == head:
        return False
    for name in ("feature_views", "left_out"):
        # As DuckDB binds a map: a dictionary of its own would be a struct, and blind to case.
        head[name] = {"key": list(head[name]), "value": list(head[name].values())}
    values = ", ".join(f'"{name}"' for name in training_set.features)
    insert_rows = statement("duckdb/training/insert_rows").format(values=values)
    with duckdb.transaction(duck), duckdb.registered(duck, frozen=training_set.rows):
        duck.execute(insert_rows, {"hash": training_set.hash, "names": training_set.features})
        duck.execute(statement("duckdb/training/insert_build"), head)
    return True


def forget_altered(duck: duckdb.Connection) -> None:
    """Forget the current training set if its rows are not those of its hash; a run freezes it."""
    current = current_training_set(duck)
    if current and current.hash and content_hash(current) != current.hash:
        with duckdb.transaction(duck):
            for table in ("training_sets", "training_set_builds"):
                duck.execute(f"delete from {table} where hash = ?", [current.hash])  # noqa: S608


def has_labels(connection: postgres.Connection) -> bool:
    """Whether a document has a label, or one once had, and models were trained."""
    row = connection.execute(statement("postgres/training/any_label")).fetchone()
    return bool(row and row[0])


def small_labels(connection: postgres.Connection) -> tuple[dict[str, int], int]:
    """The labels of live documents with fewer than `MIN_GROUPS` groups, and how many have more.

    Groups as the documents name them: those that share a text are one more rarely than not.
    """
    rows = connection.execute(statement("postgres/training/label_groups")).fetchall()
    small = {label: groups for label, groups in rows if groups < MIN_GROUPS}
    return small, len(rows) - len(small)


def untrainable(connection: postgres.Connection) -> str:
    """Why no run can train a model on the documents as they are labelled; empty: one may."""
    small, large = small_labels(connection)
    if large >= 2:
        return ""
    if not small and not large:
        return "no document has a label"
    labels = len(small) + large
    return f"fewer than two labels have {MIN_GROUPS} groups of documents ({large} of {labels})"


def changed_labels(
    connection: postgres.Connection, open_duck: duckdb.Opener, since: datetime | None
) -> tuple[int, datetime | None]:
    """How many documents the training set does not have as they are now, and since when any is so.

    Of those written since the last training: labelled ones that are new or have another label or
    text, and those that it has and that left or lost their label. Before it: all that have a label.
    """
    cursor = connection.execute(statement("postgres/training/changed_labels"), {"since": since})
    present = {identity: (at, content) for identity, at, *content in cursor}
    if since is not None and present:
        with open_duck() as duck:
            bound = {"hash": current_hash(duck), "ids": list(present)}
            rows = duck.execute(statement("duckdb/training/trained"), bound).fetchall()
        trained = {identity: content for identity, *content in rows}
        for identity, (_, content) in [*present.items()]:
            if trained.get(identity, [None, None]) == content:
                del present[identity]
    return len(present), min((at for at, _ in present.values()), default=None)


def current_training_set(duck: duckdb.Connection) -> TrainingSet | None:
    """The training set that was frozen last; None before the first."""
    head = _last_head(duck)
    return _with_rows(duck, head) if head else None


def _with_rows(duck: duckdb.Connection, head: dict[str, Any]) -> TrainingSet:
    values = ", ".join(f"features['{name}'] as \"{name}\"" for name in head["features"])
    text = statement("duckdb/training/rows").format(values=values)
    return TrainingSet(**head, rows=duck.execute(text, {"hash": head["hash"]}).df())


def training_set_of(duck: duckdb.Connection, training_set_hash: str) -> TrainingSet | None:
    """The training set of that hash; None: it is not known here."""
    row = duck.execute(statement("duckdb/training/build"), {"hash": training_set_hash}).fetchone()
    return _with_rows(duck, _head(row[0])) if row else None


def rewritten(
    connection: postgres.Connection, training_set: TrainingSet, since: datetime
) -> list[str]:
    """Its documents that have another text now, written since then."""
    cursor = connection.execute(statement("postgres/training/changed_labels"), {"since": since})
    now = {identity: text_hash for identity, _, _, text_hash in cursor if text_hash}
    rows = training_set.rows
    frozen = zip(rows["document_id"], rows["text_hash"], strict=True)
    return [name for name, text_hash in frozen if now.get(name, text_hash) != text_hash]


def without_learned(
    duck: duckdb.Connection, training_set: TrainingSet, hashes: Sequence[str]
) -> TrainingSet:
    """`training_set` without the test rows that models of these sets were trained on or chosen by.

    A group keeps its side, but for one that was moved where a label missed the test split. A
    document is known by its id and by its text. Whole groups are left out: their members have the
    same text, or are of one object.
    """
    text = statement("duckdb/training/learned")
    learned = duck.execute(text, {"hashes": list(hashes)}).df()
    rows = training_set.rows
    tested = rows["split"] == "test"
    known = rows["document_id"].isin(learned["document_id"])
    known |= rows["text_hash"].isin(learned["text_hash"])
    groups = rows.loc[tested & known, "group_id"]
    if groups.empty:
        return training_set
    kept = rows[~(tested & rows["group_id"].isin(groups))]
    return replace(training_set, hash=f"{training_set.hash}-{len(rows) - len(kept)}", rows=kept)


@dataclass(frozen=True, slots=True)
class Trained:
    """A document in a training set: its label, and the side of the split that it was on."""

    training_set_hash: str
    document_id: str
    label: str
    split: str


def documents_of(duck: duckdb.Connection, training_set_hash: str) -> list[Trained]:
    """Every document of a training set, by id; none where it was built on another host."""
    query = statement("duckdb/training/trained_documents")
    rows = duck.execute(query, {"hash": training_set_hash, "document_id": None}).fetchall()
    return [Trained(*row) for row in rows]


def training_sets_of(duck: duckdb.Connection, document_id: str) -> list[Trained]:
    """Every training set that has a document."""
    query = statement("duckdb/training/trained_documents")
    rows = duck.execute(query, {"hash": None, "document_id": document_id}).fetchall()
    return [Trained(*row) for row in rows]


def training_sets_with(duck: duckdb.Connection, document_ids: Sequence[str]) -> dict[str, int]:
    """How many of these documents each training set has, by its hash; others are left out."""
    query = statement("duckdb/training/training_sets_with")
    rows = duck.execute(query, {"document_ids": list(document_ids)}).fetchall()
    return {training_set_hash: int(count) for training_set_hash, count in rows}


def current_hash(duck: duckdb.Connection) -> str:
    """The hash of the training set that was frozen last, its rows left alone; empty: none."""
    head = _last_head(duck)
    return head["hash"] if head else ""


def size_of(duck: duckdb.Connection, training_set_hash: str) -> tuple[int, int]:
    """How many rows and labels the training set of that hash has."""
    query = "select count(*), count(distinct label) from training_sets where hash = ?"
    ((rows, labels),) = duck.execute(query, [training_set_hash]).fetchall()
    return int(rows), int(labels)


def was_built(duck: duckdb.Connection, training_set_hash: str) -> bool:
    """Whether the training set of that hash was built on this host."""
    query = "select 1 from training_set_builds where hash = ? limit 1"
    return duck.execute(query, [training_set_hash]).fetchone() is not None


def first_built(duck: duckdb.Connection, training_set_hash: str) -> datetime | None:
    """When the training set of that hash was frozen; None: it is not known here."""
    query = "select min(built_at) from training_set_builds where hash = ?"
    ((built,),) = duck.execute(query, [training_set_hash]).fetchall()
    return built if isinstance(built, datetime) else None


def days_since_built(duck: duckdb.Connection, training_set_hash: str) -> float:
    """Days since the training set of that hash became the current one last; 0: it is not known."""
    query = "select max(built_at) from training_set_builds where hash = ?"
    ((built,),) = duck.execute(query, [training_set_hash]).fetchall()
    return max(0.0, (datetime.now(UTC) - built).total_seconds() / 86_400) if built else 0.0


def _not_before_features(
    duck: duckdb.Connection, rows: DataFrame, views: Sequence[FeatureView]
) -> DataFrame:
    """Make no label older than the first features of its document.

    A date in the future, once it is corrected, leaves features that began then; the label, which is
    of the same document, begins with them.
    """
    import pandas as pd

    for view in views:
        if view.source is None:
            known = rows["document_id"].map(first_times(duck, view))
            first = pd.to_datetime(known, utc=True).fillna(rows["label_time"])
            later = rows["label_time"] > first
            rows = rows.assign(label_time=rows["label_time"].where(later, first))
    return rows


def _labelled(connection: postgres.Connection, space_id: str) -> DataFrame:
    import pandas as pd

    bound = {"space_id": space_id}
    cursor = connection.execute(statement("postgres/training/labelled"), bound)
    return pd.DataFrame(cursor, columns=[column.name for column in cursor.description or ()])


def _split(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    labelled: DataFrame,
    seed: int,
    space_id: str,
) -> tuple[DataFrame, dict[Any, int]]:
    """Merge duplicates, leave out small labels, split; return rows, and the groups left out.

    The side of each text is kept, for later training sets.
    """
    import pandas as pd

    words = _words(connection, labelled["document_id"].tolist())
    near = _near_duplicates(connection, labelled["document_id"].tolist(), words, space_id)
    groups = merge_duplicates(labelled["group_id"].tolist(), labelled["same_text"].tolist(), near)
    rows = labelled.assign(group_id=groups, words=pd.Series(words, labelled.index, object))
    counts = rows.groupby("label")["group_id"].nunique()
    rows = rows[rows["label"].map(counts) >= MIN_GROUPS]
    earlier = _earlier(duck, rows, seed)
    splits = split_groups(rows["label"].tolist(), rows["group_id"].tolist(), seed, earlier)
    rows = rows.assign(split=splits)
    # Groups of several labels can keep one of them out of a split; it cannot be measured then.
    reached = rows.groupby("label")["split"].nunique()
    rows = rows[rows["label"].map(reached) == len(SPLITS)]
    if rows["label"].nunique() < 2:
        rows = rows.iloc[:0]
    if len(rows):
        with duckdb.registered(duck, asked=_asked(rows)):
            duck.execute(statement("duckdb/training/remember_splits"), {"seed": seed})
    left_out = counts[~counts.index.isin(rows["label"])].to_dict()
    return rows[list(_COLUMNS)].reset_index(drop=True), left_out


def _words(connection: postgres.Connection, document_ids: list[str]) -> list[list[int]]:
    """The hashes of the words of each document's text."""
    words: dict[str, list[int]] = {}
    text = statement("postgres/training/texts")
    for batch in postgres.read_batches(connection, text, {"document_ids": document_ids}):
        words.update((document_id, hash_words(content)) for document_id, content in batch)
    return [words[document_id] for document_id in document_ids]


def _near_duplicates(
    connection: postgres.Connection,
    document_ids: Sequence[str],
    words: Sequence[Sequence[int]],
    space_id: str,
) -> list[tuple[int, int]]:
    """The places of documents with the same words, whose vectors have a cosine of `NEAR` too."""
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    pairs = same_words(words)
    if not pairs:
        return []
    some = sorted({document_ids[place] for pair in pairs for place in pair})
    names, vectors = read_vectors(connection, space_id, some)
    places = {name: place for place, name in enumerate(names)}
    units = unit(vectors)
    first, second = (
        np.array([places[document_ids[pair[side]]] for pair in pairs]) for side in (0, 1)
    )
    cosines = np.concatenate(
        [
            np.einsum(
                "ij,ij->i", units[first[part : part + 65_536]], units[second[part : part + 65_536]]
            )
            for part in range(0, len(pairs), 65_536)
        ]
    )
    return [pairs[place] for place in np.flatnonzero(cosines >= NEAR)]


def _earlier(duck: duckdb.Connection, rows: DataFrame, seed: int) -> dict[str, Split]:
    """Where the groups were in earlier sets: by id, by text, or as a text that is gone, edited.

    A group that was on several sides is trained on rather than validated, and that than tested.
    """
    group_of = dict(zip(rows["document_id"], rows["group_id"], strict=True))
    with duckdb.registered(duck, asked=_asked(rows)):
        known = duck.execute(statement("duckdb/training/known_splits"), {"seed": seed}).fetchall()
        gone = duck.execute(statement("duckdb/training/gone_splits"), {"seed": seed}).fetchall()
    met = [(group_of[document_id], split) for document_id, split in known]
    new = rows[~rows["document_id"].isin([document_id for document_id, _ in known])]
    if gone and len(new):
        texts = [words for words, _ in gone]
        for place, other in similar_pairs(new["words"].tolist(), texts, EDITED).tolist():
            met.append((new["group_id"].iloc[place], gone[other][1]))
    met.sort(key=lambda pair: SPLITS.index(pair[1]), reverse=True)
    return dict(met)


def _asked(rows: DataFrame) -> DataFrame:
    """What the history of splits is asked of the rows, or told; `split` once they have one."""
    wanted = ("document_id", "same_text", "words", "split")
    return rows[[name for name in wanted if name in rows]]


def content_hash(built: TrainingSet) -> str:
    """16 hex digits over all that decides what a model can learn from the rows."""
    import numpy as np

    values = built.rows[list(built.features)].to_numpy("float64")
    decisive = [built.space_id, built.seed, sorted(built.feature_views.items())]
    digest = hashlib.sha256(json.dumps(decisive).encode())
    for column in ("document_id", "label", "group_id", "split", "text_hash"):
        digest.update(json.dumps(built.rows[column].tolist()).encode())
    # One bit pattern for every NaN.
    digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
    return digest.hexdigest()[:16]


def _last_head(duck: duckdb.Connection) -> dict[str, Any] | None:
    """All of the last build but its rows; None before the first."""
    row = duck.execute(statement("duckdb/training/current_build")).fetchone()
    return _head(row[0]) if row else None


def _head(build: dict[str, Any]) -> dict[str, Any]:
    return {**build, "features": tuple(build["features"])}
