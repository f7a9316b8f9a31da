"""What another hand did to the stores is told by the next run, and repaired as that says."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.keyword.spelling import VERSION
from ml_assets.search.model import Generation
from ml_assets.stores import chroma, duckdb, postgres
from ml_assets_tests.integration.dying import Place, read
from ml_assets_tests.integration.project import write_documents

pytestmark = pytest.mark.xdist_group("corruption")

CHANGED = "The stores were changed since the last run"


@dataclass(frozen=True)
class Kind:
    """What is done by hand to which store, and what the next run says of it, as a pattern."""

    by_hand: str
    told: str


BY_REPAIR = {
    "documents": (
        Kind(
            "postgres: update documents set text = 'Not so.' where document_id = 'kitchen-1'",
            r"documents_are_as_they_were_read: altered_documents 4.*kitchen-1",
        ),
        Kind(
            "postgres: update documents set title = 'Not so' where document_id = 'kitchen-2'",
            r"altered_documents 4.*kitchen-2",
        ),
        Kind(
            "postgres: update documents set label = 'music' where document_id = 'garden-1'",
            r"altered_documents 4.*garden-1",
        ),
        Kind(
            "postgres: update documents set metadata = '{\"a\": 1}' where document_id = 'garden-2'",
            r"altered_documents 4.*garden-2",
        ),
        Kind(
            "postgres: delete from documents where document_id = 'kitchen-3'",
            r"collections_with_another_number_of_documents 1.*odd",
        ),
        Kind(
            "postgres: insert into documents"
            " (document_id, collection, title, text, group_id, content_hash)"
            " select 'twin', collection, title, text, group_id, content_hash from documents"
            " where document_id = 'kitchen-4'",
            r"collections +2, 1 changed",
        ),
    ),
    "chunks": (
        Kind(
            "postgres: delete from chunks where chunk_id = 'garden-1#0'",
            r"documents_without_chunks 1.*garden-1",
        ),
        Kind(
            "postgres: update chunks set text = 'Not so.' where chunk_id = 'garden-2#0'",
            r"chunks_unlike_their_text 2.*garden-2#0",
        ),
        Kind(
            "postgres: update chunks set start_offset = 1 where chunk_id = 'garden-4#0'",
            r"chunks_unlike_their_text 2.*garden-4#0",
        ),
        Kind(
            "postgres: insert into chunks"
            " select chunker, created_at, 'garden-3#9', document_id, collection, 9,"
            " start_offset, end_offset, token_count, heading, text, text_hash"
            " from chunks where chunk_id = 'garden-3#0'",
            r"documents_with_another_number_of_chunks 1.*garden-3",
        ),
    ),
    "vectors": (
        Kind(
            "postgres: update document_embeddings set embedding ="
            " (select embedding from document_embeddings where chunk_id = 'space-1#0')"
            " where chunk_id = 'music-1#0'",
            r"vectors_are_as_they_were_encoded",
        ),
        Kind(
            "postgres: update document_embeddings set embedding = embedding + embedding"
            " where chunk_id = 'music-2#0'",
            r"vectors_have_unit_norm",
        ),
    ),
    "index entries": (
        Kind(
            "chroma: garden-5#0 with the vector of garden-6#0", r"altered_in_chroma 2.*garden-5#0"
        ),
        Kind("chroma: garden-7#0 without metadata", r"altered_in_chroma 2.*garden-7#0"),
        Kind("chroma: ghost#0 in the place of garden-8#0", r"chroma lacks 1, has 1 too many"),
    ),
    "features": (
        Kind(
            "duckdb: update features_document_text_v1 set words = words + 1"
            " where entity_id = 'space-1'",
            r"document_features_are_as_computed",
        ),
        Kind(
            "duckdb: update features_collection_activity_v1 set chunk_count = chunk_count + 1",
            r"collection_features_are_as_computed",
        ),
        Kind(
            "duckdb: delete from features_document_text_v1 where entity_id = 'space-2'",
            r"every_document_has_one_row: .*without_row_in_document_text_v1 1",
        ),
        Kind(
            "duckdb: insert into features_document_text_v1"
            " select * from features_document_text_v1 where entity_id = 'space-5'",
            r"every_document_has_one_row: .*with_several_in_document_text_v1 1",
        ),
    ),
    "what is made of features": (
        Kind(
            "sqlite: update online_features set features = '{}' where entity_id = 'space-3'",
            r"online_equals_offline",
        ),
        Kind(
            "duckdb: update training_sets set text_hash = 'x' where document_id = 'space-4'",
            r"training_set_is_as_frozen",
        ),
    ),
}
"""In stages: what blocks hides what follows from it."""

BY_RUN = (
    Kind(
        "postgres: delete from document_embeddings where chunk_id = 'space-5#0'",
        r"embedded new +1 ",
    ),
    Kind("postgres: update embedding_spaces set definition = '{}'", CHANGED),
    Kind("postgres: update feature_definitions set fingerprint = 'x'", CHANGED),
    Kind("chroma: without space-6#0", r"chroma index +[1-9]"),
    Kind("keyword: without space-7#0", r"keyword index +[1-9]"),
    Kind("duckdb: delete from features_collection_activity_v1", CHANGED),
    Kind("duckdb: delete from experiment_performance", CHANGED),
    Kind("sqlite: delete from online_features where entity_id = 'space-8'", CHANGED),
    Kind(
        "sqlite: insert into online_features select view, 'ghost', revision, features"
        " from online_features where entity_id = 'space-9'",
        CHANGED,
    ),
    Kind("mlflow: delete from registered_model_aliases where alias = 'champion'", CHANGED),
    Kind(
        "postgres: update releases set model_version = 99 where upper_inf(served)",
        r"version 99 was served",
    ),
)
"""What a run makes again from what it follows from, without being asked for."""


DEFINED = (
    "select 'space', space_id, definition from embedding_spaces union all"
    " select fingerprint, view, definition from feature_definitions order by 1, 2"
)


def by_hand(place: Place, damage: str) -> None:
    store, _, what = damage.partition(": ")
    match store:
        case "postgres":
            with postgres.connect(None, place.home) as connection, connection.transaction():
                connection.execute("set local session_replication_role = replica")
                assert connection.execute(what).rowcount > 0, what
        case "mlflow":
            with psycopg.connect(postgres.server_url(None, place.home, "mlflow")) as connection:
                assert connection.execute(what).rowcount > 0, what
        case "duckdb":
            with duckdb.connect(place.home / "offline.duckdb") as duck:
                duck.execute(what)
        case "sqlite":
            with sqlite3.connect(place.home / "online.sqlite") as online:
                assert online.execute(what).rowcount > 0, what
        case "keyword":
            alter_keyword_index(place, what)
        case "chroma":
            with chroma.connect(None, place.home) as client:
                (collection,) = client.list_collections()
                alter_collection(collection, what)


def alter_keyword_index(place: Place, what: str) -> None:
    (folder,) = (path for path in place.home.glob("keyword/*") if path.is_dir())
    generation = Generation(folder.name, "", 0, {"keyword": {"layout": VERSION}})
    with closing(KeywordIndex(folder.parent, generation)) as index:
        mark = index.mark()
        index.remove([what.split()[-1]])
        index.set_mark(mark)


def alter_collection(collection: Any, what: str) -> None:
    match what.split():
        case ["without", chunk]:
            collection.delete(ids=[chunk])
        case [chunk, "without", "metadata"]:
            collection.update(ids=[chunk], metadatas=[{"collection": None}])
        case [chunk, "with", "the", "vector", "of", other]:
            vectors = collection.get(ids=[other], include=["embeddings"])["embeddings"]
            collection.update(ids=[chunk], embeddings=vectors)
        case [ghost, "in", "the", "place", "of", chunk]:
            entry = collection.get(ids=[chunk], include=["embeddings", "metadatas"])
            collection.delete(ids=[chunk])
            kept = {"embeddings": entry["embeddings"], "metadatas": entry["metadatas"]}
            collection.add(ids=[ghost], **kept)


def stores(place: Place, home: Path | None = None) -> dict[str, Any]:
    home = home or place.home
    columns = "document_id, collection, label, metadata, group_id, created_at"
    aliases = "select alias from registered_model_aliases order by 1"
    with postgres.connect(None, home) as connection:
        query = f"select {columns} from documents where deleted_at is null order by 1"
        rows = connection.execute(query).fetchall()
        defined = connection.execute(DEFINED).fetchall()
    with psycopg.connect(postgres.server_url(None, home, "mlflow")) as connection:
        named = connection.execute(aliases).fetchall()
    with duckdb.connect(home / "offline.duckdb") as duck:
        results = duck.execute("select count(*) from experiment_performance").fetchall()
    return {
        **read(home),
        "fields": rows,
        "aliases": named,
        "results": results,
        "defined": defined,
    }


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="ml_assets-", ignore_cleanup_errors=True) as folder:
        opened = Place(Path(folder), fast=True)
        opened.folder.chmod(0o755)
        write_documents(opened.file)
        try:
            yield opened
        finally:
            for home in (opened.home, opened.folder / "restored"):
                postgres.stop(home)


@pytest.fixture(scope="module")
def sound(place: Place) -> dict[str, Any]:
    """What the stores hold after a build from scratch."""
    place.call("run")
    assert "Nothing changed" in place.call("run")
    held = stores(place)
    assert held["aliases"] == [("challenger",), ("champion",)]
    return held


def test_at_least_24_kinds_are_tried() -> None:
    """Beside those of the audit log, which only a backup repairs."""
    assert sum(map(len, BY_REPAIR.values())) + len(BY_RUN) >= 24


@pytest.mark.parametrize("stage", BY_REPAIR)
def test_what_another_hand_did_is_told_and_repaired(
    place: Place, sound: dict[str, Any], stage: str
) -> None:
    for kind in BY_REPAIR[stage]:
        by_hand(place, kind.by_hand)
    told = place.call("run", code=1)
    untold = [kind for kind in BY_REPAIR[stage] if not re.search(kind.told, told)]
    assert not untold, told
    assert "repair ml-assets repair" in told
    place.call("repair")
    assert "Nothing changed" in place.call("run")
    assert stores(place) == sound


def test_what_follows_from_other_stores_is_made_again(place: Place, sound: dict[str, Any]) -> None:
    for kind in BY_RUN:
        by_hand(place, kind.by_hand)
    told = place.call("run")
    assert not [kind for kind in BY_RUN if not re.search(kind.told, told)], told
    assert stores(place) == sound


def test_a_failed_check_is_told_until_it_passes(place: Place, sound: object) -> None:
    by_hand(place, "postgres: update documents set title = 'x' where document_id = 'space-5'")
    for _ in range(2):
        told = place.call("run", code=1)
        assert "altered_documents 1, examples space-5, repair ml-assets repair" in told
    assert "Blocking check failed documents_are_as_they_were_read" in place.call("status")
    place.call("repair")
    assert "Blocking check failed" not in place.call("status")


AUDIT = (
    "postgres: update model_audit_logs set actor = 'mallory' where action = 'promote'",
    (
        "postgres: insert into model_audit_logs (actor, action, subject, reason, details,"
        " previous_hash, entry_hash) select actor, action, subject, reason, details,"
        " previous_hash, entry_hash || '1' from model_audit_logs limit 1"
    ),
    "postgres: delete from model_audit_logs where action = 'promote'",
    "postgres: delete from model_audit_logs",
)


def test_what_was_done_to_the_audit_log_is_told_for_good(
    place: Place, sound: dict[str, Any]
) -> None:
    """The last test of this home: nothing but a backup undoes it."""
    backup, restored = place.folder / "backup", place.folder / "restored"
    place.call("run")  # to look into the stores has touched them
    place.call("backup", str(backup))
    for damage in AUDIT:
        by_hand(place, damage)
        told = place.call("run", code=1)
        assert "Blocking check failed audit_chain_is_intact" in told
        assert "ml-assets restore" in told
    place.call("restore", str(backup), home=restored)
    assert "Nothing changed" in place.call("run", home=restored)
    assert stores(place, restored) == sound
