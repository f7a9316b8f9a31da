"""A reader in a tight loop, while generations are published and rolled back from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from threading import Event, Thread

import pytest

from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.answering.model import METHODS, Engine, Method
from ml_assets.search.evaluation.measurement import record_measurement
from ml_assets.search.generation import find_generation
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.publishing.publish import publish_by_hand
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.corpus import fill, generation_of, sync_all
from ml_assets_tests.search.generations import DOCS, OLD, embed_in_old_space
from ml_assets_tests.search.measurements import back, measurement, publish

ROUNDS = 8
QUERY = "text number 7"

Scores = dict[str, float]
Answer = tuple[Method, str, Scores]
"""By which method, by which generation, and what was found."""


@pytest.fixture
def two(connection: postgres.Connection, settings: Settings) -> dict[str, HashEncoder]:
    """Two generations in two spaces, both full, and the encoder of each: no score is alike."""
    fill(connection, DOCS)
    embed_in_old_space(connection)
    encoders = {}
    for encoder in (HashEncoder(OLD), HashEncoder()):
        one = generation_of(connection, settings, encoder.space)
        sync_all(connection, settings, one)
        record_measurement(connection, one.generation_id, measurement())
        publish(connection, one)
        encoders[one.generation_id] = encoder
    return encoders


def answer(engine: Engine, encoder: HashEncoder, method: Method = "vector") -> tuple[str, Scores]:
    """Who answers, and all that it finds; by vector alone the other has other scores."""
    found = search(engine, QUERY, encoder, k=10, method=method)
    return found.generation_id, {hit.document_id: round(hit.score, 3) for hit in found.hits}


def read(
    url: str,
    settings: Settings,
    encoders: Mapping[str, HashEncoder],
    done: Callable[[], bool],
    tell: Callable[[Answer], object],
) -> None:
    """Open what is published and search it by every method, again and again."""
    with postgres.connect(url, Path()) as connection:
        while not done():
            with open_engine(connection, Indexes(settings)) as engine:
                encoder = encoders[engine.generation.generation_id]
                for method in METHODS:
                    tell((method, *answer(engine, encoder, method)))


class Reader:
    """Reads in a thread of its own."""

    def __init__(self, url: str, settings: Settings, encoders: Mapping[str, HashEncoder]) -> None:
        self.seen: list[Answer] = []
        self.errors: list[BaseException] = []
        self._done = Event()

        def reading() -> None:
            try:
                read(url, settings, encoders, self._done.is_set, self.seen.append)
            except BaseException as error:  # noqa: BLE001 - whatever a reader sees is a failure
                self.errors.append(error)

        self._thread = Thread(target=reading)

    @contextmanager
    def reading(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._done.set()
            self._thread.join()


def answers_alone(
    connection: postgres.Connection, settings: Settings, two: Mapping[str, HashEncoder]
) -> set[tuple[str, str, frozenset[tuple[str, float]]]]:
    """What each generation answers by each method when nothing moves: ten documents."""
    alone = set()
    for identity, encoder in two.items():
        with open_engine(
            connection, Indexes(settings), find_generation(connection, identity)
        ) as engine:
            answers = [(method, *answer(engine, encoder, method)) for method in METHODS]
        assert [len(scores) for _, _, scores in answers] == [10] * len(METHODS)
        alone |= {comparable(one) for one in answers}
    assert len(alone) == len(two) * len(METHODS)
    return alone


def comparable(one: Answer) -> tuple[str, str, frozenset[tuple[str, float]]]:
    method, identity, scores = one
    return method, identity, frozenset(scores.items())


@pytest.mark.parametrize("kind", ["pgvector", "chroma"])
def test_a_reader_sees_one_generation_whole_or_the_other(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    two: dict[str, HashEncoder],
    kind: str,
) -> None:
    """By every method, hybrid among them: never nothing, never scores of both."""
    first, second = two
    chosen = settings.model_copy(update={"vector_index": kind})
    alone = answers_alone(connection, chosen, two)
    for method in ("vector", "hybrid"):
        (one, other) = (scores for name, _, scores in alone if name == method)
        assert {item for item in one & other if item[0] != "d7"} == set()

    reader = Reader(postgres_url, chosen, two)
    with reader.reading():
        for _ in range(ROUNDS):
            back(connection, settings, "there", first)
            publish_by_hand(connection, Indexes(settings), second, "and back")
    assert not reader.errors
    seen = {comparable(one) for one in reader.seen}
    assert {(method, identity) for method, identity, _ in seen} == {
        (method, identity) for method in METHODS for identity in two
    }
    assert seen <= alone


@pytest.mark.parametrize("kind", ["pgvector", "chroma"])
def test_a_reader_in_another_process_sees_the_same(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    two: dict[str, HashEncoder],
    kind: str,
) -> None:
    """Chroma's embedded store is read by one process while another, which has it open, publishes.

    The pointer is in PostgreSQL: publishing writes nothing into Chroma.
    """
    first, second = two
    chosen = settings.model_copy(update={"vector_index": kind})
    spawning = get_context("spawn")  # a fork would share the connections
    told: Queue[Answer] = spawning.Queue()
    done = spawning.Event()
    reader = spawning.Process(
        target=read, args=(postgres_url, chosen, two, done.is_set, told.put), daemon=True
    )
    seen: set[tuple[str, str, frozenset[tuple[str, float]]]] = set()

    def see(identity: str) -> None:
        """Wait until the reader has answered by every method from this generation."""
        missing = set(METHODS)
        while missing:
            one = told.get(timeout=60)
            seen.add(comparable(one))
            if one[1] == identity:
                missing.discard(one[0])

    with open_engine(connection, Indexes(chosen)):
        alone = answers_alone(connection, chosen, two)
        reader.start()
        try:
            see(second)
            for _ in range(3):
                back(connection, settings, "there", first)
                see(first)
                publish_by_hand(connection, Indexes(settings), second, "and back")
                see(second)
        finally:
            reader.kill()
            reader.join()
    assert seen == alone


def test_an_engine_that_was_open_before_the_flip_goes_on(
    connection: postgres.Connection, settings: Settings, two: dict[str, HashEncoder]
) -> None:
    first, second = two
    with open_engine(connection, Indexes(settings)) as engine:
        before = answer(engine, two[second])
        assert before[0] == second
        back(connection, settings, "it got worse")
        assert answer(engine, two[second]) == before
    with open_engine(connection, Indexes(settings)) as engine:
        assert answer(engine, two[first])[0] == first


@pytest.mark.parametrize("method", ["vector", "hybrid"])
def test_a_mixed_result_would_be_seen(
    connection: postgres.Connection,
    settings: Settings,
    two: dict[str, HashEncoder],
    method: Method,
) -> None:
    """The scores of one generation's vectors, asked with the other's query, are neither's."""
    first, second = two
    alone = answers_alone(connection, settings, two)
    with open_engine(connection, Indexes(settings), find_generation(connection, first)) as engine:
        mixed = replace(engine, generation=find_generation(connection, second))
        _, identity, scores = comparable((method, *answer(mixed, two[second], method)))
    assert identity == second
    assert {(method, one, scores) for one in two}.isdisjoint(alone)
