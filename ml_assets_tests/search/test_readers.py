"""A reader in a tight loop, while generations are published and rolled back from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from ml_assets.search.engine import open_engine, search
from ml_assets.search.generation import find_generation, publish, record_evaluation
from ml_assets.search.lifecycle import rollback
from ml_assets.search.model import Engine, Generation
from ml_assets.search.publishing import publish_gated
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.corpus import fill, generation_of
from ml_assets_tests.search.test_engine import sync_all
from ml_assets_tests.search.test_lifecycle import DOCS, GOOD, OLD, embed_in_old_space

ROUNDS = 8
QUERY = "text number 7"

Scores = dict[str, float]


@pytest.fixture
def two(connection: postgres.Connection, settings: Settings) -> dict[str, HashEncoder]:
    """Two generations in two spaces, both full, and the encoder of each: no score is alike."""
    fill(connection, DOCS)
    embed_in_old_space(connection)
    encoders = {}
    for encoder in (HashEncoder(OLD), HashEncoder()):
        one = generation_of(connection, settings, encoder.space)
        sync_all(connection, settings, one)
        record_evaluation(connection, one.generation_id, GOOD)
        publish(connection, one.generation_id, GOOD, "run", "run")
        encoders[one.generation_id] = encoder
    return encoders


def answer(engine: Engine, encoder: HashEncoder) -> tuple[str, Scores]:
    """Who answers, and all that it finds, by vector alone: the other has other scores."""
    found = search(engine, QUERY, encoder, k=10, method="vector")
    return found.generation_id, {hit.document_id: round(hit.score, 3) for hit in found.hits}


class Reader:
    """Opens what is published and searches it, again and again, in a thread of its own."""

    def __init__(
        self, url: str, settings: Settings, encoders: dict[str, HashEncoder], kind: str
    ) -> None:
        self.seen: list[tuple[str, Scores]] = []
        self.errors: list[BaseException] = []
        self._done = Event()
        chosen = settings.model_copy(update={"vector_index": kind})

        def read() -> None:
            try:
                with postgres.connect(url, Path()) as connection:
                    while not self._done.is_set():
                        with open_engine(connection, chosen) as engine:
                            identity = engine.generation.generation_id
                            self.seen.append(answer(engine, encoders[identity]))
                            words = search(engine, QUERY, None, method="keyword", k=1)
                            assert words.hits
            except BaseException as error:  # noqa: BLE001 - whatever a reader sees is a failure
                self.errors.append(error)

        self._thread = Thread(target=read)

    @contextmanager
    def reading(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._done.set()
            self._thread.join()


@pytest.mark.parametrize("kind", ["pgvector", "chroma"])
def test_a_reader_sees_one_generation_whole_or_the_other(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    two: dict[str, HashEncoder],
    kind: str,
) -> None:
    first, second = two
    chosen = settings.model_copy(update={"vector_index": kind})
    alone: dict[str, Scores] = {}
    for identity, encoder in two.items():
        with open_engine(connection, chosen, find_generation(connection, identity)) as engine:
            alone[identity] = answer(engine, encoder)[1]
    assert len(alone[first]) == len(alone[second]) == 10
    assert set(alone[first].items()).isdisjoint(set(alone[second].items()) - {("d7", 1.0)})

    reader = Reader(postgres_url, settings, two, kind)
    with reader.reading():
        for _ in range(ROUNDS):
            rollback(connection, settings, "there", first)
            publish_gated(connection, settings, second, "and back")
    assert not reader.errors
    assert {identity for identity, _ in reader.seen} == {first, second}
    assert [one for one in reader.seen if one[1] != alone[one[0]]] == []


def test_an_engine_that_was_open_before_the_flip_goes_on(
    connection: postgres.Connection, settings: Settings, two: dict[str, HashEncoder]
) -> None:
    first, second = two
    with open_engine(connection, settings) as engine:
        before = answer(engine, two[second])
        assert before[0] == second
        rollback(connection, settings, "it got worse")
        assert answer(engine, two[second]) == before
    with open_engine(connection, settings) as engine:
        assert answer(engine, two[first])[0] == first


def test_a_mixed_result_would_be_seen(
    connection: postgres.Connection, settings: Settings, two: dict[str, HashEncoder]
) -> None:
    """The scores of one generation's vectors, asked with the other's query, are neither's."""
    first, second = two
    engines: dict[str, Generation] = {
        identity: find_generation(connection, identity) for identity in two
    }
    with open_engine(connection, settings, engines[first]) as engine:
        mixed = replace(engine, generation=engines[second])
        assert answer(mixed, two[second]) != (second, answer(engine, two[first])[1])
        asked = {hit for hit in answer(mixed, two[second])[1].items() if hit[0] != "d7"}
        assert asked.isdisjoint(answer(engine, two[first])[1].items())
