"""Poolers, roles with few rights, replicas, parameters of a URL: what works, and clear refusals."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ml_assets.errors import StoreError
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets.stores.postgres import refusals
from ml_assets.stores.postgres.connection import forget_migrated
from ml_assets.stores.postgres.locks import exclusive
from ml_assets_tests.servers import PASSWORD, free_port, pgbouncer


@pytest.fixture(autouse=True)
def _new_process() -> None:
    """What a process has looked at, it does not look at again."""
    forget_migrated()


@pytest.fixture
def reader_url(admin_url: str, postgres_url: str) -> Iterator[str]:
    """The database of the test, for a role without any grant."""
    run(admin_url, f"create role reader login password '{PASSWORD}'")
    yield postgres_url.replace("ml_assets:", "reader:", 1)
    run(admin_url, "drop owned by reader", "drop role reader")


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught, postgres.connect(url, Path()):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert PASSWORD not in message
    return message


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for text in statements:
            connection.execute(text)


def schemas(url: str) -> set[str]:
    """The schemas with tables of ours or of nobody."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select distinct schemaname from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
    return {name for (name,) in rows}


def with_query(url: str, query: str) -> str:
    return f"{url}?{query}"


def test_a_pooler_of_sessions_works(tmp_path: Path, postgres_url: str, admin_url: str) -> None:
    with pgbouncer(tmp_path, postgres_url, "session") as pooled:
        for _ in range(2):
            forget_migrated()
            with (
                postgres.connect(pooled, Path()) as connection,
                postgres.connect(pooled, Path()) as other,
                exclusive(connection, "ours"),
            ):
                (row,) = other.execute("select current_schema(), current_setting('timezone')")
                assert row == ("ml_schema", "UTC")
                assert list(postgres.read_batches(connection, "select 1")) == [[(1,)]]
    assert schemas(admin_url) == {"ml_schema"}


def test_a_pooler_of_transactions_is_refused_before_anything_is_made(
    tmp_path: Path, postgres_url: str, admin_url: str
) -> None:
    with pgbouncer(tmp_path, postgres_url, "transaction") as pooled:
        for _ in range(2):
            message = refusal(pooled)
            assert message.startswith("POSTGRES_URL: the pooler in between hands a session")
            assert "pool_mode = session" in message
    assert schemas(admin_url) == set()


def test_a_search_path_that_does_not_hold_is_refused(
    postgres_url: str, admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = postgres.connection.statement

    def elsewhere(path: str) -> str:
        return "select 1" if path == "postgres/stores/begin_session" else text(path)

    monkeypatch.setattr(postgres.connection, "statement", elsewhere)
    assert "leads to public, not to ml_schema" in refusal(postgres_url)
    assert schemas(admin_url) == set()


def test_parameters_of_the_url_are_kept(postgres_url: str) -> None:
    query = "options=-c%20work_mem%3D7MB%20-c%20search_path%3Dpublic&application_name=theirs"
    with postgres.connect(with_query(postgres_url, query), Path()) as connection:
        names = ("work_mem", "application_name", "search_path")
        shown = [connection.execute(f"show {name}").fetchone() for name in names]
    assert shown == [("7MB",), ("theirs",), ("ml_schema, public, public",)]


def test_an_unknown_parameter_is_named(postgres_url: str) -> None:
    assert "no parameter work_mem." in refusal(with_query(postgres_url, "work_mem=7MB"))
    assert '"nope"' in refusal(with_query(postgres_url, "options=-c%20nope%3D1"))


def test_a_password_is_not_taken_for_a_parameter() -> None:
    assert "secret" not in refusal("postgresql://me:a/b?secret=more@host/database")


def test_too_old_a_server_is_refused_before_anything_is_made(
    postgres_url: str, admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "OLDEST", 99)
    assert "PostgreSQL 16 is too old. Update the server to 99 or later" in refusal(postgres_url)
    with pytest.raises(StoreError, match="is too old"):
        postgres.server_url(postgres_url, Path(), "never_made")
    assert schemas(admin_url) == set()


def test_a_role_that_may_not_make_the_schema_is_told_the_grant(
    reader_url: str, postgres_url: str
) -> None:
    database = urlsplit(postgres_url).path[1:]
    message = refusal(reader_url)
    assert f"permission denied for database {database}" in message
    assert f"`grant create on database {database} to reader`" in message
    with postgres.connect(postgres_url, Path()):
        pass


def test_a_role_that_may_only_read_reads(reader_url: str, postgres_url: str) -> None:
    with postgres.connect(postgres_url, Path()):
        pass
    message = refusal(reader_url)
    assert "permission denied for schema ml_schema" in message
    for grant in message.partition("`")[2].partition("`")[0].split(";"):
        run(postgres_url, grant)
    with postgres.connect(reader_url, Path()) as connection:
        assert connection.execute("select count(*) from documents").fetchone() == (0,)
    with pytest.raises(
        StoreError, match=r"finished_run\. It may only read.*`grant ml_assets to re"
    ):
        forget_finish(reader_url)


def forget_finish(url: str) -> None:
    with postgres.connect(url, Path()) as connection:
        connection.execute("delete from finished_run")


def test_pgvector_may_lie_in_another_schema(admin_url: str, postgres_url: str) -> None:
    run(admin_url, 'create schema "My types"', 'alter extension vector set schema "My types"')
    message = refusal(postgres_url)
    assert '`grant usage on schema "My types" to ml_assets`' in message
    assert schemas(admin_url) == set()
    run(admin_url, message.split("`")[1])
    for _ in range(2):
        forget_migrated()
        with postgres.connect(postgres_url, Path()) as connection:
            row = connection.execute(
                "select embedding_hash('[1,2]'), '[1,2]'::halfvec <=> '[2,4]'::halfvec"
            ).fetchone()
            assert row is not None
            assert row[1] == 0


def test_the_reading_url_is_used_and_named(postgres_url: str, tmp_path: Path) -> None:
    nowhere = f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/x"
    with postgres.connect(postgres_url, Path()):
        pass
    settings = load_settings(home=tmp_path, postgres_url=nowhere, postgres_read_url=postgres_url)
    assert PASSWORD not in repr(settings)
    with postgres.connect_reader(settings) as connection:
        assert connection.execute("select count(*) from documents").fetchone() == (0,)
    settings = load_settings(home=tmp_path, postgres_url=postgres_url, postgres_read_url=nowhere)
    with (
        pytest.raises(StoreError, match=r"^POSTGRES_READ_URL: "),
        postgres.connect_reader(settings),
    ):
        pass
