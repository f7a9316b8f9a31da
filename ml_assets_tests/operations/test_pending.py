"""What makes a finished run one that must be repeated."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml_assets.console.layout import moment
from ml_assets.console.runs import failed_checks
from ml_assets.defs.build import build_definitions
from ml_assets.documents.history import count_changes
from ml_assets.documents.pushed.queue import push, pushed_document
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import open_source
from ml_assets.errors import StoreError
from ml_assets.features import Table
from ml_assets.features.offline import create_table
from ml_assets.operations import pending, state
from ml_assets.operations.erasure.request import FOLDER
from ml_assets.operations.lasting import LASTING_WARNINGS, is_finish
from ml_assets.operations.pending import (
    adopt_finish,
    forget_finish,
    keep_standing,
    kept_finish,
    last_finish,
    remember_finish,
    was_finished,
)
from ml_assets.operations.status import read_standing
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.gates import Gate
from ml_assets.search.model import Generation
from ml_assets.search.publishing import lifecycle
from ml_assets.service.admission.counters import obstacle
from ml_assets.service.admission.keys import create_key, revoke_key
from ml_assets.service.following import deployments
from ml_assets.service.following.deployments import Process
from ml_assets.service.page.judgments import Judgment, judge, withdraw
from ml_assets.service.page.sessions import open_sessions
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, clickhouse, duckdb, mlflow, online, postgres
from ml_assets_tests.features.own_views import STATS
from ml_assets_tests.monitoring.alerting.examples import critical_alert
from ml_assets_tests.operations.finishing import end_a_run, of_one_document
from ml_assets_tests.search.corpus import generation_of
from ml_assets_tests.search.measurements import age_releases, back, publish


@pytest.fixture
def ended(
    settings: Settings, postgres_url: str, connection: postgres.Connection, tmp_path: Path
) -> Settings:
    """Settings of a deployment whose last run ended well, on one document."""
    changed = of_one_document(settings, postgres_url, tmp_path)
    (changed.home / "keyword").mkdir(parents=True)
    (changed.home / "keyword" / "meta.json").write_text("{}")
    changed.duckdb_file.write_bytes(b"features")
    end_a_run(connection, changed)
    assert last_finish(changed) is not None
    return changed


def edit_the_source(settings: Settings) -> Settings:
    Path(settings.source.removeprefix("files:")).write_text('{"id": "x", "text": "Two."}\n')
    return settings


def lose_a_store(settings: Settings) -> Settings:
    (settings.home / "keyword" / "meta.json").unlink()
    return settings


def write_a_store(settings: Settings) -> Settings:
    settings.duckdb_file.write_bytes(b"others")
    return settings


def write_the_log_of_a_store(settings: Settings) -> Settings:
    settings.duckdb_file.with_name(settings.duckdb_file.name + ".wal").write_bytes(b"others")
    return settings


def begin_to_forget(settings: Settings) -> Settings:
    (settings.home / FOLDER).mkdir()
    (settings.home / FOLDER / "r1.begun.17.tmp").touch()
    return settings


def execute(statement: str) -> Callable[[Settings], Settings]:
    def change(settings: Settings) -> Settings:
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            connection.execute(statement)
        return settings

    return change


CHANGES: list[Callable[[Settings], Settings]] = [
    edit_the_source,
    lose_a_store,
    write_a_store,
    write_the_log_of_a_store,
    begin_to_forget,
    execute("drop index documents_changed_at"),
    execute("reindex index documents_pkey"),
    execute("truncate withdrawals"),
    lambda settings: settings.model_copy(update={"seed": 1}),
    lambda settings: settings.model_copy(update={"chunk_tokens": 100}),
    lambda settings: settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_asks_for_a_run(ended: Settings, change: Callable[[Settings], Settings]) -> None:
    assert last_finish(change(ended)) is None


def test_who_asks_leaves_what_a_request_to_forget_is_writing(ended: Settings) -> None:
    assert last_finish(begin_to_forget(ended)) is None
    assert any((ended.home / FOLDER).iterdir())


def test_a_row_is_seen_while_another_process_keeps_it_in_the_log(
    ended: Settings, connection: postgres.Connection
) -> None:
    with closing(sqlite3.connect(ended.home / "online.sqlite", isolation_level=None)) as reader:
        reader.execute("pragma journal_mode = wal")
        reader.execute("create table online_features (entity_id text)")
        end_a_run(connection, ended)
        assert last_finish(ended) is not None
        with closing(sqlite3.connect(ended.home / "online.sqlite")) as writer, writer:
            writer.execute("insert into online_features values ('space-8')")
        assert last_finish(ended) is None


def test_what_the_service_writes_is_no_change(
    ended: Settings, connection: postgres.Connection
) -> None:
    """What runs read is as they left it, also in the file that the service had open meanwhile."""
    with online.connect(None, ended.home) as reader:
        reader.views()
        with online.connect(None, ended.home) as writer:
            writer.put_many("view", {"x": online.Row({"n": 1}, "r")})
        end_a_run(connection, ended)
        process = Process("here")
        for _ in range(2):
            deployments.record(connection, process, None, datetime.now(UTC))
        key_id = create_key(connection, "ann", "viewer", [], "tester").split("_")[1]
        append(connection, Entry(f"key/{key_id}", "deny", "service write", "a viewer"))
        judge(connection, Judgment("bread", "x", "ann", is_relevant=True, release_id=None))
        revoke_key(connection, key_id, "tester")
        deployments.forget(connection, process)
        withdraw(connection, Judgment("bread", "x", "ann", is_relevant=True, release_id=None))
        assert obstacle(None, ended.home) == ""
        with open_sessions(None, ended.home) as sessions:
            sessions.keep("name", key_id)
    connection.execute("reindex table judgments")
    connection.execute("truncate judgments")
    assert last_finish(ended) is not None
    with pytest.MonkeyPatch.context() as patch:  # of what was pushed the source tells
        patch.setattr(pending, "changed_collections", lambda *_: [])
        sent = {"id": "p", "text": "Bread.", "collection": "pushed"}
        push(connection, [pushed_document(sent, 1 << 20)], "ann")
        assert last_finish(ended) is not None
    assert last_finish(ended) is None


def write_by_day(settings: Settings, *, dies: bool = False) -> None:
    (settings.home / "chdb").mkdir(exist_ok=True)
    (settings.home / "chdb" / "part.bin").write_text(f"{datetime.now(UTC)}")
    if dies:
        raise InterruptedError


def test_what_is_written_by_day_is_no_change(
    ended: Settings, connection: postgres.Connection
) -> None:
    with kept_finish(ended):
        write_by_day(ended)
    assert last_finish(ended) is not None
    assert was_finished(connection, ended)
    with kept_finish(ended) as failed:
        write_by_day(ended)
        failed.append("a step")
    assert was_finished(connection, ended) is False
    end_a_run(connection, ended)
    with pytest.raises(InterruptedError), kept_finish(ended):
        write_by_day(ended, dies=True)
    assert was_finished(connection, ended) is False
    with kept_finish(ended):
        write_by_day(ended)
    assert was_finished(connection, ended) is False, "it was none before"
    end_a_run(connection, ended)
    with kept_finish(ended):
        write_by_day(ended)
        append(connection, Entry("ann", "approve", "model/3", "it is good"))
    assert was_finished(connection, ended) is False, "a person decided meanwhile"


def test_alerts_are_no_change(ended: Settings, connection: postgres.Connection) -> None:
    with critical_alert(connection):
        assert connection.execute("select count(*) from alert_events").fetchone() == (1,)
        assert last_finish(ended) is not None


def test_what_a_person_decides_is_a_change(
    ended: Settings, connection: postgres.Connection
) -> None:
    append(connection, Entry("ann", "approve", "model/3", "it is good"))
    assert last_finish(ended) is None


STORES = {
    "chroma_url": chroma,
    "clickhouse_url": clickhouse,
    "redis_url": online,
    "mlflow_tracking_uri": mlflow,
}


@pytest.mark.parametrize("setting", STORES)
def test_a_server_is_told_by_its_mark_for_an_hour(
    ended: Settings,
    connection: postgres.Connection,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    marks = ["first"]

    def mark(url: str, name: str = "") -> str:
        assert (url, bool(name)) == ("http://x", setting == "mlflow_tracking_uri")
        if not marks:
            raise StoreError("no answer", do="")
        return marks[0]

    monkeypatch.setattr(STORES[setting], "mark", mark)
    changed = ended.model_copy(update={setting: SecretStr("http://x")})
    assert last_finish(changed) is None
    end_a_run(connection, changed)
    assert last_finish(changed) is not None
    assert was_finished(connection, changed)
    for other in (["second"], []):
        marks[:] = other
        assert last_finish(changed) is None
    marks[:] = ["first"]
    for minutes, finished in ((59, True), (61, False)):
        query = "update finished_run set finished_at = now() - make_interval(mins => %s)"
        connection.execute(query, [minutes])
        assert (last_finish(changed) is not None) == finished


def test_a_row_whose_event_has_come_asks_for_a_run(
    ended: Settings, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = replace(STATS, source=Table("stats.csv", "author", "at", "known"))
    monkeypatch.setattr(pending, "VIEWS", {view.name: view})
    ended.duckdb_file.unlink()
    known = datetime.now(UTC) - timedelta(hours=2)
    for minutes, is_finished in ((0, True), (90, False)):
        with duckdb.connect(ended.duckdb_file) as duck:
            create_table(duck, view)
            row = ["ann", known + timedelta(minutes=minutes), known, False, "", 1.0]
            duck.execute(f"insert into {view.table} values (?, ?, ?, ?, ?, ?)", row)
        end_a_run(connection, ended)
        assert (last_finish(ended) is not None) is is_finished


def test_what_has_no_mark_is_known_for_longer(
    ended: Settings, connection: postgres.Connection
) -> None:
    connection.execute("update finished_run set finished_at = now() - interval '1 day'")
    assert last_finish(ended) is not None


def test_another_host_does_not_make_one_look_again(
    ended: Settings, connection: postgres.Connection
) -> None:
    other = Settings(**{**ended.model_dump(), "home": ended.home.with_name("other")})
    (other.home / "keyword").mkdir(parents=True)
    (other.home / "keyword" / "meta.json").write_text("{}")
    assert last_finish(other) is None
    assert was_finished(connection, other) is False
    source = open_source(other.source, other)
    inputs = state.run_inputs(other, source)
    forget_finish(connection, "turn")
    remember_finish(connection, other, "turn", inputs, count_changes(connection))
    for _ in range(2):
        for host in (ended, other):
            assert last_finish(host) is not None
    lose_a_store(other)
    assert last_finish(other) is None
    assert last_finish(ended) is not None


def test_who_runs_makes_no_difference(ended: Settings) -> None:
    assert last_finish(ended.model_copy(update={"actor": "somebody else"})) is not None


def test_other_code_asks_for_a_run(ended: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "code_of", lambda: "other")
    assert last_finish(ended) is None


def test_a_change_by_another_job_asks_for_a_run(
    ended: Settings, connection: postgres.Connection
) -> None:
    path = Path(ended.source.removeprefix("files:"))
    original = path.read_text()
    edit_the_source(ended)
    source = open_source(ended.source, ended)
    refresh_documents(connection, source, source.collections())
    assert last_finish(ended) is None
    # Back again: the tables have caught up, and the search was never told.
    path.write_text(original)
    refresh_documents(connection, source, source.collections())
    assert last_finish(ended) is None


def test_a_run_at_work_is_not_finished(ended: Settings, connection: postgres.Connection) -> None:
    forget_finish(connection, "turn")
    assert last_finish(ended) is None
    assert was_finished(connection, ended) is None


def test_a_rollback_during_a_run_has_the_next_run_look_at_everything(
    ended: Settings, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = Gate("indexes_hold_the_live_chunks", "pass", "they do", {})
    monkeypatch.setattr(lifecycle, "bring_up_to_date", lambda *_: passed)
    inputs = state.run_inputs(ended, open_source(ended.source, ended))
    generation = generation_of(connection, ended)
    for each in (generation, generation_of(connection, ended.model_copy(update={"hnsw_m": 24}))):
        publish(connection, each)
    forget_finish(connection, "turn")
    back(connection, ended, "it got worse")
    remember_finish(connection, ended, "turn", inputs, count_changes(connection))
    assert last_finish(ended) is None
    assert was_finished(connection, ended) is None
    end_a_run(connection, ended)
    assert last_finish(ended) is not None


def test_what_waits_to_be_dropped_asks_for_a_run(
    ended: Settings, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation whose time is over is dropped by a run, though nothing else changed."""
    monkeypatch.setattr(pending, "written", lambda *_: "same")  # whatever is published here
    adopt_finish(connection, ended)
    generation = generation_of(connection, ended)
    other = generation_of(connection, ended.model_copy(update={"hnsw_m": 24}))
    for each in (generation, other):
        publish(connection, each)
    assert last_finish(ended) is not None
    age_releases(connection, 8)
    assert last_finish(ended) is None
    publish(connection, generation)
    assert last_finish(ended) is not None
    # One that was never served goes, too.
    refused = generation_of(connection, ended.model_copy(update={"hnsw_m": 8}))
    assert last_finish(ended) is not None
    age_releases(connection, 8)
    drop(connection, other)
    assert last_finish(ended) is None
    drop(connection, refused)
    assert last_finish(ended) is not None


def drop(connection: postgres.Connection, generation: Generation) -> None:
    connection.execute(
        "update search_generations set dropped_at = now() where generation_id = %s",
        [generation.generation_id],
    )


WARNING = ("rows_were_readable", False, {"rejected": 3, "examples": ["line 2: no text"]})


def test_a_warning_that_lasts_is_told_again(
    ended: Settings, connection: postgres.Connection
) -> None:
    """Three rows that cannot be read are no reason to look at everything again and again."""
    source = open_source(ended.source, ended)
    inputs = state.run_inputs(ended, source)
    forget_finish(connection, "turn")
    changes = count_changes(connection)
    remember_finish(connection, ended, "turn", inputs, changes, [WARNING])
    finish = last_finish(ended)
    assert finish is not None
    assert finish.warnings == [WARNING]
    told = list(failed_checks(finish.warnings))
    assert told == ["[yellow]Check failed[/yellow] rows_were_readable: rejected 3"]
    end_a_run(connection, ended)
    assert (last_finish(ended) or finish).warnings == []


def test_a_failed_check_that_a_run_can_pass_asks_for_one() -> None:
    assert is_finish([])
    assert is_finish([WARNING])
    assert not is_finish([WARNING, ("indexes_are_not_worn", False, {})])
    assert not is_finish([("hybrid_is_not_worse_than_published", True, {})])


def test_the_warnings_that_last_are_checks() -> None:
    keys = build_definitions().resolve_asset_graph().asset_check_keys
    assert {key.name for key in keys} >= LASTING_WARNINGS


def test_a_file_that_a_reader_removes_meanwhile_is_passed_over(
    ended: Settings, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that follows an index removes the files of before."""
    before = state.written(connection, ended)
    files = state._files
    gone = ended.home / "keyword" / "gone"
    monkeypatch.setattr(state, "_files", lambda store: [*files(store), store / gone])
    assert state.written(connection, ended) == before


def test_how_things_stand_is_kept_with_a_finish_until_it_is_another(
    ended: Settings, connection: postgres.Connection
) -> None:
    ended.duckdb_file.unlink()  # it is none
    end_a_run(connection, ended)
    shown = read_standing(ended)
    finish = last_finish(ended)
    assert finish is not None
    assert json.loads(finish.standing or "{}") == shown
    assert shown["documents"] == 1
    adopt_finish(connection, ended)  # by a run of days, say, which found drift
    adopted = last_finish(ended)
    assert adopted is not None
    assert adopted.standing is None
    read_standing(ended)
    forget_finish(connection, "a turn that ends in nothing")
    assert connection.execute("select standing from finished_run").fetchone() == (None,)
    end_a_run(connection, ended)
    keep_standing(connection, finish, "of an earlier finish")
    assert (last_finish(ended) or finish).standing is None


def test_what_is_read_again_is_shown_as_it_was() -> None:
    promoted = datetime(2026, 11, 30, 12, 5, tzinfo=UTC)
    assert moment(promoted.isoformat()) == moment(promoted) == "2026-11-30 12:05"


_END = """
from ml_assets.settings import load_settings, secret
from ml_assets.stores import postgres
from ml_assets_tests.operations.finishing import end_a_run
settings = load_settings()
with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
    end_a_run(connection, settings)
"""
_ASK = """
import sys
from ml_assets.operations.pending import last_finish
from ml_assets.settings import load_settings
assert last_finish(load_settings()) is not None
print(*{"dagster", "duckdb", "mlflow", "numpy", "psutil"} & sys.modules.keys())
"""


def test_to_see_that_nothing_changed_imports_no_heavy_library(
    settings: Settings, postgres_url: str, tmp_path: Path
) -> None:
    asked = of_one_document(settings, postgres_url, tmp_path)
    environment = {
        "ML_ASSETS_HOME": str(asked.home),
        "ML_ASSETS_SOURCE": asked.source,
        "POSTGRES_URL": postgres_url,
    }
    for script in (_END, _ASK):
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
