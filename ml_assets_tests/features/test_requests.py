"""What is computed from a request is what is computed of a document, to the last bit."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ml_assets
from ml_assets.documents.model import Document
from ml_assets.errors import SourceError
from ml_assets.features import Table
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.offline import refresh_source
from ml_assets.features.requests import describe_rows, request_features
from ml_assets.features.sources.corpus import Corpus
from ml_assets.features.views import VIEWS
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, online, postgres
from ml_assets.stores.online import Reading, Row
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import DOCUMENTS, Load
from ml_assets_tests.features.own_views import AUTHORS, SHOUTING, STATS, current

TITLED = Document("titled", "a", "def f(x):\n    return x", title="Über f")


def test_a_request_is_described_as_a_document_is(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    documents = [*DOCUMENTS, TITLED]
    load(*documents)
    refresh_document_features(connection, duck, SPACE.space_id)
    refresh_source(Corpus(connection, duck), SHOUTING)
    ids = [document.document_id for document in documents]
    rows = [{"title": document.title, "text": document.text} for document in documents]
    for view, unknown in ((DOCUMENT_TEXT, {"nearest_distance"}), (SHOUTING, set())):
        offline = current(duck, view)
        computed = request_features(view, rows)
        assert computed is not None
        for place, name in enumerate(ids):
            for column in set(view.columns) - unknown:
                assert computed[column][place] == offline[name][column]


def test_what_is_stored_cannot_be_computed() -> None:
    rows = [{"title": "", "text": "A."}]
    assert request_features(AUTHORS, rows) is None
    assert request_features(replace(STATS, source=Table("a.csv", "author", "at")), rows) is None
    assert request_features(SHOUTING, [{"text": "A."}]) is None


def test_a_session_computes_and_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for view in (AUTHORS, SHOUTING):
        monkeypatch.setitem(VIEWS, view.name, view)
    with online.connect(None, tmp_path) as store:
        store.put_many(AUTHORS.key, {"7": Row({"documents": 3, "share_x": 0.5}, "r")})
    with ml_assets.open(Settings(home=tmp_path)) as session:
        found = session.features_of("ONE two", metadata={"author": 7.0})
        assert (found["authors__documents"], found["authors__share_x"]) == (3, 0.5)
        assert (found["shouting__capitals"], found["document_text__words"]) == (3, 2)
        assert found["document_text__nearest_distance"] is None
        unknown = session.features_of("ONE two", metadata={"author": "nobody"})
        assert unknown == {**found, **dict.fromkeys(AUTHORS.qualified)}
        own = {"author": 7, "text": "Another.", "title": "Another"}
        found = session.features_of("ONE two", metadata=own)
        assert found["shouting__capitals"] == 3, "metadata are not the text"
        with pytest.raises(SourceError, match="the text is empty"):
            session.features_of(" ")


def test_why_something_is_not_known_is_told_of_each_row(tmp_path: Path) -> None:
    ended = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    rows = [{"title": "", "text": "A.", **own} for own in ({"author": 7}, {}, {"author": "bob"})]
    rows += [{"title": "", "text": "B.", "author": name} for name in ("old", "bob", None)]
    asked: list[Sequence[str]] = []
    with online.connect(None, tmp_path) as store:
        store.put_many(AUTHORS.key, {"7": Row({"documents": 3}, "r"), "old": Row({}, "r", ended)})

        def read(key: str, entities: Sequence[str]) -> Reading:
            asked.append(entities)
            return store.get_many(key, entities)

        hidden = replace(AUTHORS, name="hidden", uses=frozenset({"monitoring"}))
        described = describe_rows([SHOUTING, AUTHORS, hidden], rows, read)
        nobody = describe_rows([AUTHORS], [{"title": "", "text": "A."}], read)
    assert described.values["authors__documents"] == [3, *[None] * 5]
    assert described.values["shouting__capitals"] == [1] * 6
    assert described.values["hidden__documents"] == [None] * 6
    assert [row.get("authors") for row in described.unknown] == [
        None,
        "no author was given",
        "there are no values of 'bob'",
        "the values of 'old' held till 2026-03-29 01:30:00 UTC",
        "there are no values of 'bob'",
        "no author was given",
    ]
    assert {row["hidden"] for row in described.unknown} == {"it is not for serving"}
    assert asked == [["7", "bob", "old"]], "each once, and in one request"
    assert nobody.unknown == [{"authors": "no author was given"}]
