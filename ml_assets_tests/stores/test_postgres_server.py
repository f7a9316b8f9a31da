"""PostgreSQL over TCP, as a server with passwords: the same code, and clear refusals."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import postgres
from ml_assets.stores.migrations import read_migrations
from ml_assets.stores.postgres.migration import migrate
from ml_assets_tests.servers import PASSWORD, free_port, postgres_over_tcp
from ml_assets_tests.servers.postgres import make_role

APPLICATION_PASSWORD = "it's-\\a-secret"


@pytest.fixture(scope="module")
def admin_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which the init script of the server mode has run."""
    with postgres_over_tcp(tmp_path_factory.mktemp("postgres_tcp")) as url:
        make_role(urlsplit(url).port or 0, PASSWORD, APPLICATION_PASSWORD)
        yield url


@pytest.fixture
def application_url(admin_url: str) -> str:
    port = urlsplit(admin_url).port
    return f"postgresql://ml_assets:it%27s-%5Ca-secret@127.0.0.1:{port}/ml_assets"


def with_path(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def test_the_application_role_migrates_its_database_once(application_url: str) -> None:
    for _ in range(2):
        with postgres.connect(application_url, Path()) as connection:
            names = connection.execute(
                "select name from migrations where store = 'postgres' order by name"
            ).fetchall()
            assert migrate(connection) == []
            superuser = connection.execute(
                "select rolsuper from pg_roles where rolname = current_user"
            ).fetchone()
    assert [name for (name,) in names] == [one.name for one in read_migrations("postgres")]
    assert superuser == (False,)


def test_the_init_script_makes_three_databases_of_the_application(admin_url: str) -> None:
    with psycopg.connect(admin_url) as connection:
        owned = connection.execute(
            "select datname from pg_database where pg_get_userbyid(datdba) = 'ml_assets'"
        ).fetchall()
    assert {name for (name,) in owned} == {"ml_assets", "mlflow", "dagster"}


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught, postgres.connect(url, Path()):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("POSTGRES_URL: ")
    return message


def test_a_wrong_password_is_refused_without_showing_it(admin_url: str) -> None:
    message = refusal(admin_url.replace(PASSWORD, "wrong-guess"))
    assert "password authentication failed" in message
    assert "wrong-guess" not in message


def test_an_at_sign_in_the_password_is_explained_and_not_shown() -> None:
    message = refusal("postgresql://someone:half@other@127.0.0.1/database")
    assert "%40" in message
    assert "half" not in message
    assert "other" not in message


def test_an_absent_database_is_named(admin_url: str) -> None:
    assert '"nowhere" does not exist' in refusal(with_path(admin_url, "nowhere"))


def test_an_unreachable_server_is_named() -> None:
    port = free_port()
    message = refusal(f"postgresql://someone:{PASSWORD}@127.0.0.1:{port}/database")
    assert f"port {port} failed" in message
    assert PASSWORD not in message


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{PASSWORD}@somewhere/x",
        f"postgresql://me:{PASSWORD}@host:no-port/x",
        f"me:{PASSWORD}@host/x",
        f"postgresql://me:{PASSWORD}/more@host/x",
    ],
)
def test_what_is_no_postgres_url_is_refused_without_its_password(url: str) -> None:
    message = refusal(url)
    assert PASSWORD not in message
    assert "Write postgresql://" in message


def test_a_host_that_is_gone_is_noticed_before_its_turn_is_given_away(postgres_url: str) -> None:
    """The server gives up a silent session after a minute; the client in half of that."""

    def parameters(url: str) -> dict[str, str]:
        with postgres.connect(url, Path()) as connection:
            return connection.info.get_parameters()

    names = ("keepalives_idle", "keepalives_interval", "keepalives_count")
    given = parameters(postgres_url)
    idle, interval, count = (int(given[name]) for name in names)
    assert idle + interval * count <= 30
    assert given["tcp_user_timeout"] == "30000"
    separator = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{separator}tcp_user_timeout=5000&keepalives_idle=7"
    given = parameters(url)
    assert (given["tcp_user_timeout"], given["keepalives_idle"]) == ("5000", "7")


def test_a_server_that_ends_the_connection_is_one_line(postgres_url: str) -> None:
    with pytest.raises(StoreError) as caught:
        write_and_be_ended(postgres_url)
    assert "terminating connection" in str(caught.value)
    assert "\n" not in str(caught.value)
    with postgres.connect(postgres_url, Path()) as connection:
        row = connection.execute("select to_regclass('half_written')").fetchone()
    assert row == (None,)


def write_and_be_ended(url: str) -> None:
    with postgres.connect(url, Path()) as connection, connection.transaction():
        connection.execute("create table half_written ()")
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        connection.execute("select 1")


def test_a_kept_connection_is_handed_out_again_and_brings_nothing_of_before(
    postgres_url: str,
) -> None:
    idle: list[postgres.Connection] = []
    with postgres.connect(postgres_url, Path(), idle=idle) as connection:
        assert not idle
        connection.execute("create temp table staged as select 1 as n")
        first = connection.info.backend_pid
    with postgres.connect(postgres_url, Path(), idle=idle) as connection:
        assert connection.info.backend_pid == first
        assert not idle, "who has it has it alone"
        assert connection.execute("select to_regclass('staged')").fetchone() == (None,)
        with postgres.connect(postgres_url, Path(), idle=idle) as second:
            assert second.info.backend_pid != first
    assert len(idle) == 2
    for kept in idle:
        kept.close()


def test_a_kept_connection_that_failed_or_was_ended_is_not_handed_out(postgres_url: str) -> None:
    idle: list[postgres.Connection] = []
    with (
        pytest.raises(psycopg.errors.UndefinedColumn),
        postgres.connect(postgres_url, Path(), idle=idle) as failed,
    ):
        failed.execute("select absent")
    assert failed.closed
    assert not idle
    with postgres.connect(postgres_url, Path(), idle=idle) as left:
        left.autocommit = False
        left.execute("select 1")
    assert left.closed
    assert not idle, "its transaction is still open"
    with postgres.connect(postgres_url, Path(), idle=idle) as ended:
        pass
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [ended.info.backend_pid])
    with postgres.connect(postgres_url, Path(), idle=idle) as connection:
        assert connection.info.backend_pid != ended.info.backend_pid
    assert ended.closed
    assert idle == [connection]
    connection.close()


def test_a_full_disk_is_one_line(postgres_url: str) -> None:
    full = psycopg.errors.DiskFull("could not extend file\nHINT: Check free disk space.")
    with (
        pytest.raises(StoreError, match=r"^POSTGRES_URL: could not extend file\. Check") as caught,
        postgres.connect(postgres_url, Path()),
    ):
        raise full
    assert caught.value.__suppress_context__


def test_a_defect_of_ours_keeps_its_type(postgres_url: str) -> None:
    with (
        pytest.raises(psycopg.errors.UndefinedColumn),
        postgres.connect(postgres_url, Path()) as connection,
    ):
        connection.execute("select nowhere")


def test_a_role_that_may_not_create_a_database_is_told_so(
    admin_url: str, application_url: str
) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("alter role ml_assets nocreatedb")
    with pytest.raises(StoreError, match="the database another cannot be created") as caught:
        postgres.server_url(application_url, Path(), "another")
    assert "permission denied" in str(caught.value)


def test_a_server_without_pgvector_says_what_to_install(
    admin_url: str, application_url: str
) -> None:
    # In the database `mlflow` nobody created the extension, and the role may not.
    message = refusal(with_path(application_url, "mlflow"))
    assert "pgvector is not available" in message
    assert "create extension vector" in message
    with psycopg.connect(with_path(admin_url, "mlflow")) as connection:
        row = connection.execute("select to_regnamespace('ml_schema')").fetchone()
    assert row == (None,), "a refused migration must leave nothing behind"


def test_a_pgvector_that_is_too_old_is_refused(admin_url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("create database outdated")
    url = with_path(admin_url, "outdated")
    with psycopg.connect(url) as connection:
        connection.execute("create extension vector")
        connection.execute("update pg_extension set extversion = '0.7.4' where extname = 'vector'")
    assert "pgvector 0.7.4 is too old" in refusal(url)
