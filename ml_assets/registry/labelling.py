"""What the champion says about labels: where it contradicts them, and which to give next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from psycopg.rows import dict_row

from ml_assets.documents.history import read_excerpts
from ml_assets.errors import NothingToDoError
from ml_assets.features.documents import with_keys
from ml_assets.features.join import point_in_time_join
from ml_assets.features.views import views_for
from ml_assets.registry.serving import answer, load_served, served_version
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.labels.issues import AmbiguousPair
from ml_assets.training.labels.review import read_review
from ml_assets.training.labels.suggestions import choose, uncertainty
from ml_assets.training.results import read_answers
from ml_assets.training.training_set import current_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOGETHER = 2_000
"""Documents that are answered for at a time."""

_DOUBTED = 2_000
"""So many of the documents that are doubted most are compared with each other."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A document whose label is in doubt, or is to be given; `text` is its beginning.

    `confidence` is how sure it is that the label is `suggested`; `label` None: it has none.
    """

    document_id: str
    collection: str
    title: str
    text: str
    label: str | None
    suggested: str
    confidence: float
    why: str


@dataclass(frozen=True, slots=True)
class Doubts:
    """The first documents in doubt, how many there are in all, and how many were looked at.

    `pairs` of labels are mistaken for each other.
    """

    rows: tuple[Doubt, ...]
    count: int
    of: int
    pairs: tuple[AmbiguousPair, ...] = ()


class _Claim(NamedTuple):
    """That a document has another label than its own, or one if it has none."""

    document_id: str
    label: str | None
    suggested: str
    confidence: float
    why: str


class _Answer(NamedTuple):
    """How much the likeliest label of a document is doubted, and how likely it is."""

    doubt: float
    document_id: str
    label: str
    confidence: float


def mistakes(
    connection: postgres.Connection, duck: duckdb.Connection, space_id: str, limit: int
) -> Doubts:
    """The test documents on which the champion contradicts their labels, the surest first.

    Raises:
        NothingToDoError: there is no champion, or its answers are on another host.
        SpaceMismatchError: it reads vectors of another space than `space_id`.
        FeatureViewError: it needs feature views that the code no longer has.
    """
    version = served_version(connection, space_id)
    answers = read_answers(duck, version.candidate.run_id)
    if not answers:
        raise NothingToDoError(
            f"the answers of version {version.version} on its test documents are not here",
            where="DUCKDB_PATH",
            do="Ask on the host that trained it, or run `ml-assets run`",
        )
    excerpts = read_excerpts(connection, [*answers])
    claims = [
        _Claim(
            name, excerpts[name].label, given, sure, f"version {version.version} had not seen it"
        )
        for name, (given, sure) in answers.items()
        if name in excerpts and excerpts[name].label not in (given, None)
    ]
    claims.sort(key=lambda claim: (-claim.confidence, claim.document_id))
    return Doubts(_described(connection, claims[:limit]), len(claims), len(answers))


def label_errors(connection: postgres.Connection, duck: duckdb.Connection, limit: int) -> Doubts:
    """The documents of the training set whose label is probably wrong, the surest first.

    Raises:
        NothingToDoError: no run has looked at the labels of the present training set.
    """
    review = read_review(duck)
    if review is None or review.training_set_hash != current_hash(duck):
        what = "no run has reviewed the labels as they are"
        raise NothingToDoError(what, where="label_issues", do="Run `ml-assets run`")
    claims = [
        _Claim(each.document_id, each.label, each.suggested, each.confidence, each.why)
        for each in review.issues[:limit]
    ]
    rows, pairs = _described(connection, claims), review.pairs[:limit]
    return Doubts(rows, len(review.issues), review.documents, pairs)


def to_label(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    space_id: str,
    count: int,
) -> Doubts:
    """The documents without a label that would teach most: doubted, and unlike each other.

    The champion answers for each from its stored vectors, and its features as of now.

    Raises:
        NothingToDoError: there is no champion.
        SpaceMismatchError: it reads vectors of another space.
        FeatureViewError: it needs feature views that the code no longer has.
        StoreError: a store does not answer, or the model cannot be loaded.
    """
    import numpy as np

    version = served_version(connection, space_id)
    ids = [name for (name,) in connection.execute(statement("postgres/training/unlabelled"))]
    if not ids:
        return Doubts((), 0, 0)
    model = load_served(where, version)
    doubted: list[tuple[_Answer, NDArray[np.float32]]] = []
    for start in range(0, len(ids), _TOGETHER):
        some = ids[start : start + _TOGETHER]
        names, texts, features, vectors = _inputs(connection, open_duck, space_id, some)
        labels, given = answer(model, texts, features, vectors)
        answers = map(
            _Answer,
            uncertainty(given).tolist(),
            names,
            (labels[place] for place in given.argmax(axis=1)),
            given.max(axis=1).tolist(),
        )
        doubted += zip(answers, vectors, strict=True)
        doubted.sort(key=lambda pair: (-pair[0].doubt, pair[0].document_id))
        del doubted[max(_DOUBTED, count) :]
    doubts = np.array([each.doubt for each, _ in doubted])
    units = np.array([vector for _, vector in doubted], dtype=np.float32)
    chosen = [doubted[place][0] for place in choose(doubts, units, count)]
    claims = [
        _Claim(
            each.document_id,
            None,
            each.label,
            each.confidence,
            f"the likeliest label leads by {1 - each.doubt:.2f}",
        )
        for each in chosen
    ]
    return Doubts(_described(connection, claims), len(ids), len(ids))


def _inputs(
    connection: postgres.Connection, open_duck: duckdb.Opener, space_id: str, ids: Sequence[str]
) -> tuple[list[str], list[str], dict[str, NDArray[np.float64]], NDArray[np.float32]]:
    """Ids, texts, features and unit vectors of those of the documents that have vectors."""
    import pandas as pd

    from ml_assets.embeddings.quantization import unit

    bound = {"space_id": space_id, "document_ids": list(ids)}
    with connection.cursor(binary=True, row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("postgres/training/examples"), bound).fetchall()
    names, views = [row["document_id"] for row in rows], views_for("training")
    spine = pd.DataFrame({"document_id": names}).assign(event_time=datetime.now(UTC))
    spine = with_keys(connection, spine, views)
    with open_duck() as duck:
        joined = point_in_time_join(duck, spine, views)
    features = {name: joined[name].to_numpy("float64") for v in views for name in v.qualified}
    vectors = unit([row["embedding"].to_numpy() for row in rows])
    return names, [row["seen"] for row in rows], features, vectors


def _described(connection: postgres.Connection, claims: Iterable[_Claim]) -> tuple[Doubt, ...]:
    """Those of the documents that are still there, with what a person knows them by."""
    claims = list(claims)
    excerpts = read_excerpts(connection, [claim.document_id for claim in claims])
    return tuple(
        Doubt(claim.document_id, found.collection, found.title, found.text, *claim[1:])
        for claim in claims
        if (found := excerpts.get(claim.document_id))
    )
