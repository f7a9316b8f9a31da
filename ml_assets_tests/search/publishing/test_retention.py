"""Retired generations are dropped whole, by the run that comes after their time."""

from dataclasses import replace

import pytest

from ml_assets.errors import StoreError
from ml_assets.releases import audit, pointer
from ml_assets.releases.audit import Entry
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.generation import find_generation
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.search.publishing.lifecycle import drop_expired
from ml_assets.search.publishing.listing import expired, list_generations
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.corpus import fill, generation_of, sync_all
from ml_assets_tests.search.generations import DOCS, OLD
from ml_assets_tests.search.measurements import age_releases, publish


@pytest.fixture
def other(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))


@pytest.fixture
def retired(
    connection: postgres.Connection, settings: Settings, generation: Generation, other: Generation
) -> Generation:
    """A generation that was replaced eight days ago, by one of the same space."""
    fill(connection, DOCS)
    supersede(connection, settings, generation, other)
    return generation


def supersede(
    connection: postgres.Connection, settings: Settings, old: Generation, new: Generation
) -> None:
    for each in (old, new):
        sync_all(connection, settings, each)
        publish(connection, each)
    age_releases(connection, 8)


def stored(connection: postgres.Connection, settings: Settings, one: Generation) -> dict[str, int]:
    """How much of a generation is left, by where."""
    counts = {
        "hnsw": "select count(*) from pg_class where relname = %(index)s",
        "ledger": "select count(*) from search_index_entries where generation_id = %(id)s",
        "marks": "select count(*) from search_index_marks where generation_id = %(id)s",
        "vectors": "select count(*) from document_embeddings where space_id = %(space)s",
    }
    bound = {
        "index": PgvectorIndex(connection, one).name,
        "id": one.generation_id,
        "space": one.space_id,
    }
    found = {
        name: postgres.read_counts(connection, query, bound)["count"]
        for name, query in counts.items()
    }
    with chroma.connect(None, settings.home) as client:
        found["chroma"] = ChromaIndex(client, one).size()
    found["keyword"] = KeywordIndex(settings.keyword_folder, one).size()
    return found


WHOLE = {"hnsw": 1, "ledger": 40, "marks": 2, "vectors": 20, "chroma": 20, "keyword": 20}


def test_only_what_was_kept_for_its_time_is_dropped(
    connection: postgres.Connection, settings: Settings, retired: Generation, other: Generation
) -> None:
    age_releases(connection, -2)
    assert drop_expired(connection, Indexes(settings), other) == ([], [])
    assert stored(connection, settings, retired) == WHOLE
    age_releases(connection, 2)
    # What the settings describe is kept, whatever its age.
    assert drop_expired(connection, Indexes(settings), retired) == ([], [])
    assert drop_expired(connection, Indexes(settings), other) == ([retired.generation_id], [])
    # The vectors serve the other generation.
    assert stored(connection, settings, retired) == {**dict.fromkeys(WHOLE, 0), "vectors": 20}
    assert stored(connection, settings, other) == WHOLE
    assert find_generation(connection, retired.generation_id).dropped
    audit = connection.execute(
        "select actor, action, subject from model_audit_logs order by entry_id desc limit 1"
    ).fetchone()
    assert audit == ("tester", "drop", f"search_generation:{retired.generation_id}")
    assert drop_expired(connection, Indexes(settings), other) == ([], [])


def test_what_is_served_again_or_built_again_is_kept_for_its_time_again(
    connection: postgres.Connection, settings: Settings, retired: Generation, other: Generation
) -> None:
    assert expired(connection, other.generation_id, 7) == [retired.generation_id]
    assert expired(connection, retired.generation_id, 7) == []
    publish(connection, retired)
    assert expired(connection, "", 0) == [other.generation_id]
    assert expired(connection, "", 1) == []
    age_releases(connection, 8)
    assert drop_expired(connection, Indexes(settings), retired) == ([other.generation_id], [])
    again = generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))
    assert again.generation_id == other.generation_id
    # The settings described it for a moment: the next run has its indexes, and so may a rollback.
    assert expired(connection, "", 7) == []


def test_one_that_was_never_served_goes_in_time_and_is_listed_so(
    connection: postgres.Connection, settings: Settings, retired: Generation, other: Generation
) -> None:
    third = generation_of(connection, settings.model_copy(update={"hnsw_m": 8}))

    def listed(described: str = "") -> dict[str, object]:
        rows = list_generations(connection, settings, described)
        return {
            row.generation_id: row.drop_at and (row.drop_at - row.created_at).days for row in rows
        }

    assert listed()[third.generation_id] == 7
    assert listed(third.generation_id)[third.generation_id] is None
    assert listed()[other.generation_id] is None
    connection.execute(
        "update search_generations set created_at = now() - interval '9 days'"
        " where generation_id = %s",
        [third.generation_id],
    )
    assert expired(connection, "", 7) == [third.generation_id, retired.generation_id]


def test_an_hnsw_index_that_another_generation_uses_is_kept(
    connection: postgres.Connection, settings: Settings, retired: Generation
) -> None:
    beam = generation_of(connection, settings.model_copy(update={"hnsw_ef_search": 50}))
    sync_all(connection, settings, beam)
    assert PgvectorIndex(connection, beam).name == PgvectorIndex(connection, retired).name
    drop_expired(connection, Indexes(settings), beam)
    assert stored(connection, settings, beam) == WHOLE


@pytest.mark.parametrize("user", ["nobody", "release", "settings"])
def test_a_space_goes_with_its_last_user(
    connection: postgres.Connection,
    settings: Settings,
    older: Generation,
    generation: Generation,
    user: str,
) -> None:
    supersede(connection, settings, older, generation)
    described = generation
    if user == "release":
        entry = Entry("ann", "promote", "model/1", "better")
        pointer.publish(
            connection, lambda parts: replace(parts, model_space_id=OLD.space_id), entry
        )
    elif user == "settings":
        described = generation_of(connection, settings.model_copy(update={"hnsw_m": 9}), OLD)
    drop_expired(connection, Indexes(settings), described)
    left = stored(connection, settings, older)
    assert left["vectors"] == (0 if user == "nobody" else 20)
    assert left["ledger"] == left["chroma"] == left["keyword"] == left["hnsw"] == 0
    assert stored(connection, settings, generation) == WHOLE
    if user == "nobody":
        assert not generation_of(connection, settings, OLD).dropped


@pytest.mark.parametrize("step", [(ChromaIndex, "drop"), (KeywordIndex, "drop"), (audit, "append")])
def test_a_killed_drop_is_finished_by_the_next_run(
    connection: postgres.Connection,
    settings: Settings,
    retired: Generation,
    other: Generation,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[object, str],
) -> None:
    class Killed(BaseException): ...

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(*step, kill)
        with pytest.raises(Killed):
            drop_expired(connection, Indexes(settings), other)
    assert not find_generation(connection, retired.generation_id).dropped
    assert expired(connection, other.generation_id, 7) == [retired.generation_id]
    assert drop_expired(connection, Indexes(settings), other) == ([retired.generation_id], [])
    assert stored(connection, settings, retired) == {**dict.fromkeys(WHOLE, 0), "vectors": 20}


def test_a_reader_at_work_is_not_waited_for(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    retired: Generation,
    other: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml_assets.search.indexes.pgvector.building._PATIENCE", "50ms")
    from pathlib import Path

    with postgres.connect(postgres_url, Path()) as reader, reader.transaction():
        reader.execute("select count(*) from document_embeddings")
        assert drop_expired(connection, Indexes(settings), other) == ([], [retired.generation_id])
    assert drop_expired(connection, Indexes(settings), other) == ([retired.generation_id], [])


@pytest.mark.parametrize("kind", ["pgvector", "chroma"])
def test_an_engine_of_a_dropped_space_says_so_in_one_line(
    connection: postgres.Connection,
    settings: Settings,
    older: Generation,
    generation: Generation,
    kind: str,
) -> None:
    supersede(connection, settings, older, generation)
    chosen = settings.model_copy(update={"vector_index": kind})
    encoder = HashEncoder(OLD)

    def read_before_and_after() -> None:
        with open_engine(connection, Indexes(chosen), older) as engine:
            assert search(engine, "text number 3", encoder, k=1).hits[0].document_id == "d3"
            assert drop_expired(connection, Indexes(settings), generation)[0] == [
                older.generation_id
            ]
            search(engine, "text number 3", encoder)

    # Who waits to be indexed is asked first, in PostgreSQL, whatever the index.
    with pytest.raises(StoreError, match=r"were dropped\. Open the published") as said:
        read_before_and_after()
    assert "\n" not in str(said.value)
