"""`ml-assets forget`: what it asks for, what it refuses, and what it says on a server."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ml_assets import cli
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_documents
from ml_assets.operations.erasure.backups import keep_backup
from ml_assets.operations.erasure.request import is_any_begun
from ml_assets.releases.roles import grant
from ml_assets.stores import postgres
from ml_assets_tests.fakes import MemorySource

ROWS = [
    Document(
        "note-1", "notes", "It tells of zq7marker4711 alone.", label="a", metadata={"of": "ann"}
    ),
    Document("note-2", "notes", "It tells of another thing.", label="a", metadata={"of": "bob"}),
    Document("note-3", "notes", "It tells of another thing.", metadata={"of": "eve"}),
]


@pytest.fixture
def home(
    tmp_path: Path,
    postgres_url: str,
    connection: postgres.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A home whose documents are on a server, and whose source is gone."""
    settings = {"HOME": tmp_path / "home", "ACTOR": "ann", "SOURCE": f"files:{tmp_path}/no.jsonl"}
    for name, value in settings.items():
        monkeypatch.setenv(f"ML_ASSETS_{name}", str(value))
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    refresh_documents(connection, MemorySource(ROWS), ["notes"])
    return tmp_path / "home"


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["forget", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "it takes the id of a document, or --where with a condition"),
        (("note-1", "--where", 'label = "a"'), "it takes the id of a document, or --where"),
        (("note-1",), "the reason is missing"),
        (("note-4", "--dry-run"), "no run ever saw a document 'note-4'"),
        (("--where", "created_at >= 2026-01-31", "--dry-run"), "no document passes"),
        (("--where", "label = red", "--dry-run"), "--where: a text in double quotes"),
        (
            ("note-1", "--reason", "she wrote zq7marker4711"),
            "the reason says what is to be forgotten",
        ),
        (("--verify", "no.json"), "it is no receipt"),
    ],
)
def test_what_cannot_be_done_is_one_line(home: Path, words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())
    assert not list(home.glob("forgetting/*"))


def test_a_dry_run_tells_what_would_go_and_changes_nothing(
    home: Path, connection: postgres.Connection
) -> None:
    found = json.loads(call("--where", 'metadata.of = "bob"', "--dry-run", "--json").output)
    assert found["documents"] == ["note-2"]
    assert found["texts_elsewhere"] == ["note-3"]
    assert found["source"] is None
    assert "Would be forgotten; nothing was" in call("note-1", "--dry-run").output
    assert connection.execute("select count(*) from documents").fetchone() == (3,)


def test_on_a_server_the_receipt_says_what_it_cannot_show(
    home: Path, connection: postgres.Connection
) -> None:
    done = call("note-2", "--reason", "case 1")
    assert done.exit_code == 0, done.output
    (file,) = home.glob("forgetting/*.json")
    receipt = json.loads(file.read_text())
    assert receipt["verified"]["rows"] == 0
    assert any("replicas" in each for each in receipt["not_shown"])
    rows = connection.execute("select document_id from documents order by 1").fetchall()
    assert rows == [("note-1",), ("note-3",)]
    assert connection.execute("select document_count from collections").fetchall() == [(2,)]
    assert call("--verify", str(file)).exit_code == 0
    connection.execute(
        "insert into change_log (stage, collection, document_id, action, reason)"
        " values ('documents', 'notes', 'note-2', 'added', 'new')"
    )
    again = call("--verify", str(file))
    assert again.exit_code == 1
    assert "the table change_log" in " ".join(again.output.split())


def test_what_is_left_is_gone_on_with(home: Path, connection: postgres.Connection) -> None:
    """In a place where no eraser looks, until somebody takes it away."""
    keep_backup(connection, home.parent / "before", datetime.now(UTC))
    left = home / "models" / "left.txt"
    left.parent.mkdir(parents=True)
    left.write_text("of zq7marker4711 alone")
    done = call("note-1", "--reason", "case 1")
    assert done.exit_code == 1
    (file,) = home.glob("forgetting/*.json")
    assert "the next `ml-assets forget` goes on" in " ".join(done.output.split())
    assert "forget it again, which goes on" in " ".join(call("--verify", str(file)).output.split())
    assert not is_any_begun(home)
    left.unlink()
    keep_backup(connection, home.parent / "meanwhile", datetime.now(UTC))
    assert call("note-1", "--reason", "case 1").exit_code == 0
    backups = [Path(each["folder"]).name for each in json.loads(file.read_text())["backups"]]
    assert backups == ["before", "meanwhile"]
    assert call("--verify", str(file)).exit_code == 0
    assert "forgotten already" in call("note-1", "--reason", "case 1").output
    left.write_text("It tells of zq7marker4711 alone.")
    assert "take them out where they are" in " ".join(call("--verify", str(file)).output.split())


def test_who_is_no_admin_may_look_and_not_forget(
    home: Path, connection: postgres.Connection
) -> None:
    grant(connection, "eve", "admin", "eve")
    done = call("note-1", "--reason", "case 1")
    assert done.exit_code == 1
    assert "may not forget: that takes an admin" in " ".join(done.output.split())
    assert call("note-1", "--dry-run").exit_code == 0
    assert connection.execute("select count(*) from documents").fetchone() == (3,)
