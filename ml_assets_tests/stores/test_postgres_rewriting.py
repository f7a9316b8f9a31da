"""Tables written anew: rows, indexes and keys are as before, and a copy that was left goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from ml_assets.stores import postgres
from ml_assets.stores.postgres.rewriting import Leaf, leaves, renew_log, rewrite, rewrite_statistics

TABLES = """
create table vectors (
    space text not null, name text not null, made bigint generated always as (length(name)) stored,
    embedding halfvec not null check (vector_dims(embedding) = 3), primary key (name, space)
) partition by list (space);
create table vectors_a partition of vectors for values in ('a');
create index vectors_graph on vectors using hnsw ((embedding::halfvec(3)) halfvec_cosine_ops);
create index vectors_made on vectors (made);
create table plain (name text primary key, said text);
insert into plain select 'n' || n, 'said' from generate_series(1, 50) as n;
insert into vectors (space, name, embedding)
select 'a', 'n' || n, format('[1,2,%s]', n)::halfvec from generate_series(1, 50) as n;
"""


@pytest.fixture
def filled(connection: postgres.Connection) -> postgres.Connection:
    connection.execute(TABLES)
    connection.execute("delete from vectors where name = 'n7'")
    return connection


def described(connection: postgres.Connection, table: str) -> dict[str, Any]:
    indexes = "select indexdef from pg_indexes where tablename = %s order by 1"
    attached = (
        "select i.inhparent::regclass::text from pg_inherits i join pg_index x on x.indexrelid ="
        " i.inhrelid where x.indrelid = %s::regclass order by 1"
    )
    file = "select pg_relation_filenode(%s)"
    return {
        "indexes": connection.execute(indexes, [table]).fetchall(),
        "attached": connection.execute(attached, [table]).fetchall(),
        "rows": connection.execute(f"select t::text from {table} t order by 1").fetchall(),
        "file": connection.execute(file, [table]).fetchone(),
    }


def leaf_of(connection: postgres.Connection, name: str) -> Leaf:
    (leaf,) = (each for each in leaves(connection, "ml_schema") if each.name == name)
    return leaf


@pytest.mark.parametrize(("table", "is_graph"), [("vectors_a", True), ("plain", False)])
def test_a_table_is_as_it_was_in_another_file(
    table: str, is_graph: bool, filled: postgres.Connection
) -> None:
    before, leaf = described(filled, table), leaf_of(filled, table)
    assert leaf.is_graph == is_graph
    rewrite(filled, leaf)
    after = described(filled, table)
    assert after.pop("file") != before.pop("file")
    assert after == before
    valid = "select indisvalid from pg_index where indexrelid = 'vectors_graph'::regclass"
    assert filled.execute(valid).fetchone() == (True,)
    with pytest.raises(psycopg.errors.CheckViolation):
        filled.execute("insert into vectors (space, name, embedding) values ('a', 'x', '[1,2]')")
    filled.execute("insert into vectors (space, name, embedding) values ('a', 'x', '[1,2,3]')")


def test_a_copy_that_a_kill_left_goes(filled: postgres.Connection) -> None:
    leaf = leaf_of(filled, "vectors_a")
    filled.execute(f"create table {leaf.copy} (like vectors_a)")
    assert leaf_of(filled, "vectors_a") == leaf
    assert filled.execute("select to_regclass(%s)", [leaf.copy]).fetchone() == (None,)


def test_who_reads_is_waited_for(
    filled: postgres.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.stores.postgres.rewriting._PATIENCE", 0.0)
    leaf = leaf_of(filled, "vectors_a")
    with postgres.connect(postgres_url, Path()) as reader:
        with reader.transaction():
            reader.execute("select from vectors limit 1")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                rewrite(filled, leaf)
        assert described(filled, "vectors_a")["rows"]
        rewrite(filled, leaf)


@pytest.mark.parametrize("table", ["vectors_a", "plain"])
def test_a_reader_that_goes_ends_the_waiting(
    table: str, filled: postgres.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf, before = leaf_of(filled, table), described(filled, table)["file"]
    with postgres.connect(postgres_url, Path()) as reader:
        reader.autocommit = False
        reader.execute("select from vectors, plain limit 1")
        # It pauses when it was refused; the reader goes then.
        monkeypatch.setattr("ml_assets.stores.patience.time.sleep", lambda _: reader.rollback())
        rewrite(filled, leaf)
    assert described(filled, table)["file"] != before


def test_statistics_are_written_anew_by_a_superuser_alone(
    filled: postgres.Connection, superuser: postgres.Connection
) -> None:
    assert not rewrite_statistics(filled)
    file = "select pg_relation_filenode('pg_statistic')"
    before = superuser.execute(file).fetchone()
    assert rewrite_statistics(superuser)
    assert superuser.execute(file).fetchone() != before


def test_every_file_of_the_log_is_another(superuser: postgres.Connection) -> None:
    names = "select name from pg_ls_waldir()"
    before = {name for (name,) in superuser.execute(names)}
    assert renew_log(superuser) == len(before)
    assert before.isdisjoint(name for (name,) in superuser.execute(names))
