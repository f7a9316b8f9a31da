"""Two hosts: each with a home of its own, by one PostgreSQL."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.answering.model import Method, SearchResult
from ml_assets.search.evaluation.measurement import record_measurement
from ml_assets.search.generation import find_generation
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.model import Generation
from ml_assets.session import Session
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import try_lock
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put, remove
from ml_assets_tests.search.measurements import measurement, publish

DOCS = {f"d{number}": Doc((f"text number {number}", "tail")) for number in range(6)}

Host = Callable[[str], Settings]


@pytest.fixture
def host(tmp_path: Path, settings: Settings, postgres_url: str) -> Host:
    """The settings of a host: a home of its own, in which both answering indexes lie."""
    shared = {"postgres_url": postgres_url, "vector_index": "faiss-flat"}

    def named(name: str) -> Settings:
        return Settings(**{**settings.model_dump(), **shared, "home": tmp_path / name})

    return named


@pytest.fixture
def published(connection: postgres.Connection, host: Host) -> Generation:
    """A generation that host `a` has built and published."""
    fill(connection, DOCS)
    generation = generation_of(connection, host("a"))
    sync(connection, host("a"), generation)
    record_measurement(connection, generation.generation_id, measurement())
    publish(connection, generation)
    return find_generation(connection, generation.generation_id)


def ask(
    connection: postgres.Connection, settings: Settings, query: str, method: Method = "hybrid"
) -> SearchResult:
    with open_engine(connection, Indexes(settings)) as engine:
        return search(engine, query, HashEncoder(), k=10, method=method)


def found(result: SearchResult) -> set[str]:
    """The documents of an answer; BM25 counts what was deleted until segments are merged."""
    assert result.complete
    return {hit.document_id for hit in result.hits}


def sync(connection: postgres.Connection, settings: Settings, generation: Generation) -> None:
    """Bring both indexes of a host up to date, as a run on it does."""
    for kind in ("keyword", "faiss"):
        with Indexes(settings).open(connection, generation, kind) as index:
            sync_index(connection, index)


def contents(settings: Settings, generation: Generation) -> list[list[tuple[str, bytes]]]:
    """What both indexes of a host hold."""
    opened = (
        KeywordIndex(settings.keyword_folder, generation),
        FaissIndex(settings.faiss_folder, generation),
    )
    try:
        return [sorted(index.revisions()) for index in opened]
    finally:
        for index in opened:
            index.close()


def ledger(connection: postgres.Connection) -> list[tuple[object, ...]]:
    """The rows of the ledger, each with the transaction that wrote it."""
    query = "select xmin::text, t::text from search_index_entries t order by 2"
    return connection.execute(query).fetchall()


def test_rounds_of_edits_on_two_hosts_end_as_a_build_from_scratch(
    connection: postgres.Connection, host: Host, published: Generation
) -> None:
    rng = random.Random(5)
    for number in range(int(os.environ.get("HOST_ROUNDS", "4"))):
        for _ in range(3):
            document_id = f"d{rng.randrange(9)}"
            remove(connection, document_id)
            if rng.random() < 0.7:
                put(connection, document_id, Doc((f"text edit {rng.randrange(9)}",) * 2))
        sync(connection, host(rng.choice("ab")), published)
        answers = [found(ask(connection, host(name), "text edit")) for name in "ab"]
        before = ledger(connection)
        scratch = host(f"scratch-{number}")
        sync(connection, scratch, published)
        assert answers == [found(ask(connection, scratch, "text edit"))] * 2
        for name in "ab":
            assert contents(host(name), published) == contents(scratch, published)
            sync(connection, host(name), published)
        assert ledger(connection) == before, "equal hosts write the ledger in turn"
        shutil.rmtree(scratch.home)


def test_an_engine_brings_the_indexes_of_its_host_up_to_date(
    connection: postgres.Connection, host: Host, published: Generation
) -> None:
    """Those of a new host, of a copied home, and of a home that lost a folder."""
    shutil.copytree(host("a").home, host("copied").home)
    put(connection, "d0", Doc(("nothing but beans",)))
    sync(connection, host("a"), published)
    shutil.copytree(host("a").home, host("lost").home)
    shutil.rmtree(host("lost").keyword_folder)
    before = ledger(connection)
    for name in ("new", "copied", "lost"):
        assert found(ask(connection, host(name), "beans", "keyword")) == {"d0"}
        assert contents(host(name), published) == contents(host("a"), published)
    assert ledger(connection) == before


def test_an_index_that_another_process_writes_is_told_to_be_behind(
    connection: postgres.Connection, host: Host, published: Generation
) -> None:
    shutil.copytree(host("a").home, host("b").home)
    put(connection, "d0", Doc(("nothing but beans",)))
    put(connection, "d7", Doc(("more beans", "and peas")))
    sync(connection, host("a"), published)
    index = KeywordIndex(host("b").keyword_folder, published)
    assert index.lock
    writer = try_lock(index.lock)
    assert writer is not None
    behind = ask(connection, host("b"), "text number")
    assert (behind.behind, behind.complete) == (2, False)
    assert behind.hits
    os.close(writer)
    assert ask(connection, host("b"), "text number").behind == 0
    assert "d7#1" in ids(index)
    index.close()


def test_an_open_session_sees_what_another_host_wrote(
    connection: postgres.Connection, host: Host, published: Generation
) -> None:
    with Session(host("b")) as session:
        assert not session.search("beans", method="keyword").hits
        engine = session._engine
        assert session.search("text", method="keyword").hits
        assert session._engine is engine, "nothing changed"
        put(connection, "d0", Doc(("nothing but beans",)))
        sync(connection, host("a"), published)
        found = session.search("beans", method="keyword")
    assert [hit.document_id for hit in found.hits] == ["d0"]
