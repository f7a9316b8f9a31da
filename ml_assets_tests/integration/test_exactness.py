"""Any sequence of edits ends in exactly the state of a build from scratch, in every store."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from psycopg import sql

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.quality import match_chunks
from ml_assets.embeddings.refresh import collections_to_refresh, refresh_embeddings
from ml_assets.embeddings.space import VectorSpace, current_model
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.offline import current_rows
from ml_assets.features.online import refresh_online
from ml_assets.features.views import DOCUMENT_TEXT, refresh_definitions
from ml_assets.search.chroma import ChromaIndex
from ml_assets.search.generation import ensure_generation, index_parameters
from ml_assets.search.keyword import KeywordIndex
from ml_assets.search.pgvector import PgvectorIndex
from ml_assets.settings import load_settings
from ml_assets.stores import chroma, duckdb, online, postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource, other_space

TOKENIZER = current_model(load_settings()).tokenizer_file
CHUNKERS = (
    Chunker(TOKENIZER, 40, tokens=16, overlap=4),
    Chunker(TOKENIZER, 80, tokens=60, overlap=8),
)
SPACES = (SPACE, other_space())
STAGES = ["documents", "chunks", "embeddings", "search"]
NAMES = [f"d{number}" for number in range(6)]
COLLECTIONS = ["a", "b"]
SENTENCE = "Seven words make up this short sentence."


@dataclass
class World:
    """The documents as they are now, and how they are to be cut and embedded."""

    documents: dict[str, Document]
    chunker: int = 0
    space: int = 0

    @property
    def source(self) -> MemorySource:
        return MemorySource(sorted(self.documents.values(), key=lambda one: one.document_id))


class Killed(BaseException):
    """The process dies here."""


class DyingEncoder(HashEncoder):
    """Dies at the third text."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.texts) + len(texts) > 2:
            raise Killed
        return super().encode(texts)


def die(now: bool, /) -> None:
    if now:
        raise Killed


texts = st.integers(1, 12).map(lambda count: " ".join([SENTENCE] * count)) | st.sampled_from(
    ["Same text.", "Other text.", "One\n\nTwo\n\nThree"]
)
written = st.tuples(
    st.just("write"), st.sampled_from(NAMES), st.sampled_from(COLLECTIONS), texts, st.booleans()
)
operations = st.lists(
    written
    | written
    | st.tuples(st.just("delete"), st.sampled_from(NAMES))
    | st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES))
    | st.tuples(st.just("drop"), st.sampled_from(COLLECTIONS))
    | st.tuples(st.just("chunker"), st.integers(0, 1))
    | st.tuples(st.just("space"), st.integers(0, 1))
    | st.tuples(st.just("refresh"))
    | st.tuples(
        st.just("killed"), st.sampled_from(["documents", "chunks", "embeddings", "search"])
    ),
    min_size=3,
    max_size=14,
)


def apply(world: World, operation: tuple[Any, ...]) -> None:
    match operation:
        case "write", name, collection, text, titled:
            title = f"About {name}" if titled else ""
            world.documents[name] = Document(name, collection, text, title, label="l")
        case "delete", name:
            world.documents.pop(name, None)
        case "rename", old, new if old in world.documents:
            world.documents[new] = replace(world.documents.pop(old), document_id=new)
        case "drop", collection:
            kept = world.documents.items()
            world.documents = {n: d for n, d in kept if d.collection != collection}
        case "chunker", number:
            world.chunker = number
        case "space", number:
            world.space = number


def refresh(
    connection: postgres.Connection,
    home: Path,
    world: World,
    killed: str = "",
) -> dict[str, Any]:
    """One whole run from the source to the online store; returns what every store then holds."""
    chunker, space, source = CHUNKERS[world.chunker], SPACES[world.space], world.source
    names = collections_to_refresh(connection, source, chunker, space)
    encoder = DyingEncoder(space) if killed == "embeddings" else HashEncoder(space)
    refresh_documents(connection, source, names, max_removed_fraction=1)
    die(killed == "documents")
    refresh_chunks(connection, chunker, names, batch=2)
    die(killed == "chunks")
    refresh_embeddings(connection, space, lambda: encoder, names, batch=2)
    die(killed == "search")
    generation = ensure_generation(connection, space.space_id, index_parameters(load_settings()))
    held: dict[str, Any] = {}
    with chroma.connect(None, home) as client, online.connect(None, home) as store:
        for index in (
            PgvectorIndex(connection, generation),
            ChromaIndex(client, generation),
            KeywordIndex(home, generation),
        ):
            index.sync(connection)
            held[index.kind] = index.ids()
            if isinstance(index, ChromaIndex | KeywordIndex):
                held[f"{index.kind} revisions"] = set(index.revisions())
            index.close()
        with duckdb.connect(home / "offline.duckdb") as duck:
            refresh_definitions(connection)
            refresh_document_features(
                connection, duck, space.space_id, known_time=datetime.now(UTC)
            )
            refresh_online(duck, store, [DOCUMENT_TEXT])
            columns = ", ".join(["entity_id", *DOCUMENT_TEXT.columns])
            rows = duck.execute(f"select {columns} from ({current_rows(DOCUMENT_TEXT)}) order by 1")
            held["offline"] = rounded(rows.fetchall())
        ids = sorted(store.ids(DOCUMENT_TEXT.key))
        values = store.get_many(DOCUMENT_TEXT.key, ids)
        held["online"] = rounded([(name, *values[name].values()) for name in ids])
    return {**held, **tables(connection, space)}


def rounded(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [
        tuple(round(value, 9) if isinstance(value, float) else value for value in row)
        for row in rows
    ]


def tables(connection: postgres.Connection, space: VectorSpace) -> dict[str, Any]:
    queries = {
        "documents": "select document_id, collection, title, text, label, content_hash"
        " from documents where deleted_at is null order by 1",
        "chunks": "select chunk_id, collection, start_offset, end_offset, token_count, heading,"
        " text, text_hash from chunks order by 1",
        "vectors": "select chunk_id, collection, text_hash, embedding::text from"
        " document_embeddings where space_id = %(space_id)s order by 1",
    }
    return {
        name: postgres.run(connection, query, {"space_id": space.space_id}).fetchall()
        for name, query in queries.items()
    }


@contextmanager
def stores(server: str) -> Iterator[tuple[postgres.Connection, Path]]:
    """An empty database and an empty home, gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    home = Path(tempfile.mkdtemp())
    try:
        with postgres.connect(postgres.server_url(server, home, name), home) as connection:
            yield connection, home
    finally:
        shutil.rmtree(home)
        with postgres.psycopg.connect(server, autocommit=True) as connection:
            drop = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            connection.execute(drop)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=operations)
def test_any_history_ends_as_a_build_from_scratch(
    postgres_server: str, steps: list[tuple[Any, ...]]
) -> None:
    world = World({})
    with stores(postgres_server) as (connection, home):
        for step in steps:
            apply(world, step)
            if step[0] == "refresh":
                refresh(connection, home, world)
            elif step[0] == "killed":
                with suppress(Killed):
                    refresh(connection, home, world, killed=step[1])
        lived = refresh(connection, home, world)
        assert refresh(connection, home, world) == lived
        assert not any(
            wrong
            for name, wrong in match_chunks(connection, SPACES[world.space]).items()
            if name not in ("chunks", "vectors")
        )
    with stores(postgres_server) as (connection, home):
        scratch = refresh(connection, home, world)
    for name, held in scratch.items():
        assert lived[name] == held, name


def test_the_comparison_sees_a_difference(postgres_server: str) -> None:
    world = World({"x": Document("x", "a", "One.")})
    with stores(postgres_server) as (connection, home):
        before = refresh(connection, home, world)
        connection.execute("update chunks set token_count = token_count + 1")
        assert tables(connection, SPACE)["chunks"] != before["chunks"]
    assert before["pgvector"] == before["chroma"] == before["keyword"] == {"x#0"}
    assert before["offline"] == before["online"] != []
