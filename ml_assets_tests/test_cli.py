"""Commands at the prompt, on a database of their own."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ml_assets import cli
from ml_assets.console.runs import run_summary
from ml_assets.defs.run import RunReport
from ml_assets.embeddings.scripts import Unreadable
from ml_assets.registry.serving import Prediction
from ml_assets.releases.audit import Entry, append
from ml_assets.session import Session
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import try_lock
from ml_assets.stores.folders import folder


@pytest.fixture
def home(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the commands, on the database of the test."""
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "home"


def call(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, words, input=text)


def test_quarantined_rows_are_listed(home: Path, connection: postgres.Connection) -> None:
    assert "No row is quarantined" in call("rejected").output
    for line, reason in ((2, "no text"), (7, "the id is there twice")):
        connection.execute(
            "insert into rejected_documents (collection, location, reason) values ('c', %s, %s)",
            [f"f.csv:{line}", reason],
        )
    everything = call("rejected").output
    assert "Quarantined rows: 2" in everything
    assert "f.csv:7" in everything
    first = call("rejected", "--limit", "1")
    assert "1 of 2; --limit shows more" in first.output
    assert "f.csv:7" not in first.output
    rows = json.loads(call("rejected", "--json").output)
    assert [row["reason"] for row in rows] == ["no text", "the id is there twice"]


def test_the_audit_log_is_shown_and_verified(home: Path, connection: postgres.Connection) -> None:
    assert "yet" in call("audit").output
    for version in ("1", "2", "3"):
        append(connection, Entry("ann", "promote", f"model:{version}", "better"))
    done = call("audit", "--json", "--limit", "2")
    entries = json.loads(done.output)["entries"]
    assert [entry["subject"] for entry in entries] == ["model:2", "model:3"]
    assert "promote model:1" in call("audit").output
    assert done.exit_code == 0
    connection.execute("alter table model_audit_logs disable trigger all")
    connection.execute("update model_audit_logs set reason = 'worse' where subject = 'model:2'")
    done = call("audit")
    assert done.exit_code == 1
    assert "the audit log was altered: 2: its content was altered" in done.output


def test_a_log_without_its_end_is_told(home: Path, connection: postgres.Connection) -> None:
    append(connection, Entry("ann", "promote", "model:1", "better"))
    connection.execute("alter table model_audit_logs disable trigger all")
    connection.execute("delete from model_audit_logs")
    done = call("audit")
    assert done.exit_code == 1
    assert "altered: 1: it is missing: the end was cut off" in done.output
    assert "ml-assets restore" in done.output


@pytest.mark.parametrize(
    "words",
    [
        ("audit",),
        ("audit", "verify"),
        ("audit", "export"),
        ("audit", "anchor", "--reason", "why not"),
        ("status",),
        ("run",),
        ("roles", "list"),
        ("roles", "grant", "ann", "admin"),
        ("keys", "create", "page"),
        ("rollback", "--reason", "why not"),
        ("forget", "a", "--reason", "why not"),
        ("restore", "absent"),
    ],
    ids=" ".join,
)
def test_a_log_that_was_dropped_is_one_line_with_what_to_do(
    home: Path, connection: postgres.Connection, words: tuple[str, ...]
) -> None:
    append(connection, Entry("ann", "promote", "model:1", "better"))
    connection.execute("drop table model_audit_logs cascade")
    done = call(*words)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    (line,) = (line for line in done.output.splitlines() if "Error" in line)
    assert "restore" in line or "there is no" in line, line


def test_the_audit_log_is_verified_written_out_and_anchored(
    home: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "0 entries are sound." in call("audit", "verify").output
    append(connection, Entry("ann", "promote", "model:1", "better"))
    assert call("roles", "grant", "ann", "admin").exit_code == 0
    output = " ".join(call("audit", "verify").output.split())
    assert "3 entries are sound, as kept by the home and 0 of Dagster's" in output
    assert "; the last is 3 " in output
    # A replica may lag behind: what the home kept would seem to be cut off.
    monkeypatch.setenv("POSTGRES_READ_URL", "postgresql://ann@127.0.0.1:1/absent")
    assert call("audit", "verify").exit_code == 0
    monkeypatch.delenv("POSTGRES_READ_URL")
    lines = call("audit", "export").output.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["promote", "grant role", "anchor"]
    (home / "audit" / "head.json").unlink()
    for words in (["audit"], ["audit", "verify"]):
        done = call(*words)
        assert done.exit_code == 1
        assert "3: audit/head.json, which kept the end since then, is missing" in done.output
    refused = call("audit", "anchor", "--reason", "lost")
    assert refused.exit_code == 1
    assert "has no role, and may not anchor anew: that takes an admin" in refused.output
    monkeypatch.setenv("ML_ASSETS_ACTOR", "ann")
    done = call("audit", "anchor", "--reason", "lost")
    assert "It was told: 3: audit/head.json" in " ".join(done.output.split())
    assert call("audit", "verify").exit_code == 0


def test_roles_are_given_listed_and_taken(
    home: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Nobody has a role" in call("roles", "list").output
    monkeypatch.setenv("ML_ASSETS_ACTOR", "ann")
    call("roles", "grant", "ann", "admin", "--reason", "she knows")
    call("roles", "grant", "bob", "viewer")
    rows = json.loads(call("roles", "list", "--json").output)
    assert [(row["actor"], row["role"]) for row in rows] == [("ann", "admin"), ("bob", "viewer")]
    assert "bob has no role any more." in call("roles", "revoke", "bob").output
    assert "ann" in call("roles", "list").output
    monkeypatch.setenv("ML_ASSETS_ACTOR", "bob")
    refused = call("keys", "create", "door")
    assert refused.exit_code == 1
    assert "'bob' has no role, and may not create key: that takes an admin" in refused.output
    user = connection.info.user
    assert f"'{user}' is, or is a member of" in " ".join(call("roles", "sql", user).output.split())


@pytest.mark.parametrize(("statement", "code"), [("select 6 * 7 as product", 0), ("nonsense", 1)])
def test_sql_is_executed_by_psql(
    home: Path,
    connection: postgres.Connection,
    capfd: pytest.CaptureFixture[str],
    statement: str,
    code: int,
) -> None:
    assert call("sql", "select count(*) from documents", statement).exit_code == code
    assert ("42" in capfd.readouterr().out) == (code == 0)


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What the champion is asked for, at a time; it finds everything long."""
    asked: list[Sequence[str]] = []

    def predictions(
        _: object, texts: Sequence[str], metadata: Sequence[Mapping[str, Any]]
    ) -> list[Prediction]:
        asked.append(texts)
        own = zip(texts, metadata, strict=True)
        unknown = [
            {} if "author" in known else {"rated": "no author was given"} for _, known in own
        ]
        return [Prediction({"long": 0.75, "short": 0.25}, {}, each) for each in unknown]

    monkeypatch.setattr(Session, "predictions", predictions)
    return asked


def test_lines_of_standard_input_are_labelled_as_json_lines(labelled: list[Sequence[str]]) -> None:
    done = call("predict", "--file", "-", text="one\n\n  two é \n" + "more\n" * 300)
    assert [len(texts) for texts in labelled] == [256, 46]
    assert done.stderr.count("Not known: rated, since no author was given; the medians") == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 302
    assert lines[1] == {
        "text": "two é",
        "label": "long",
        "probabilities": {"long": 0.75, "short": 0.25},
    }


def test_who_texts_are_of_is_told_by_metadata(labelled: list[Sequence[str]]) -> None:
    done = call("predict", "one", "two", "--metadata", "author=a=b", "--json")
    assert json.loads(done.stdout) == [{"long": 0.75, "short": 0.25}] * 2
    assert done.stderr == ""
    done = call("predict", "one", "--metadata", "author")
    assert done.exit_code == 1
    assert "--metadata: 'author' has no key. Write author_id=7" in " ".join(done.output.split())


def test_a_file_that_is_not_utf_8_is_one_line(
    labelled: list[Sequence[str]], tmp_path: Path
) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes("café".encode("latin-1"))
    done = call("predict", "--file", str(file))
    assert done.exit_code == 1
    assert "latin.txt: it is not UTF-8" in done.output
    assert labelled == []


@pytest.mark.parametrize("words", [[], ["a text", "--file", "-"]])
def test_a_prediction_is_of_texts_or_of_a_file(
    labelled: list[Sequence[str]], words: list[str]
) -> None:
    done = call("predict", *words, text="")
    assert done.exit_code == 1
    assert "one text per line" in done.output
    assert labelled == []


def test_keys_are_shown_once_listed_and_revoked(
    home: Path, connection: postgres.Connection
) -> None:
    assert "No key was made yet" in call("keys", "list").output
    shown = call("keys", "create", "ann", "--only", "read").output.strip()
    assert shown.startswith("mla_")
    (row,) = json.loads(call("keys", "list", "--json").output)
    assert (row["name"], row["role"], row["may"]) == ("ann", "viewer", "read")
    assert shown.rpartition("_")[2] not in call("keys", "list").output
    assert "was revoked" in call("keys", "revoke", row["key"]).output
    again = call("keys", "revoke", row["key"])
    assert again.exit_code == 1
    assert "ml-assets keys list" in again.output
    wrong = call("keys", "create", "bob", "--role", "owner")
    assert wrong.exit_code == 1
    assert "--role: there is no role 'owner'" in wrong.output
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    refused = call("serve", "--host", "0.0.0.0", "--port", port)  # noqa: S104
    assert refused.exit_code == 1
    assert "there is no key" in refused.output


@pytest.mark.parametrize("command", ["ui", "mlflow", "serve"])
def test_a_busy_port_is_told_at_once(
    home: Path, connection: postgres.Connection, command: str
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = call(command, "--port", port)
    assert done.exit_code == 1
    assert f"--port: port {port} cannot be used" in done.output


@pytest.mark.parametrize("host", ["192.0.2.1", "two..dots"])
def test_an_address_that_is_not_of_this_machine_is_told(home: Path, host: str) -> None:
    done = call("serve", "--host", host, "--port", "8080")
    assert done.exit_code == 1
    assert "--host: " in done.output
    assert "is no address of this machine" in done.output


def test_the_second_ui_of_a_home_names_the_first(home: Path) -> None:
    lock = folder(home / "dagster") / "ui.lock"
    lock.write_text("3033")
    held = try_lock(lock)
    assert held is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = call("ui", "--port", port)
    assert done.exit_code == 1
    assert "Open http://127.0.0.1:3033" in done.output
    os.close(held)


def test_mlflow_on_a_server_has_pages_of_its_own(
    home: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert "MLFLOW_TRACKING_URI: MLflow is on a server" in call("mlflow").output


@pytest.mark.parametrize(("most", "shown"), [(10, 10), (None, 12)])
def test_a_summary_shows_the_longest_steps(most: int | None, shown: int) -> None:
    report = RunReport(seconds={f"step {number}": float(number) for number in range(13)})
    counts = dict.fromkeys(("collections", "documents", "rejected", "chunks", "vectors"), 0)
    numbers = {**counts, "measurement": None, "candidates": None, "champion": None}
    written = StringIO()
    console = Console(file=written, width=80)
    for part in run_summary(report, numbers, most):
        console.print(part)
    text = written.getvalue()
    assert text.count("step ") == shown
    assert "step 12" in text
    assert ("--verbose shows all" in text) == (most is not None)


def test_a_summary_leaves_out_nothing_in_silence() -> None:
    """Removals, quarantined rows, unknown scripts, too small labels, and why there is no model."""
    small = {f"l{number}": number for number in range(1, 13)}
    report = RunReport(removed=7, small_labels=small, no_model="fewer than two labels have 10")
    report.unreadable = Unreadable(1_200, "zh0", "all-MiniLM-L6-v2")
    report.unheld_keys = {"author_id": ["stars", "history"]}
    report.alike_labels = [("A", "a"), ("b", "b\u200b"), *((f"{n}", f"{n}") for n in range(9))]
    counts = dict.fromkeys(("collections", "documents", "rejected", "chunks", "vectors"), 0)
    numbers = {**counts, "rejected": 3, "measurement": None, "candidates": None, "champion": None}
    numbers["label_review"] = {"in_doubt": 1_200, "documents": 30_000}

    def told(report: RunReport, numbers: dict[str, Any]) -> str:
        written = StringIO()
        console = Console(file=written, width=200)
        for part in run_summary(report, numbers):
            console.print(part)
        return written.getvalue()

    text = told(report, numbers)
    assert "removed         7" in text
    assert "3 (`ml-assets rejected` lists them)" in text
    assert "Fewer than two labels have 10, so there is no model to train." in text
    assert "1,200 documents are written in a script that all-MiniLM-L6-v2 does not know" in text
    assert "Set ML_ASSETS_EMBEDDING_MODEL to a multilingual model" in " ".join(text.split())
    unheld = "No document has author_id in its metadata, so models learn nothing from stars and"
    assert f"{unheld} history. Have the source carry it: metadata=author_id" in text
    assert "12 labels have too few groups of documents to train on; the first 10" in text
    assert [line.split() for line in text.splitlines() if line.split()[:1] == ["l10"]] == [
        ["l10", "10"]
    ]
    assert "l11" not in text
    line = next(line for line in text.splitlines() if "case, spacing or unseen" in line)
    assert "'A' and 'a'; 'b' and 'b\\u200b'; '0' and '0';" in line
    assert "Write them alike" in " ".join(text.split())
    assert "'7' and '7'; and 1 more." in " ".join(text.split())
    doubt = "The labels of 1,200 of 30,000 documents are in doubt: `ml-assets errors --labels`"
    assert doubt in " ".join(text.split())
    sure = {"in_doubt": 0, "documents": 30_000}
    quiet = told(RunReport(), {**numbers, "rejected": 0, "label_review": sure})
    assert not any(
        word in quiet
        for word in ("removed", "rejected", "script", "no model", "too few", "unseen", "doubt")
    )
