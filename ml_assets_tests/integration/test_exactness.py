"""Any sequence of edits ends in exactly the state of a build from scratch, in every store."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from chromadb.api.models.Collection import Collection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Cursor

from ml_assets.documents import staging
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.quality import damaged_chunks, damaged_documents
from ml_assets.embeddings.encoder import Encoder, load_encoder
from ml_assets.embeddings.quality import altered_vectors, unmatched
from ml_assets.embeddings.space import VectorSpace, current_model, current_space
from ml_assets.features import offline
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets.stores.online import sqlite
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource, other_space, unplugged
from ml_assets_tests.integration.stores import (
    empty_stores,
    read_stores,
    read_tables,
    refresh_stores,
)

TOKENIZER = current_model(load_settings()).tokenizer_file
CHUNKERS = (
    Chunker(TOKENIZER, 40, tokens=16, overlap=4),
    Chunker(TOKENIZER, 80, tokens=60, overlap=8),
)
SPACES = (SPACE, other_space())
NAMES = [f"d{number}" for number in range(6)]
COLLECTIONS = ["a", "b"]
SENTENCE = "Seven words make up this short sentence."
DEATHS = {
    "reading": (staging, "content_hash"),
    "a statement": (Cursor, "execute"),
    "copying": (postgres, "copy_rows"),
    "encoding": (HashEncoder, "encode"),
    "chroma": (Collection, "upsert"),
    "keyword": (KeywordIndex, "_commit"),
    "features": (offline, "statement"),
    "online": (sqlite, "pack"),
}
"""What a killed process had called some times, often within a transaction."""


@dataclass
class World:
    """The documents as they are now, and how they are to be read, cut and embedded."""

    documents: dict[str, Document]
    chunker: int = 0
    space: int = 0
    spaces: Sequence[VectorSpace] = SPACES
    load: Callable[[VectorSpace], Encoder] = HashEncoder
    unreadable: set[str] = field(default_factory=set)

    @property
    def source(self) -> MemorySource:
        rows = sorted(self.documents.values(), key=lambda one: one.document_id)
        return unplugged(MemorySource(rows), *self.unreadable)

    @property
    def vector_space(self) -> VectorSpace:
        return self.spaces[self.space]

    def change(self, name: str, **changes: Any) -> None:
        if name in self.documents:
            self.documents[name] = replace(self.documents[name], **changes)


class KilledError(BaseException):
    """The process dies here."""


texts = st.integers(1, 12).map(lambda count: " ".join([SENTENCE] * count)) | st.sampled_from(
    ["Same text.", "Other text.", "One\n\nTwo\n\nThree"]
)
names = st.sampled_from(NAMES)
collections = st.sampled_from(COLLECTIONS)
added = st.tuples(st.just("add"), names, collections, texts, st.booleans())
operations = st.lists(
    added
    | added
    | added
    | st.tuples(st.just("edit"), names, texts)
    | st.tuples(st.just("shrink"), names)
    | st.tuples(st.just("delete"), names)
    | st.tuples(st.just("rename"), names, names)
    | st.tuples(st.just("duplicate"), names, names)
    | st.tuples(st.just("move"), names, collections)
    | st.tuples(st.just("drop"), collections)
    | st.tuples(st.just("unplug"), collections)
    | st.tuples(st.just("chunker"), st.integers(0, 1))
    | st.tuples(st.just("space"), st.integers(0, 1))
    | st.tuples(st.just("refresh"))
    | st.tuples(st.just("killed"), st.sampled_from(sorted(DEATHS)), st.integers(1, 9))
    | st.tuples(st.just("killed"), st.just("a statement"), st.integers(10, 60)),
    min_size=3,
    max_size=16,
)


def apply(world: World, operation: Sequence[Any]) -> None:
    match operation:
        case "add", name, collection, text, titled:
            title = f"About {name}" if titled else ""
            world.documents[name] = Document(name, collection, text, title, label="l")
        case "edit", name, text:
            world.change(name, text=text)
        case "shrink", name if name in world.documents:
            text = world.documents[name].text
            world.change(name, text=text[: max(1, len(text) // 3)])
        case "delete", name:
            world.documents.pop(name, None)
        case "rename", old, new if old in world.documents:
            world.documents[new] = replace(world.documents.pop(old), document_id=new)
        case "duplicate", one, other if one in world.documents:
            world.change(other, text=world.documents[one].text, title=world.documents[one].title)
        case "move", name, collection:
            world.change(name, collection=collection)
        case "drop", collection:
            kept = world.documents.items()
            world.documents = {n: d for n, d in kept if d.collection != collection}
        case "unplug", collection:
            world.unreadable = {collection}
        case ("plug",):
            world.unreadable = set()
        case "chunker", number:
            world.chunker = number
        case "space", number:
            world.space = number % len(world.spaces)


def refresh(connection: postgres.Connection, home: Path, world: World) -> None:
    space = world.vector_space
    chunker = CHUNKERS[world.chunker]
    refresh_stores(connection, home, world.source, chunker, space, lambda: world.load(space))


def killed(place: str, times: int) -> Any:
    """Until the end of the block, the `times`-th call of a place is the last."""
    owner, name = DEATHS[place]
    calls = iter(range(times - 1))
    function = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls, None) is None:
            raise KilledError
        return function(*args, **kwargs)

    return mock.patch.object(owner, name, dying)


def live(connection: postgres.Connection, collections: set[str]) -> set[str]:
    query = "select document_id from documents where deleted_at is null and collection = any(%s)"
    return {name for (name,) in connection.execute(query, [[*collections]]).fetchall()}


def live_through(
    connection: postgres.Connection, home: Path, world: World, steps: Sequence[Sequence[Any]]
) -> None:
    """Apply the steps, with the runs in between, and a last one that reads everything."""
    for step in [*steps, ("refresh",), ("plug",), ("refresh",)]:
        apply(world, step)
        if step[0] in ("refresh", "killed"):
            before = live(connection, world.unreadable)
            with suppress(KilledError), killed(*step[1:]) if step[1:] else nullcontext():
                refresh(connection, home, world)
            moved = {n for n, d in world.documents.items() if d.collection not in world.unreadable}
            # A collection without any document has nothing that fails.
            failing = {d.collection for d in world.documents.values()} & world.unreadable
            if failing:
                assert live(connection, world.unreadable) >= before - moved


def lived_and_scratch(
    server: str, world: World, steps: Sequence[Sequence[Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the stores hold after the steps, and after one run on what the steps ended with."""
    with empty_stores(server) as (connection, home):
        live_through(connection, home, world, steps)
        lived = read_stores(connection, home, world.vector_space)
        assert not unmatched(connection, world.vector_space)
        assert not altered_vectors(connection, world.vector_space)
        assert not damaged_documents(connection, whole=True)
        assert not damaged_chunks(connection, whole=True)
        refresh(connection, home, world)
        assert read_stores(connection, home, world.vector_space) == lived
    with empty_stores(server) as (connection, home):
        refresh(connection, home, world)
        return lived, read_stores(connection, home, world.vector_space)


@settings(
    max_examples=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=operations)
def test_any_history_ends_as_a_build_from_scratch(
    postgres_server: str, steps: list[tuple[Any, ...]]
) -> None:
    lived, scratch = lived_and_scratch(postgres_server, World({}), steps)
    for name, held in scratch.items():
        assert lived[name] == held, name


REAL_HISTORIES = {
    "edits": [
        *[
            ("add", f"d{n}", "ab"[n % 2], f"Note {n} tells of {n} pans and a pot.", True)
            for n in range(6)
        ],
        ("refresh",),
        ("edit", "d0", "The orbit of a comet around the sun. " * 9),
        ("duplicate", "d1", "d2"),
        ("move", "d3", "a"),
        ("delete", "d4"),
        ("killed", "encoding", 2),
        ("shrink", "d0"),
        ("rename", "d5", "d6"),
    ],
    "chunker and back": [
        *[("add", f"d{n}", "a", " ".join([SENTENCE] * (2 * n + 1)), False) for n in range(5)],
        ("killed", "copying", 6),
        ("chunker", 1),
        ("killed", "chroma", 1),
        ("unplug", "a"),
        ("chunker", 0),
    ],
}


@pytest.mark.parametrize("history", REAL_HISTORIES)
def test_the_real_encoder_ends_as_a_build_from_scratch(
    postgres_server: str, exported_models: Path, history: str
) -> None:
    model = load_settings(home=exported_models.parent)
    world = World({}, spaces=[current_space(model)], load=lambda _: load_encoder(model))
    lived, scratch = lived_and_scratch(postgres_server, world, REAL_HISTORIES[history])
    assert len(scratch["vectors"]) >= 5
    for name, held in scratch.items():
        # Which texts share a batch moves the last bit of a vector, and of what is computed from it.
        if name in ("vectors", "offline", "online"):
            assert np.allclose(numbers(lived[name]), numbers(held), atol=1e-3), name
            assert [row[:3] for row in lived[name]] == [row[:3] for row in held], name
        else:
            assert lived[name] == held, name


def numbers(rows: Sequence[Sequence[Any]]) -> list[list[float]]:
    """Every number of the rows, those of vectors included."""
    parsed = [[json.loads(v) if str(v).startswith("[") else v for v in row] for row in rows]
    return [
        [
            float(number)
            for value in row
            for number in np.ravel(value)
            if isinstance(number, float | int | np.number)
        ]
        for row in parsed
    ]


def test_the_comparison_sees_a_difference(postgres_server: str) -> None:
    world = World({"x": Document("x", "a", "One.")})
    with empty_stores(postgres_server) as (connection, home):
        refresh(connection, home, world)
        before = read_stores(connection, home, SPACE)
        connection.execute("update chunks set token_count = token_count + 1")
        assert read_tables(connection, SPACE)["chunks"] != before["chunks"]
    assert before["pgvector"] == before["chroma"] == before["keyword"] == {"x#0"}
    assert before["offline"] == before["online"] != []
