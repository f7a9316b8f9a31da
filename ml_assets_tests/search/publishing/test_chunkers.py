"""A changed chunk size builds a generation beside what serves, which is published or refused."""

from dataclasses import dataclass, field

import pytest

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.space import current_model
from ml_assets.errors import GateError
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.evaluation.measuring import measure_generation
from ml_assets.search.generation import chunkers_beside, ensure_generation
from ml_assets.search.indexes.kinds import Indexes, generation_parameters
from ml_assets.search.model import Generation
from ml_assets.search.publishing.lifecycle import drop_expired, generations_to_sync
from ml_assets.search.publishing.listing import list_generations
from ml_assets.search.publishing.publish import publish_measured
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource
from ml_assets_tests.search.corpus import sync_all
from ml_assets_tests.search.measurements import age_releases, back, served

TOKENIZER = current_model(load_settings()).tokenizer_file
WIDE = Chunker(TOKENIZER, 64, tokens=40, overlap=4)
NARROW = Chunker(TOKENIZER, 64, tokens=16, overlap=4)
MIDDLE = Chunker(TOKENIZER, 64, tokens=24, overlap=4)
NEWER = Chunker(TOKENIZER, 62, tokens=40, overlap=4)
"""As another version of the code would cut: no chunker of today is like it."""


def documents(*names: str) -> list[Document]:
    return [
        Document(name, "a", " ".join(f"{name}{number} word." for number in range(12)))
        for name in names
    ]


@dataclass
class World:
    """One deployment, whose settings name another chunker in every run."""

    connection: postgres.Connection
    settings: Settings
    encoder: HashEncoder = field(default_factory=HashEncoder)

    def prepare(self, chunker: Chunker, *names: str) -> Generation:
        """Documents, chunks and vectors, as a run makes them before it comes to the indexes."""
        refresh_documents(self.connection, MemorySource(documents(*names)), ["a"])
        beside = chunkers_beside(self.connection, chunker, SPACE.space_id)
        refresh_chunks(self.connection, chunker, ["a"], beside=beside)
        refresh_embeddings(self.connection, SPACE, lambda: self.encoder, ["a"])
        parameters = generation_parameters(self.settings, chunker)
        return ensure_generation(self.connection, SPACE.space_id, parameters)

    def run(self, chunker: Chunker, *names: str, min_recall: float = 0.95) -> Generation:
        """A whole run."""
        generation = self.prepare(chunker, *names)
        for each in generations_to_sync(self.connection, generation):
            sync_all(self.connection, self.settings, each)
        indexes = Indexes(self.settings.model_copy(update={"min_recall": min_recall}))
        measure_generation(self.connection, indexes, generation, None, lambda: self.encoder)
        publish_measured(self.connection, indexes, generation.generation_id, None, "run")
        return generation

    def found(self, text: str) -> tuple[str, int, str]:
        """The first document for a word, the length of the chunk that shows it, who answered."""
        with open_engine(self.connection, Indexes(self.settings)) as engine:
            result = search(engine, text, None, method="keyword")
            lengths = [hit.end_offset - hit.start_offset for hit in result.hits]
            names = [hit.document_id for hit in result.hits]
            return " ".join(names), max(lengths, default=0), engine.generation.generation_id


@pytest.fixture
def world(connection: postgres.Connection, settings: Settings) -> World:
    return World(connection, settings)


def test_another_chunk_size_is_built_beside_what_serves_and_goes_back(world: World) -> None:
    first = world.run(WIDE, "ant", "bee")
    before = world.found("ant3")
    encoded = len(world.encoder.texts)

    # Killed before any index was built.
    second = world.prepare(NARROW, "ant", "bee")
    assert len(world.encoder.texts) > encoded
    assert world.found("ant3") == before
    assert served(world.connection) == first.generation_id != second.generation_id
    assert (first.chunker, second.chunker) == (WIDE.fingerprint, NARROW.fingerprint)

    # A gate refuses: what serves gets its increments all the same, and loses what went.
    with pytest.raises(GateError, match="is too low"):
        world.run(NARROW, "bee", "cat", min_recall=1.1)
    assert served(world.connection) == first.generation_id
    assert world.found("cat3")[::2] == ("cat", first.generation_id)
    assert world.found("ant3")[0] == ""

    world.run(NARROW, "bee", "cat")
    assert served(world.connection) == second.generation_id
    narrow = world.found("cat3")
    assert narrow[::2] == ("cat", second.generation_id)
    assert narrow[1] < before[1]
    (newest, oldest) = list_generations(world.connection, world.settings, "")
    assert oldest.differs["chunking.tokens"] == 40
    assert newest.indexes == oldest.indexes == ["chroma", "keyword", "pgvector"]

    # What is retired and kept follows, so that the way back is open at once.
    world.run(NARROW, "bee", "cat", "dog")
    encoded = len(world.encoder.texts)
    back(world.connection, world.settings, "worse")
    assert served(world.connection) == first.generation_id
    assert world.found("dog3")[::2] == ("dog", first.generation_id)
    world.run(WIDE, "bee", "cat", "dog")
    assert len(world.encoder.texts) == encoded
    assert served(world.connection) == first.generation_id


def tables(world: World) -> list[str]:
    rows = world.connection.execute(
        "select relname from pg_class where relkind = 'p' and relname ~ '^(chunks|document)_'"
        " or relname ~ '^hnsw.*' and relkind = 'I' order by 1"
    )
    return [name for (name,) in rows]


def test_chunks_and_vectors_go_with_the_last_generation_that_reads_them(world: World) -> None:
    settings = world.settings.model_copy(update={"keep_generations_days": 7})
    first = world.run(WIDE, "ant", "bee")
    alone = tables(world)
    second = world.run(NARROW, "ant", "bee")
    indexes = Indexes(settings)
    assert drop_expired(world.connection, indexes, second) == ([], [])
    age_releases(world.connection, 8)
    assert drop_expired(world.connection, indexes, second) == ([first.generation_id], [])
    others = [name.replace(WIDE.fingerprint, NARROW.fingerprint) for name in alone]
    assert tables(world) == sorted(others)
    rows = world.connection.execute("select chunker from chunkers").fetchall()
    assert rows == [(NARROW.fingerprint,)]
    assert world.found("ant3")[0] == "ant"
    # One that was refused is kept as long; chunks of which nothing was built go at once.
    world.prepare(NEWER, "ant", "bee")
    world.connection.execute(
        "delete from search_generations where dropped_at is null and generation_id <> %s",
        [second.generation_id],
    )
    refused = world.prepare(MIDDLE, "ant", "bee")
    assert drop_expired(world.connection, indexes, second) == ([], [])
    assert len(tables(world)) == len(others) + 2
    world.connection.execute("update search_generations set created_at = now() - interval '8 days'")
    assert drop_expired(world.connection, indexes, second) == ([refused.generation_id], [])
    assert tables(world) == sorted(others)


def test_what_a_chunker_of_another_version_made_goes_with_its_document(world: World) -> None:
    """It cannot be made here; what is left of it is told before it is served again."""
    world.run(NEWER, "ant", "bee")
    second = world.run(WIDE, "ant", "bee")
    world.run(WIDE, "ant", "cat")
    wanted = (
        r"lacks the vectors of 1 of 2 live documents\. Set ML_ASSETS_EMBEDDING_MODEL to 'hash',"
        r" ML_ASSETS_CHUNK_OVERLAP to 4, ML_ASSETS_CHUNK_TOKENS to 40 and run"
    )
    with pytest.raises(GateError, match=wanted):
        back(world.connection, world.settings, "worse")
    assert served(world.connection) == second.generation_id
