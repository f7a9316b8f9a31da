"""What another hand can do to the stores of a home, in tables, and how it is done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ml_assets.registry.versions import champion
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.keyword.spelling import VERSION
from ml_assets.search.model import Generation
from ml_assets.stores import chroma, duckdb, mlflow, postgres
from ml_assets.training.experiments import read_candidates
from ml_assets.training.model import Candidate
from ml_assets.training.training_set import current_training_set
from ml_assets_tests.integration.dying import Place

CHANGED = "The stores were changed since the last run"


@dataclass(frozen=True)
class Kind:
    """What is done by hand to which store, and what the next run says of it, as a pattern."""

    by_hand: str
    told: str


BY_REPAIR = {
    "releases": (
        Kind(
            "postgres: update releases set model_version = 99 where upper_inf(served)",
            r"releases_are_as_logged: altered_releases 1",
        ),
        Kind("postgres: delete from releases where not upper_inf(served)", r"missing_releases 1"),
    ),
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
            "duckdb: update features_document_text_v2 set words = words + 1"
            " where entity_id = 'space-1'",
            r"document_features_are_as_computed",
        ),
        Kind(
            "duckdb: update features_collection_activity_v1 set chunk_count = chunk_count + 1",
            r"collection_features_are_as_computed",
        ),
        Kind(
            "duckdb: delete from features_document_text_v2 where entity_id = 'space-2'",
            r"every_document_has_one_row: .*without_row_in_document_text_v2 1",
        ),
        Kind(
            "duckdb: insert into features_document_text_v2"
            " select * from features_document_text_v2 where entity_id = 'space-5'",
            r"every_document_has_one_row: .*with_several_in_document_text_v2 1",
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


BY_RUN = {
    "deleted": (
        Kind(
            "postgres: delete from document_embeddings where chunk_id = 'space-5#0'",
            r"embedded new +1 ",
        ),
        Kind("postgres: delete from search_generations", CHANGED),
        Kind("chroma: without space-6#0", r"chroma index +[1-9]"),
        Kind("keyword: without space-7#0", r"keyword index +[1-9]"),
        Kind("pgvector: drop index", CHANGED),
        Kind("duckdb: delete from features_collection_activity_v1", CHANGED),
        Kind("duckdb: delete from experiment_performance", CHANGED),
        Kind("sqlite: delete from online_features where entity_id = 'space-8'", CHANGED),
        Kind("mlflow: delete from registered_model_aliases where alias = 'champion'", CHANGED),
        Kind("artifacts: 0 conda.yaml deleted", r"training +[1-9]"),
        Kind("artifacts: 1 model.skops deleted", r"training +[1-9]"),
        Kind("artifacts: champion test_confusion.png deleted", r"training +[1-9]"),
    ),
    "altered": (
        Kind("postgres: update embedding_spaces set definition = '{}'", CHANGED),
        Kind("postgres: update feature_definitions set fingerprint = 'x'", CHANGED),
        Kind(
            "postgres: update search_generations set parameters = parameters - 'chroma',"
            ' fusion = \'{"method": "rrf"}\'',
            CHANGED,
        ),
        Kind("pgvector: another graph", CHANGED),
        Kind("artifacts: 0 MLmodel altered", r"training +[1-9]"),
        Kind("artifacts: 1 model.skops cut", r"training +[1-9]"),
        Kind("artifacts: champion model.onnx altered", r"training +[1-9]"),
    ),
    "altered otherwise": (
        Kind(
            "postgres: update search_generations set"
            " measured = jsonb_set(measured, '{tuning,fusion,keyword_weight}', '0.9'),"
            " evaluation = jsonb_set(evaluation, '{recall,chroma}', '0.1')",
            CHANGED,
        ),
        Kind("postgres: update search_generations set dropped_at = now()", CHANGED),
        Kind("artifacts: 0 requirements.txt altered", r"training +[1-9]"),
        Kind("artifacts: 1 test_calibration.png altered", r"training +[1-9]"),
    ),
    "doubled": (
        Kind(
            "sqlite: insert into online_features select build, 'ghost', revision, features"
            " from online_features where entity_id = 'space-9'",
            CHANGED,
        ),
        Kind("chroma: ghost#0 beside garden-8#0", r"chroma index +[1-9]"),
    ),
}
"""What a run makes again from what it follows from, without being asked for."""


GRAPHS = (
    "select relname, pg_get_indexdef(pg_class.oid) from pg_class join pg_am on pg_am.oid = relam"
    " where amname = 'hnsw' and not relispartition"
)


KINDS = (
    ("row", "deleted", "delete from documents where document_id = 'kitchen-3'"),
    ("row", "altered", "update documents set text = 'Not so.'"),
    ("row", "doubled", "select 'twin', collection"),
    ("chunk", "deleted", "delete from chunks"),
    ("chunk", "altered", "update chunks set text"),
    ("chunk", "doubled", "'garden-3#9'"),
    ("vector", "deleted", "delete from document_embeddings"),
    ("vector", "altered", "update document_embeddings set embedding = embedding + embedding"),
    (
        "vector",
        "doubled",
        "integration/test_corruption.py :: test_what_the_keys_of_tables_refuse",
    ),
    ("index entry", "deleted", "chroma: without space-6#0"),
    ("index entry", "altered", "chroma: garden-5#0 with the vector of garden-6#0"),
    ("index entry", "doubled", "chroma: ghost#0 beside garden-8#0"),
    ("pointer", "deleted", "delete from releases"),
    ("pointer", "altered", "update releases set model_version"),
    (
        "pointer",
        "doubled",
        "releases/test_quality.py :: test_a_doubled_release_is_refused",
    ),
    ("artifact", "deleted", "artifacts: 1 model.skops deleted"),
    ("artifact", "altered", "artifacts: champion model.onnx altered"),
    ("artifact", "cut short", "artifacts: 1 model.skops cut"),
    (
        "retired generation",
        "deleted",
        "search/publishing/test_quality.py :: test_a_retired_one_is_written_again",
    ),
    (
        "retired generation",
        "altered",
        "integration/test_corruption.py :: test_a_retired_generation_is_told",
    ),
    ("audit entry", "deleted", "delete from model_audit_logs"),
    ("audit entry", "altered", "update model_audit_logs set actor"),
    ("audit entry", "doubled", "insert into model_audit_logs"),
    ("online value", "deleted", "delete from online_features"),
    ("online value", "altered", "update online_features"),
    ("online value", "doubled", "insert into online_features"),
)
"""The kinds of damage by hand: thing, deed, and what is done, or the test that shows it refused.

A second copy of an artifact is a file that nothing reads; one that is cut short stands in its
place.
"""


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
        case "pgvector":
            alter_vector_index(place, what)
        case "artifacts":
            alter_artifact(place, *what.split())
        case "chroma":
            with chroma.connect(None, place.home) as client:
                every = client.list_collections()
                (graph,) = (each for each in every if not each.name.endswith("-copies"))
                alter_collection(graph, what)


def alter_keyword_index(place: Place, what: str) -> None:
    (folder,) = (path for path in place.home.glob("keyword/*") if path.is_dir())
    generation = Generation(folder.name, "", 0, {"keyword": {"layout": VERSION}})
    with closing(KeywordIndex(folder.parent, generation)) as index:
        mark = index.mark()
        index.remove([what.split()[-1]])
        index.set_mark(mark)


def alter_vector_index(place: Place, what: str) -> None:
    with postgres.connect(None, place.home) as connection:
        for name, definition in connection.execute(GRAPHS).fetchall():
            connection.execute(f'drop index "{name}"')
            if what == "another graph":
                assert "m='16'" in definition
                connection.execute(definition.replace("m='16'", "m='4'"))


def alter_artifact(place: Place, whose: str, name: str, what: str) -> None:
    """Of the candidate of that number, or of the champion."""
    folder = place.home / mlflow.FOLDER
    with postgres.connect(None, place.home) as connection:
        if whose == "champion":
            version = champion(connection)
            assert version
            candidate = version.candidate
        else:
            candidate = candidates(connection, place.home)[int(whose)]
    file, *_ = (folder / path for path in candidate.files if path.endswith(f"/{name}"))
    content = file.read_bytes()
    match what:
        case "deleted":
            file.unlink()
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "altered":
            file.write_bytes(content[:-3] + b"\n#\n")


def candidates(connection: postgres.Connection, home: Path) -> list[Candidate]:
    with duckdb.connect(home / "offline.duckdb") as duck:
        current = current_training_set(duck)
    assert current
    return read_candidates(connection, current.hash)


def alter_collection(collection: Any, what: str) -> None:
    match what.split():
        case ["without", chunk]:
            collection.delete(ids=[chunk])
        case [chunk, "without", "metadata"]:
            collection.update(ids=[chunk], metadatas=[{"collection": None}])
        case [chunk, "with", "the", "vector", "of", other]:
            vectors = collection.get(ids=[other], include=["embeddings"])["embeddings"]
            collection.update(ids=[chunk], embeddings=vectors)
        case [ghost, *place, chunk]:
            entry = collection.get(ids=[chunk], include=["embeddings", "metadatas"])
            if place != ["beside"]:
                collection.delete(ids=[chunk])
            kept = {"embeddings": entry["embeddings"], "metadatas": entry["metadatas"]}
            collection.add(ids=[ghost], **kept)


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
