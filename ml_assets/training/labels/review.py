"""The review of a training set's labels: made once per set, kept in DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from ml_assets.features.documents import read_nearest
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.experiments import read_candidates
from ml_assets.training.labels.issues import (
    AmbiguousPair,
    LabelIssue,
    ambiguous_pairs,
    conflicting_duplicates,
    unlikely_labels,
)
from ml_assets.training.model import Candidate, TrainingSet
from ml_assets.training.selection.choice import choose
from ml_assets.training.selection.out_of_fold import read_out_of_fold

VERSION = 1
"""Raise it when other labels are told of the same answers."""

MOST_IN_DOUBT = 0.1
"""The share of documents with doubtful labels from which on a person should look at them.

Northcutt, Athalye and Mueller, "Pervasive Label Errors in Test Sets" (2021), estimate 3.3 % of
wrong labels on average in ten well-known data sets.
"""


@dataclass(frozen=True, slots=True)
class Review:
    """What is wrong with the labels of a training set, the surest first.

    `documents` have a label in the set. `run_id` is that of the candidate whose answers out of fold
    were asked.
    """

    training_set_hash: str
    run_id: str
    documents: int
    issues: tuple[LabelIssue, ...]
    pairs: tuple[AmbiguousPair, ...]

    @property
    def doubtful(self) -> int:
        """The documents whose label is in doubt."""
        return len({issue.document_id for issue in self.issues})


def review_labels(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
) -> tuple[Review | None, bool]:
    """Review the labels of `training_set`, unless that was done; return whether it is new.

    None: there is no candidate whose answers could be asked.

    Raises:
        ModelError: the answers of the candidate are lost.
    """
    asked = choose(read_candidates(connection, training_set.hash))
    if asked is None:
        return None, False
    with open_duck() as duck:
        kept = read_review(duck)
        if kept and (kept.training_set_hash, kept.run_id) == (training_set.hash, asked.run_id):
            return kept, False
        nearest = read_nearest(duck)
    review = _review(connection, where, training_set, asked, nearest)
    with open_duck() as duck:
        _write(duck, review)
    return review, True


def read_review(duck: duckdb.Connection) -> Review | None:
    """The last review; None: there is none, or it was by other rules."""
    query = "select training_set_hash, run_id, documents from label_reviews where version = ?"
    head = duck.execute(query, [VERSION]).fetchone()
    if head is None:
        return None
    issues = duck.execute(_in_order(LabelIssue, "label_issues")).fetchall()
    pairs = duck.execute(_in_order(AmbiguousPair, "ambiguous_labels")).fetchall()
    training_set_hash, run_id, documents = head
    return Review(
        training_set_hash=training_set_hash,
        run_id=run_id,
        documents=documents,
        issues=tuple(LabelIssue(*row) for row in issues),
        pairs=tuple(AmbiguousPair(*row) for row in pairs),
    )


def _in_order(kind: type, table: str) -> str:
    names = ", ".join(field.name for field in fields(kind))
    return f"select {names} from {table} order by place"  # noqa: S608


def _review(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    asked: Candidate,
    nearest: Mapping[str, tuple[str, float]],
) -> Review:
    answers = read_out_of_fold(where, asked)
    truth, rows = answers.truth.tolist(), training_set.rows
    bound = {"document_ids": rows["document_id"].tolist()}
    texts = connection.execute(statement("postgres/training/words"), bound).fetchall()
    words: dict[str, str] = dict(texts)
    present = rows[rows["document_id"].isin(words)]  # some may have left since it was frozen
    ids, labels = present["document_id"].tolist(), present["label"].tolist()
    asked_for = (truth, answers.probabilities.astype("float64"), answers.labels)
    return Review(
        training_set_hash=training_set.hash,
        run_id=asked.run_id,
        documents=len(rows),
        issues=(
            *unlikely_labels(answers.document_ids, *asked_for),
            *conflicting_duplicates(ids, labels, [words[name] for name in ids], nearest),
        ),
        pairs=tuple(ambiguous_pairs(*asked_for)),
    )


def _write(duck: duckdb.Connection, review: Review) -> None:
    """In place of the last one."""
    import pandas as pd

    kept = {
        "label_reviews": [
            {
                "training_set_hash": review.training_set_hash,
                "run_id": review.run_id,
                "version": VERSION,
                "documents": review.documents,
            }
        ],
        "label_issues": _placed(review.issues),
        "ambiguous_labels": _placed(review.pairs),
    }
    with duckdb.transaction(duck):
        for table, rows in kept.items():
            duck.execute(f"delete from {table}")  # noqa: S608
            if rows:
                with duckdb.registered(duck, written=pd.DataFrame(rows)):
                    duck.execute(f"insert into {table} by name select * from written")  # noqa: S608


def _placed(rows: Sequence[LabelIssue | AmbiguousPair]) -> list[dict[str, object]]:
    return [{"place": place, **asdict(row)} for place, row in enumerate(rows)]
