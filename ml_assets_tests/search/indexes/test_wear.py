"""Churn wears a graph out; building it anew keeps the recall, and readers notice nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import numpy as np
import pytest
from pgvector import HalfVector

from ml_assets.delta import Delta
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.evaluation.measurement import read_measurements, record_measurement
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.contract import VectorIndex
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.pgvector import building
from ml_assets.search.indexes.pgvector.building import build, graph_bytes, plan_build
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.indexes.wear import Wear, measure_wear, rebuild_if_worn
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.fakes import CHUNKER, SPACE, HashEncoder, ensure_partitions
from ml_assets_tests.search.corpus import Doc, fill, generation_of, put, remove, sync_all
from ml_assets_tests.search.filters.conditions import equal
from ml_assets_tests.search.measurements import measurement

ROWS = 2_000
ROUNDS = 10


@pytest.mark.parametrize(
    ("dimension", "m", "measured"),
    [(384, 16, 1482), (384, 32, 1984), (768, 16, 2253), (16, 16, 747)],
)
def test_the_memory_of_a_build_is_what_pgvector_takes(
    dimension: int, m: int, measured: int
) -> None:
    """Bytes a row by which pgvector 0.8.5 said that the graph no longer fits."""
    assert graph_bytes(1000, dimension, m) / 1000 == pytest.approx(measured, rel=0.02)


def test_a_build_gets_what_it_needs_within_the_limit() -> None:
    parameters = {"m": 16, "type": "halfvec"}
    small = plan_build(10, 384, parameters)
    assert (small.granted, small.lacking) == (64 << 20, "")
    large = plan_build(500_000, 384, parameters)
    assert large.granted == large.estimate < 1 << 30
    slow = plan_build(500_000, 384, parameters, limit=256 << 20)
    assert slow.granted == 256 << 20
    assert "slow: the graph takes 7" in slow.lacking
    assert "ML_ASSETS_BUILD_MEMORY" in slow.lacking
    lists = plan_build(5_000_000, 384, {"index": "ivfflat", "type": "halfvec"}, limit=64 << 20)
    assert "too little: the training of the lists takes 1" in lists.lacking
    assert "graph" not in lists.lacking


@pytest.mark.parametrize("chosen", ["hnsw", "ivfflat"])
def test_it_is_said_whether_anything_is_to_be_built(
    connection: postgres.Connection,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
) -> None:
    generation = generation_of(connection, settings.model_copy(update={"pgvector_index": chosen}))
    fill(connection, DOCS)
    index = PgvectorIndex(connection, generation)
    current = "nothing to build: the index is current"
    assert sync_index(connection, index).details["build"] == "in memory"
    assert sync_index(connection, index).details["build"] == current
    monkeypatch.setattr("ml_assets.search.indexes.sizing._ROWS_OF_A_LIST", 10)
    expected = "in memory" if chosen == "ivfflat" else current
    assert sync_index(connection, index).details["build"] == expected


@pytest.mark.parametrize(
    ("dead", "share", "reached", "worn"),
    [
        (500, 0.25, 1.0, True),
        (500, 0.19, 1.0, False),
        (99, 0.9, None, False),
        (100, 0.06, 0.98, True),
        (100, 0.06, 0.99, False),
        (100, 0.05, 0.98, False),
        (99, 0.06, 0.5, False),
    ],
)
def test_what_is_worn(dead: int, share: float, reached: float | None, worn: bool) -> None:
    assert Wear("x", dead, share, reached).is_worn == worn


def vectors(count: int, seed: int) -> np.ndarray:
    """Clustered, as texts are: 40 centres and noise around them, at unit norm."""
    centres = np.random.default_rng(0).standard_normal((40, 16))
    generator = np.random.default_rng(seed)
    points = centres[generator.integers(0, 40, count)]
    points = points + 0.4 * generator.standard_normal((count, 16))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def write(connection: postgres.Connection, ids: list[str], seed: int) -> None:
    """Replace the documents of these ids by others, each of one chunk with a clustered vector."""
    texts = [f"{one} {seed}" for one in ids]
    hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
    chunk_ids = [f"{one}#0" for one in ids]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("delete from document_embeddings where chunk_id = any(%s)", [chunk_ids])
        cursor.execute("delete from documents where document_id = any(%s)", [ids])
        cursor.execute("insert into collections values ('a', 's', 'f') on conflict do nothing")
        cursor.executemany(
            "insert into documents (document_id, collection, title, text, group_id, content_hash)"
            " values (%s, 'a', '', %s, '', '')",
            zip(ids, texts, strict=True),
        )
        cursor.executemany(
            "insert into chunks (chunker, created_at, chunk_id, document_id, collection,"
            " chunk_index, start_offset, end_offset, token_count, heading, text, text_hash)"
            f" values ('{CHUNKER}', '-infinity', %s, %s, 'a', 0, 0, 1, 1, '', %s, %s)",
            zip(chunk_ids, ids, texts, hashes, strict=True),
        )
        made = map(HalfVector, vectors(len(ids), seed))
        cursor.executemany(
            "insert into document_embeddings"
            " (space_id, chunker, created_at, chunk_id, collection, text_hash, embedding)"
            f" values ('{SPACE.space_id}', '{CHUNKER}', '-infinity', %s, 'a', %s, %s)",
            zip(chunk_ids, hashes, made, strict=True),
        )
    connection.execute("select pg_stat_force_next_flush()")


def test_ten_rounds_of_churn_keep_the_recall(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    """10 % of 2,000 clustered vectors are replaced in each round; what is worn is built anew."""
    keep_the_dead(connection)
    ids = [f"d{number}" for number in range(ROWS)]
    write(connection, ids, 1)
    generator = np.random.default_rng(5)
    rebuilt: dict[str, int] = {"pgvector": 0, "chroma": 0}
    with chroma.connect(None, settings.home) as client:
        indexes: dict[str, PgvectorIndex | ChromaIndex] = {
            "pgvector": PgvectorIndex(connection, generation),
            "chroma": ChromaIndex(client, generation),
        }
        for index in indexes.values():
            sync_index(connection, index)
        for round_ in range(ROUNDS):
            chosen = generator.choice(ROWS, ROWS // 10, replace=False)
            write(connection, [ids[number] for number in chosen], 100 + round_)
            for name, index in indexes.items():
                sync_index(connection, index)
                rebuilt[name] += bool(rebuild_if_worn(connection, index, {}))
        searched: dict[str, VectorIndex] = dict(indexes)
        report = recall_against_exact(connection, generation, searched)
        assert min(report.recall.values()) >= 0.98, report
        assert min(report.reached.values()) >= 0.99, report
        # Past 20 % dead: about every third round.
        assert all(3 <= times <= 5 for times in rebuilt.values()), rebuilt
        assert all(index.size() == ROWS for index in indexes.values())
        assert sync_index(connection, indexes["chroma"]).delta == Delta(unchanged=ROWS)


def keep_the_dead(connection: postgres.Connection) -> None:
    """Autovacuum leaves the vectors alone."""
    ensure_partitions(connection)
    table = f"document_embeddings_{SPACE.space_id}_{CHUNKER}_default"
    connection.execute(f"alter table {table} set (autovacuum_enabled = false)")


DOCS = {f"d{number}": Doc((f"text number {number}",)) for number in range(300)}


def test_wear_is_measured_and_gone_after_building_anew(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    keep_the_dead(connection)
    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    connection.execute("select pg_stat_force_next_flush()")
    assert not any(one.is_worn for one in measure_wear(connection, generation, {}))
    remove(connection, *(f"d{number}" for number in range(150)))
    sync_all(connection, settings, generation)
    connection.execute("select pg_stat_force_next_flush()")
    worn = {one.index: one for one in measure_wear(connection, generation, {})}
    assert worn["pgvector"].dead == worn["chroma"].dead == 150
    assert worn["pgvector"].share == worn["chroma"].share == 0.5
    record_measurement(connection, generation.generation_id, measurement())
    with chroma.connect(None, settings.home) as client:
        for index in (PgvectorIndex(connection, generation), ChromaIndex(client, generation)):
            said = rebuild_if_worn(connection, index, {})
            assert said == "built anew: 150 dead entries (50%)"
            assert index.size() == 150
            assert rebuild_if_worn(connection, index, {}) is None
    # The next evaluation measures again.
    latest = read_measurements(connection, generation.generation_id).latest
    assert latest == measurement(state="")


def test_what_keeps_its_vector_does_not_wear(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    fill(connection, {name: replace(doc, label="new") for name, doc in DOCS.items()})

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a vector was written again")

    with monkeypatch.context() as patched:
        patched.setattr("chromadb.api.models.Collection.Collection.upsert", refuse)
        sync_all(connection, settings, generation)
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        vector = HashEncoder().encode(["text number 1"])[0]
        assert index.query(vector, 1, equal("label", "new")).chunk_ids == ["d1#0"]
        put(connection, "d1", Doc(("text of d1",)))
        sync_index(connection, index)
    (worn,) = (one for one in measure_wear(connection, generation, {}) if one.index == "chroma")
    assert worn.dead == 1


def test_a_build_anew_that_lacked_memory_says_so(
    connection: postgres.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.search.indexes.pgvector.building._BYTES_PER_NODE", 100_000)
    keep_the_dead(connection)
    fill(connection, DOCS)
    index = PgvectorIndex(connection, generation, build_memory=1 << 20)
    sync_index(connection, index)
    remove(connection, *(f"d{number}" for number in range(150)))
    connection.execute("select pg_stat_force_next_flush()")
    said = rebuild_if_worn(connection, index, {})
    assert said
    assert said.endswith("; slow: the graph takes 15 MiB and gets 1; raise ML_ASSETS_BUILD_MEMORY")


def test_an_index_that_no_longer_reaches_its_chunks_is_worn(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, {"d": Doc(("text",))})
    sync_all(connection, settings, generation)
    reached = {"chroma": 0.5}
    # Nothing was deleted since it was built: a second one would reach no more.
    assert not any(one.is_worn for one in measure_wear(connection, generation, reached))
    connection.execute("update search_index_marks set worn = 100")
    assert [one.index for one in measure_wear(connection, generation, reached) if one.is_worn] == [
        "chroma"
    ]


@pytest.mark.parametrize("kind", ["pgvector", "chroma"])
def test_a_reader_finds_everything_while_an_index_is_built_anew(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    generation: Generation,
    kind: str,
) -> None:
    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    done, wrong = Event(), list[object]()
    (vector,) = HashEncoder().encode(["text number 7"])

    def read() -> None:
        try:
            with postgres.connect(postgres_url, Path()) as reader:
                while not done.is_set():
                    with chroma.connect(None, settings.home) as client:
                        index: VectorIndex = (
                            PgvectorIndex(reader, generation)
                            if kind == "pgvector"
                            else ChromaIndex(client, generation)
                        )
                        for _ in range(5):
                            found = index.query(vector, 10).chunk_ids
                            if len(found) != 10 or found[0] != "d7#0":
                                wrong.append(found)
        except BaseException as error:  # noqa: BLE001 - whatever a reader sees is a failure
            wrong.append(error)

    reading = Thread(target=read)
    reading.start()
    try:
        with chroma.connect(None, settings.home) as client:
            index = (
                PgvectorIndex(connection, generation)
                if kind == "pgvector"
                else ChromaIndex(client, generation)
            )
            for _ in range(8):
                assert index.rebuild() is not None
    finally:
        done.set()
        reading.join()
    assert wrong == []


def test_a_reader_that_holds_the_old_index_is_not_waited_for(
    connection: postgres.Connection,
    postgres_url: str,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "_PATIENCE", "50ms")
    fill(connection, DOCS)
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    with postgres.connect(postgres_url, Path()) as reader, reader.transaction():
        reader.execute("select count(*) from document_embeddings")
        assert index.rebuild() is None
        assert index.size() == 300
        # Neither is one waited for by the next run; it has nothing to build, and goes on.
        built = identity(connection, f"{index.name}_next")
        assert sync_index(connection, index).delta == Delta(unchanged=300)
    record_measurement(connection, generation.generation_id, measurement())
    assert sync_index(connection, index).delta == Delta(added=300)
    assert identities(connection, index) == {index.name: built}
    latest = read_measurements(connection, generation.generation_id).latest
    assert latest == measurement(state="")
    assert sync_index(connection, index).delta == Delta(unchanged=300)


def identity(connection: postgres.Connection, name: str) -> int:
    """Of an index, whatever it is called later."""
    row = connection.execute("select %s::regclass::oid", [name]).fetchone()
    assert row
    return int(row[0])


def identities(connection: postgres.Connection, index: PgvectorIndex) -> dict[str, int]:
    """Every index in PostgreSQL that goes by this name, or by that of the second one."""
    query = "select relname, oid::int from pg_class where relname like %s"
    return dict(connection.execute(query, [f"{index.name}%"]).fetchall())


def test_the_next_run_ends_a_rebuild_that_was_killed_before_the_swap(
    connection: postgres.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException): ...

    def kill(*_: object) -> None:
        raise Killed

    fill(connection, DOCS)
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    with monkeypatch.context() as patched:
        patched.setattr("ml_assets.search.indexes.pgvector.building.swap", kill)
        with pytest.raises(Killed):
            index.rebuild()
    assert len(identities(connection, index)) == 2
    built = identity(connection, f"{index.name}_next")
    assert sync_index(connection, PgvectorIndex(connection, generation)).delta == Delta(added=300)
    assert identities(connection, index) == {index.name: built}


def test_a_second_index_that_is_not_valid_is_dropped(
    connection: postgres.Connection, superuser: postgres.Connection, generation: Generation
) -> None:
    fill(connection, DOCS)
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    first = identity(connection, index.name)
    second = f"{index.name}_next"
    build(connection, index._design, second, 1 << 30)
    invalid = "update pg_index set indisvalid = false where indexrelid = to_regclass(%s)"
    superuser.execute(invalid, [second])
    assert sync_index(connection, index).delta == Delta(unchanged=300)
    assert identities(connection, index) == {index.name: first}
    # Also on the way of a rebuild, which needs its name.
    build(connection, index._design, second, 1 << 30)
    superuser.execute(invalid, [second])
    assert index.rebuild() is not None
    assert list(identities(connection, index)) == [index.name]


@pytest.fixture
def slow_builds(superuser: postgres.Connection, connection: postgres.Connection) -> Iterator[None]:
    """The building of any index takes half a second, in its transaction."""
    superuser.execute(
        """
        create or replace function linger() returns event_trigger language plpgsql as $$
        begin perform pg_sleep(0.5); end $$;
        create event trigger linger on ddl_command_end when tag in ('CREATE INDEX')
            execute function linger()
        """
    )
    yield
    superuser.execute("drop event trigger linger; drop function linger")


@pytest.mark.usefixtures("slow_builds")
def test_generations_that_share_an_index_build_it_once(
    connection: postgres.Connection, postgres_url: str, settings: Settings
) -> None:
    """Two processes at the same time, whose generations search one index more or less widely."""
    fill(connection, DOCS)
    narrow, wide = (
        generation_of(connection, settings.model_copy(update={"hnsw_ef_search": beam}))
        for beam in (20, 60)
    )
    begun, added = Event(), list[int]()

    def sync(generation: Generation) -> None:
        with postgres.connect(postgres_url, Path()) as own:
            begun.set()
            added.append(sync_index(own, PgvectorIndex(own, generation)).delta.added)

    other = Thread(target=sync, args=[narrow])
    other.start()
    begun.wait()
    sync(wide)
    other.join()
    assert sorted(added) == [0, 300]


@pytest.mark.usefixtures("slow_builds")
@pytest.mark.parametrize("why", ["outgrown", "leftover"])
def test_a_reader_does_not_wait_for_a_build(
    connection: postgres.Connection,
    superuser: postgres.Connection,
    postgres_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    monkeypatch.setattr("ml_assets.search.indexes.sizing._ROWS_OF_A_LIST", 100)
    chosen = generation_of(connection, settings.model_copy(update={"pgvector_index": "ivfflat"}))
    fill(connection, DOCS)
    index = PgvectorIndex(connection, chosen)
    sync_index(connection, index)
    if why == "outgrown":
        monkeypatch.setattr("ml_assets.search.indexes.sizing._ROWS_OF_A_LIST", 10)
        change = index.sync
    else:
        second = f"{index.name}_next"
        build(connection, index._design, second, 1 << 30)
        superuser.execute(
            "update pg_index set indisvalid = false where indexrelid = to_regclass(%s)", [second]
        )
        change = index.rebuild
    (vector,) = HashEncoder().encode(["text number 7"])
    during, done, wrong = list[float](), Event(), list[BaseException]()

    def read() -> None:
        try:
            with postgres.connect(postgres_url, Path()) as reader:
                asked = PgvectorIndex(reader, chosen)
                while not done.is_set():
                    started = perf_counter()
                    assert asked.query(vector, 10).chunk_ids[0] == "d7#0"
                    during.append(perf_counter() - started)
        except BaseException as error:  # noqa: BLE001 - whatever a reader sees is a failure
            wrong.append(error)

    reading = Thread(target=read)
    reading.start()
    try:
        change()
    finally:
        done.set()
        reading.join()
    assert wrong == []
    assert max(during) < 0.3
    assert (index._lists(), index.size()) == (17 if why == "outgrown" else 3, 300)


@pytest.mark.parametrize("killed_at", ["add", "delete", "rename"])
def test_a_killed_rebuild_of_chroma_leaves_an_index_that_answers(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: str,
) -> None:
    from chromadb.api.models.Collection import Collection

    class Killed(BaseException): ...

    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    (vector,) = HashEncoder().encode(["text number 7"])

    def kill(*_: object, **said: object) -> None:
        if killed_at != "rename" or "name" in said:
            raise Killed

    with chroma.connect(None, settings.home) as client:
        with monkeypatch.context() as patched:
            if killed_at == "add":
                patched.setattr(Collection, "add", kill)
            elif killed_at == "rename":
                real = Collection.modify
                patched.setattr(
                    Collection,
                    "modify",
                    lambda one, **said: kill(**said) if "name" in said else real(one, **said),
                )
            else:
                deleted = ChromaIndex._delete
                patched.setattr(
                    ChromaIndex,
                    "_delete",
                    lambda one, name: deleted(one, name) if name.endswith("-next") else kill(),
                )
            with pytest.raises(Killed):
                ChromaIndex(client, generation).rebuild()
        fresh = ChromaIndex(client, generation)
        assert fresh.query(vector, 10).chunk_ids[0] == "d7#0"
        assert fresh.size() == 300
        assert sync_index(connection, fresh).delta == Delta(unchanged=300)
        assert fresh.rebuild() is not None
        assert [one.name for one in client.list_collections()] == [fresh.name]
        assert sync_index(connection, fresh).delta == Delta(unchanged=300)
