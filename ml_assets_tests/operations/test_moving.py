"""Empty servers are filled whole or not at all, and a home says what it leaves behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from typer.testing import CliRunner

from ml_assets import cli
from ml_assets.errors import RoleError, StoreError
from ml_assets.operations import moving
from ml_assets.releases.audit import Entry, read_entries, verify
from ml_assets.releases.roles import grant
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets.stores.postgres.dump import dump

BACKUP, OTHER = "0123456789abcdef", "fedcba9876543210"
RESTORED = Entry("ann", "restore", "home", "a disk was lost")
ADD = "insert into collections (collection, source, fingerprint) values (%s, 'test', '')"


@pytest.fixture
def dumped(postgres_url: str, tmp_path: Path) -> Path:
    """The dump of a database with one row."""
    file = tmp_path / "postgres.dump"
    with postgres.connect(postgres_url, tmp_path) as connection:
        connection.execute(ADD, ["kept\tby\\tab\n\\."])
        dump(postgres_url, file, "ml_schema")
        connection.execute("delete from collections")
    return file


def rows(connection: postgres.Connection) -> list[str]:
    return [name for (name,) in connection.execute("select collection from collections")]


def test_a_server_with_rows_is_refused(connection: postgres.Connection) -> None:
    connection.execute(ADD, ["theirs"])
    with (
        pytest.raises(
            StoreError, match=r"the server is not empty: ml_schema\.collections has rows"
        ),
        moving.claimed(connection, BACKUP),
    ):
        pass
    assert rows(connection) == ["theirs"]


def test_a_restore_that_was_killed_goes_on_and_no_other(
    connection: postgres.Connection, dumped: Path
) -> None:
    def die(backup: str, *, loaded: bool) -> bool:
        with suppress(InterruptedError), moving.claimed(connection, backup) as begun:
            if loaded:
                moving.load_ours(connection, dumped, RESTORED)
            raise InterruptedError
        return begun

    assert not die(OTHER, loaded=False)
    assert not die(BACKUP, loaded=True), "nothing was written before the other one ended"
    with pytest.raises(StoreError, match="is not empty"), moving.claimed(connection, OTHER):
        pass
    connection.execute(ADD, ["written since"])
    with moving.claimed(connection, BACKUP) as begun:
        assert begun
        moving.load_ours(connection, dumped, RESTORED)
    assert rows(connection) == ["kept\tby\\tab\n\\.", "written since"]
    with pytest.raises(StoreError, match="is not empty"), moving.claimed(connection, BACKUP):
        pass


def test_what_a_server_does_not_take_leaves_it_as_it_was(
    connection: postgres.Connection, dumped: Path
) -> None:
    dumped.write_bytes(dumped.read_bytes()[:-2000])
    with pytest.raises(StoreError, match="pg_restore failed"):
        moving.load_ours(connection, dumped, RESTORED)
    assert rows(connection) == []
    connection.execute(ADD, ["the tables are there"])


def test_names_are_found_as_before_after_a_load(
    connection: postgres.Connection, dumped: Path
) -> None:
    before = connection.execute("show search_path").fetchone()
    moving.load_ours(connection, dumped, RESTORED)
    assert connection.execute("show search_path").fetchone() == before
    assert connection.execute("show check_function_bodies").fetchone() == ("on",)


def test_a_restore_is_logged_and_takes_an_admin_of_the_backup(
    connection: postgres.Connection, postgres_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "with_roles.dump"
    grant(connection, "ann", "admin", "ann")
    dump(postgres_url, file, "ml_schema")
    connection.execute("alter table model_audit_logs disable trigger all")
    connection.execute("delete from model_audit_logs; delete from audit_head")
    with pytest.raises(RoleError, match="'bob' has no role, and may not restore"):
        moving.load_ours(connection, file, replace(RESTORED, actor="bob"))
    assert read_entries(connection, 1) == []
    moving.load_ours(connection, file, RESTORED)
    assert [entry.action for entry in read_entries(connection, 9)] == ["grant role", "restore"]
    assert verify(connection) is None


def test_mlflows_database_in_use_is_refused(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "MLFLOW", urlsplit(postgres_url).path[1:])
    settings, file = load_settings(home=tmp_path, postgres_url=postgres_url), tmp_path / "absent"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for table in ("runs", "registered_models", "logged_models"):
            connection.execute(f"create table {table} (name text)")
        connection.execute("insert into registered_models values ('theirs')")
    moving.load_mlflow(settings, tmp_path, file, begun=True)
    with pytest.raises(StoreError, match="it has runs or models already"):
        moving.load_mlflow(settings, tmp_path, file, begun=False)


@pytest.fixture
def pilot() -> Iterator[Path]:
    """A home with an embedded database of one document."""
    home = Path(tempfile.mkdtemp(prefix="ml_assets-")) / "home"
    home.parent.chmod(0o755)
    with postgres.connect(None, home) as connection:
        connection.execute(ADD, ["ours"])
        connection.execute(
            "insert into documents (document_id, collection, title, text, group_id, content_hash)"
            " values ('a', 'ours', '', 'text', 'a', '')"
        )
    yield home
    postgres.stop(home)
    shutil.rmtree(home.parent)


def test_a_home_says_what_it_leaves_behind(
    pilot: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(pilot))
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    monkeypatch.setenv("ML_ASSETS_SOURCE", f"files:{pilot / 'absent.jsonl'}")
    for command in (["run"], ["status"], ["search", "anything"]):
        told = CliRunner().invoke(cli.app, command).stderr
        assert "This home has an embedded database with 1 documents" in told, command
        assert "is empty. To move: `ml-assets backup FOLDER` without the URL" in told
    # Of several hosts the client takes the first that answers.
    server = urlsplit(postgres_url)
    place = f"{server.hostname}:{server.port}"
    hosts = server.netloc.replace(place, f"{place},{place}")
    monkeypatch.setenv("POSTGRES_URL", urlunsplit(server._replace(netloc=hosts)))
    assert f"the server at {place},{place} is empty" in moving.left_behind(load_settings())
    with postgres.connect(postgres_url, pilot) as connection:
        connection.execute(ADD, ["ours"])
        connection.execute(
            "insert into documents (document_id, collection, title, text, group_id, content_hash)"
            " values ('a', 'ours', '', 'text', 'a', '')"
        )
    assert "embedded database" not in CliRunner().invoke(cli.app, ["status"]).stderr
    monkeypatch.delenv("POSTGRES_URL")
    assert "embedded database" not in CliRunner().invoke(cli.app, ["status"]).stderr
