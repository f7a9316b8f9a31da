"""The data checks of training sets and candidates, and nothing else."""

from __future__ import annotations

from ml_assets.features.documents import with_keys
from ml_assets.features.views import views_for
from ml_assets.releases.gates import Gate
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.evaluation import beats, difference_interval
from ml_assets.training.experiments import read_candidates
from ml_assets.training.families.registry import BASELINES
from ml_assets.training.training_set import content_hash, current_hash, current_training_set


def unknown_labels(
    connection: postgres.Connection, duck: duckdb.Connection
) -> tuple[list[str], list[str]]:
    """Documents of the training set that have another label now, and labels never trained on."""
    current = current_hash(duck)
    query = "select document_id, label from training_sets where hash = ?"
    frozen = dict(duck.execute(query, [current]).fetchall())
    labels = connection.execute(statement("postgres/training/labels"), [list(frozen)])
    live: dict[str, str] = dict(labels.fetchall())
    wrong = sorted(name for name, label in frozen.items() if live.get(name) != label)
    return wrong, _column(duck, "labels_not_trained_on", current)


def is_as_frozen(duck: duckdb.Connection) -> bool:
    """Whether the rows of the current training set are those of its hash."""
    current = current_training_set(duck)
    return current is None or not current.hash or content_hash(current) == current.hash


def unknown_features(duck: duckdb.Connection) -> dict[str, list[str]]:
    """Of the current training set, by feature, the documents of which it is not known.

    Under an empty name those of which none is: their features are of another time than the label.
    """
    current = current_training_set(duck)
    if current is None or not current.hash:
        return {}
    names, unknown = current.rows["document_id"], current.rows[list(current.features)].isna()
    by_feature = {name: names[unknown[name]].tolist() for name in current.features}
    return {"": names[unknown.all(axis=1)].tolist(), **by_feature}


def values_from_after(
    connection: postgres.Connection, duck: duckdb.Connection
) -> dict[str, tuple[int, list[str]]]:
    """By view of an entity such as an author: how many documents have values of it, and which leak.

    Of the current training set. A document leaks where its values are of no row that was there
    before it: one that was true when the document came to be, and known by then where the source
    tells that. Of a view over documents, whose rows hold the document itself, it has to be earlier.
    """
    current = current_training_set(duck)
    views = [view for view in views_for("training") if view.entity != "document"]
    if current is None or not current.hash:
        return {}
    keyed = with_keys(connection, current.rows[["document_id"]], views)
    compared = {}
    for view in views:
        if not set(view.qualified) <= set(current.features):
            continue
        names = dict(zip(view.qualified, view.columns, strict=True))
        rows = current.rows[list(view.qualified)].rename(columns=names)
        rows["document_id"], rows["entity_id"] = keyed["document_id"], keyed[view.entity_column]
        rows["document_time"] = keyed["document_time"]
        # A document that was erased since then has no time.
        rows = rows[rows[list(view.columns)].notna().any(axis=1) & rows["document_time"].notna()]
        text = statement("duckdb/training/values_from_after").format(
            table=view.table,
            until=">" if view.is_strict else ">=",
            same=" and ".join(
                f"feature.{c}::double is not distinct from frozen.{c}" for c in view.columns
            ),
        )
        bound = {"tells_when_known": view.tells_when_known}
        with duckdb.registered(duck, frozen=rows):
            leaking = [name for (name,) in duck.execute(text, bound).fetchall()]
        compared[view.name] = (len(rows), leaking)
    return compared


def straddling_groups(duck: duckdb.Connection) -> dict[str, list[str]]:
    """Groups and texts of the current training set that are in more than one split."""
    current = current_hash(duck)
    return {
        "groups": _column(duck, "straddling_groups", current),
        "texts": _column(duck, "straddling_texts", current),
    }


def validation_gate(connection: postgres.Connection, duck: duckdb.Connection) -> Gate | None:
    """The best candidate of the current training set against its best baseline, out of fold.

    It blocks when its macro-F1 is worse by more than chance explains on so many documents, and
    cannot tell when it is no better. None: there is no candidate.
    """
    current = current_hash(duck)
    candidates = read_candidates(connection, current) if current else []
    scores = {each.family: each.metrics["validation_macro_f1"] for each in candidates}
    best, rival = (
        max(names, key=scores.__getitem__, default="")
        for names in ([*scores.keys() - set(BASELINES)], [*scores.keys() & set(BASELINES)])
    )
    if not best or not rival:
        return None
    query = "select count(*) from training_sets where hash = ? and split <> 'test'"
    ((documents,),) = duck.execute(query, [current]).fetchall()
    low, high = difference_interval(scores[best], scores[rival], documents)
    numbers = {best: scores[best], rival: scores[rival], "low": low, "high": high}
    numbers["documents"] = documents
    message = (
        f"macro-F1 out of fold: {best} {scores[best]:.4f}, {rival} {scores[rival]:.4f};"
        f" of {documents} documents a difference is known to {low:+.2f} … {high:+.2f}"
    )
    name = "a_model_beats_the_baselines"
    if beats(scores[best], scores[rival]):
        return Gate(name, "pass", message, numbers)
    if high >= 0:
        return Gate(name, "cannot tell", message, numbers)
    return Gate(name, "block", message, numbers, "Train on more documents, or on better labels")


def _column(duck: duckdb.Connection, name: str, training_set_hash: str) -> list[str]:
    rows = duck.execute(statement(f"duckdb/training/{name}"), {"hash": training_set_hash})
    return [value for (value,) in rows.fetchall()]
