"""Texts in tables of PostgreSQL lose what is to be forgotten, and all else stays."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from ml_assets.operations.erasure.stores.postgres import _erase_texts, _rewrite, graphs_built_anew
from ml_assets.operations.erasure.subject import Place
from ml_assets.operations.erasure.wording import Wording
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.postgres.migration import SCHEMA
from ml_assets.stores.postgres.rewriting import Leaf, rewrite


def judge(connection: postgres.Connection, query: str) -> None:
    columns = "(judged_by, document_id, query, is_relevant)"
    connection.execute(f"insert into judgments {columns} values ('ann', 'd', %s, true)", [query])


def test_rows_whose_keys_would_be_the_same_go(connection: postgres.Connection) -> None:
    wording = Wording(("zq7marker4711", "zq7title4711"), ())
    for query in ("of zq7marker4711", "of zq7title4711", "of bread"):
        judge(connection, query)
    with connection.transaction():
        assert _erase_texts(connection, SCHEMA, wording) == 2
    assert connection.execute("select query from judgments").fetchall() == [("of bread",)]


def test_each_value_is_changed_to_its_own(connection: postgres.Connection) -> None:
    wording = Wording(("zq7marker4711", "zq7title4711"), ())
    for query in ("a zq7marker4711", "b zq7title4711", "c"):
        judge(connection, query)
    with connection.transaction():
        assert _erase_texts(connection, SCHEMA, wording) == 2
    rows = connection.execute("select query from judgments order by query").fetchall()
    assert rows == [("a [forgotten]",), ("b [forgotten]",), ("c",)]


VECTORS = """
create table vectors (space text, name text, embedding halfvec(3), primary key (space, name))
partition by list (space);
create table vectors_a partition of vectors for values in ('a');
create index on vectors using hnsw (embedding halfvec_cosine_ops);
insert into vectors select 'a', n, format('[1,2,%s]', n)::halfvec from generate_series(1, 9) as n;
"""


def file_of_vectors(connection: postgres.Connection) -> object:
    return connection.execute("select pg_relation_filenode('vectors_a')").fetchone()


def test_vectors_are_in_another_file_after_the_block(
    connection: postgres.Connection, postgres_url: str
) -> None:
    connection.execute(VECTORS)
    before = file_of_vectors(connection)
    with graphs_built_anew(Place(Settings(postgres_url=SecretStr(postgres_url)), connection)):
        pass
    built = file_of_vectors(connection)
    assert built != before
    _rewrite(connection, SCHEMA)
    assert file_of_vectors(connection) == built, "it was built once more"
    assert connection.execute("select count(*) from vectors").fetchone() == (9,)


def test_a_graph_that_cannot_be_built_is_told(
    connection: postgres.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(own: postgres.Connection, leaf: Leaf) -> None:
        raise OSError(f"no space for {leaf.name}")

    monkeypatch.setattr("ml_assets.operations.erasure.stores.postgres.rewrite", refuse)
    connection.execute(VECTORS)
    place = Place(Settings(postgres_url=SecretStr(postgres_url)), connection)
    with pytest.raises(OSError, match="no space for vectors_a"), graphs_built_anew(place):
        pass


def stop_when_it_waits(connection: postgres.Connection) -> None:
    held = "select from pg_locks where relation = 'vectors'::regclass and not granted"
    for _ in range(6000):
        if connection.execute(held).rowcount:
            raise KeyboardInterrupt
        time.sleep(0.01)


def test_who_stops_does_not_wait_for_readers_of_vectors(
    connection: postgres.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[type[psycopg.Error]] = []

    def watched(own: postgres.Connection, leaf: Leaf) -> None:
        try:
            rewrite(own, leaf)
        except psycopg.Error as error:
            ended.append(type(error))
            raise

    monkeypatch.setattr("ml_assets.operations.erasure.stores.postgres.rewrite", watched)
    connection.execute(VECTORS)
    place = Place(Settings(postgres_url=SecretStr(postgres_url)), connection)
    with postgres.connect(postgres_url, Path()) as reader, reader.transaction():
        reader.execute("select from vectors limit 1")
        with pytest.raises(KeyboardInterrupt), graphs_built_anew(place):
            stop_when_it_waits(connection)
    assert ended == [psycopg.errors.AdminShutdown]
