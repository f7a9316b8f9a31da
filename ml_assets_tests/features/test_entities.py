"""Views over the documents of an author, joined to documents: none may hold the document itself."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pandas as pd
import pytest

from ml_assets.documents.model import Document
from ml_assets.features import Feature, FeatureView, Query
from ml_assets.features.documents import unheld_keys, with_keys
from ml_assets.features.join import point_in_time_join
from ml_assets.features.offline import refresh_source
from ml_assets.features.quality import follows_from_later
from ml_assets.features.sources.corpus import Corpus, entity_of
from ml_assets.features.views import VIEWS
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.features.corpus import Load
from ml_assets_tests.features.own_views import WRITTEN

START = datetime(2026, 1, 1, tzinfo=UTC)

LABELLED = FeatureView(
    name="labelled",
    version=1,
    entity="author",
    description="How an author's documents were labelled before",
    features=(Feature("share", "double", "share of the label x", 0, 1),),
    uses=frozenset({"training"}),
    source=Query(
        """
        select distinct
            metadata->>'author' as author,
            label_time,
            avg((label = 'x')::int) over (
                partition by metadata->>'author' order by label_time
            ) as share
        from documents
        where label is not null
        """,
        event_time="label_time",
    ),
)


def written_by(generator: Random, number: int, label: str) -> Document:
    """One of few authors, on one of few days: many are of one instant."""
    author = generator.choice([7, "ann", "bob"])
    created = START + timedelta(days=generator.randrange(5))
    name = f"d{number:02}"
    return Document(
        name, "a", f"Text {number}.", label=label, metadata={"author": author}, created_at=created
    )


@pytest.fixture
def documents(connection: postgres.Connection, load: Load) -> list[Document]:
    """Documents of which some were labelled anew after all were there."""
    generator = Random(0)
    first = [written_by(generator, number, "x") for number in range(24)]
    load(*first)
    backdate = "update documents set changed_at = created_at, observed_at = created_at"
    connection.execute(backdate + " where created_at is not null")
    generator = Random(0)
    anew = [written_by(generator, number, "xy"[number % 3 == 0]) for number in range(24)]
    load(*anew, Document("none", "a", "No author.", label="x"))
    return anew


def test_a_key_that_no_document_has_is_told(
    connection: postgres.Connection, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unheld_keys(connection) == {}
    for name, entity in (("authors", "author"), ("makers", "maker"), ("sales", "maker")):
        monkeypatch.setitem(VIEWS, name, replace(LABELLED, name=name, entity=entity))
    monkeypatch.setitem(VIEWS, "served", replace(LABELLED, entity="x", uses=frozenset()))
    assert unheld_keys(connection) == {"maker": ["makers", "sales"]}
    connection.execute("update documents set deleted_at = now()")
    assert list(unheld_keys(connection)) == ["author", "maker"]


def label_times(connection: postgres.Connection) -> dict[str, datetime]:
    query = "select document_id, greatest(changed_at, created_at, observed_at) from documents"
    return dict(connection.execute(query).fetchall())


def test_labels_that_came_later_are_found_by_computing_without_them(
    connection: postgres.Connection, duck: duckdb.Connection, documents: Sequence[Document]
) -> None:
    corpus, source = Corpus(connection, duck), LABELLED.source
    assert isinstance(source, Query)
    assert [follows_from_later(corpus, view) for view in (WRITTEN, LABELLED)] == [[], []]
    early = source.sql.replace("label_time", "event_time")
    leaking = replace(LABELLED, source=Query(early, event_time="event_time"))
    assert follows_from_later(corpus, leaking) == ["7", "ann", "bob"]


def test_the_document_itself_is_in_no_value_that_is_joined_to_it(
    connection: postgres.Connection, duck: duckdb.Connection, documents: Sequence[Document]
) -> None:
    for view in (WRITTEN, LABELLED):
        refresh_source(Corpus(connection, duck), view)
    times = label_times(connection)
    spine = pd.DataFrame({"document_id": [*times], "event_time": [*times.values()]})
    keyed = with_keys(connection, spine, (WRITTEN, LABELLED))
    joined = point_in_time_join(duck, keyed, (WRITTEN, LABELLED)).set_index("document_id")
    compared = 0
    for own in documents:
        row = joined.loc[own.document_id]
        others = [d for d in documents if d.metadata["author"] == own.metadata["author"]]
        assert own.created_at is not None
        earlier = [d for d in others if d.created_at and d.created_at < own.created_at]
        known = [d for d in others if times[d.document_id] < own.created_at]
        assert row["written__documents"] == len(earlier) or (
            pd.isna(row["written__documents"]) and not earlier
        )
        shares = [d.label == "x" for d in known]
        expected = sum(shares) / len(shares) if shares else None
        assert row["labelled__share"] == expected or (
            expected is None and pd.isna(row["labelled__share"])
        )
        compared += bool(earlier) + bool(known)
    assert compared > 15
    assert joined.loc["none"].filter(like="__").isna().all()


def test_keys_are_added_where_a_view_asks(
    connection: postgres.Connection, documents: Sequence[Document]
) -> None:
    spine = pd.DataFrame({"document_id": ["d00", "none", "gone"]}, index=[5, 3, 5])
    assert with_keys(connection, spine, [DOCUMENT_TEXT]) is spine
    found = with_keys(connection, spine, [DOCUMENT_TEXT, COLLECTION_ACTIVITY, WRITTEN])
    assert found.index.tolist() == [5, 3, 5]
    assert found["collection"].tolist() == ["a", "a", None]
    assert found["author"].tolist() == [str(documents[0].metadata["author"]), None, None]
    assert found["document_time"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("value", "entity"),
    [(7, "7"), (7.0, "7"), (7.5, "7.5"), (True, "true"), ("7.0", "7.0"), ("", ""), (None, None)],
)
def test_a_value_of_metadata_is_an_entity(value: object, entity: str | None) -> None:
    assert entity_of(value) == entity
