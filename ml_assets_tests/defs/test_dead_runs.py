"""A run whose worker is gone is ended, on whatever host it was; one that lives is not."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionResult
from dagster._serdes import serialize_value

from ml_assets.defs import instance as records
from ml_assets.defs.automation import TURN
from ml_assets.defs.instance import end_lost_runs
from ml_assets.defs.resources import MlflowResource, PostgresResource
from ml_assets.defs.run import _REPOSITORY
from ml_assets.defs.sensors import workers_sensor
from ml_assets.errors import StoreError
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.postgres.locks import at_work, gone_workers
from ml_assets_tests.graph import evaluate
from ml_assets_tests.servers import free_port

WORKER = """
import sys
import time
from pathlib import Path
from ml_assets.stores.postgres.locks import at_work

url, worker = sys.argv[1:]
with at_work(url, Path(), worker, print, print):
    print("at work", flush=True)
    time.sleep(60)
"""


@contextmanager
def worker(url: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that is at work, as on another host."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, url, name], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


@pytest.fixture(autouse=True)
def _look_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MARKING_SECONDS", 0.05)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as opened:
        yield opened


def unasked() -> mlflow.Tracking:
    raise AssertionError("no run trained a model")


@dg.job
def job() -> None: ...


def start(
    instance: dg.DagsterInstance, turn: str, status: str = "STARTED", run_id: str | None = None
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        job,
        run_id=run_id,
        status=dg.DagsterRunStatus(status),
        tags={TURN: turn} if turn else {},
        remote_job_origin=_REPOSITORY.get_job_origin("job"),
    )


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status.value


def test_a_killed_worker_ends_its_run_and_no_other(
    instance: dg.DagsterInstance, connection: postgres.Connection, postgres_url: str
) -> None:
    with worker(postgres_url, "a") as process:
        run, again = start(instance, "a"), start(instance, "a", "NOT_STARTED")
        canceling = start(instance, "a", "CANCELING")
        waiting = [start(instance, "a", status) for status in ("QUEUED", "STARTING")]
        foreign = start(instance, "")  # of another project that uses the same Dagster
        instance.event_log_storage.set_concurrency_slots("duckdb", 1)
        instance.event_log_storage.claim_concurrency_slot("duckdb", run.run_id, "step")
        assert end_lost_runs(instance, connection, unasked) == []
        process.send_signal(signal.SIGSTOP)
        assert end_lost_runs(instance, connection, unasked) == []
        process.kill()
        process.wait()
        ended = {each.run_id for each in end_lost_runs(instance, connection, unasked)}
    assert ended == {run.run_id, again.run_id, canceling.run_id}
    assert status(instance, run) == status(instance, again) == "FAILURE"
    assert status(instance, canceling) == "CANCELED"
    assert [status(instance, each) for each in waiting] == ["QUEUED", "STARTING"]
    assert status(instance, foreign) == "STARTED"
    pool = instance.event_log_storage.get_concurrency_info("duckdb")
    assert pool.active_slot_count == 0, "what it held others may have"
    assert end_lost_runs(instance, connection, unasked) == []


def test_a_run_that_just_starts_is_not_ended(
    instance: dg.DagsterInstance,
    connection: postgres.Connection,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = str(uuid.uuid4())
    run, pauses = start(instance, worker, run_id=worker), []

    with ExitStack() as stack:

        def connect(seconds: float) -> None:
            pauses.append(seconds)
            stack.enter_context(at_work(postgres_url, Path(), worker, print, print))

        monkeypatch.setattr(records, "sleep", connect)
        assert end_lost_runs(instance, connection, unasked) == []
    assert pauses == [records._STARTING_SECONDS]
    assert status(instance, run) == "STARTED"


def test_a_run_whose_worker_was_killed_before_it_began_is_ended(
    instance: dg.DagsterInstance, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = json.dumps({"host": "127.0.0.1", "port": free_port()})

    def launch(origin: RemoteRepositoryOrigin = _REPOSITORY) -> dg.DagsterRun:
        """As the launcher of Dagster's server mode does."""
        return instance.create_run_for_job(
            job,
            status=dg.DagsterRunStatus.STARTING,
            tags={GRPC_INFO_TAG: nowhere},
            remote_job_origin=origin.get_job_origin("job"),
        )

    target = LoadableTargetOrigin(module_name="another")
    another = ManagedGrpcPythonEnvCodeLocationOrigin(target, "another")
    run, foreign = launch(), launch(RemoteRepositoryOrigin(another, "__repository__"))
    assert end_lost_runs(instance, connection, unasked) == [], "it may only just have been launched"
    monkeypatch.setattr(records, "_LAUNCH_SECONDS", 0.0)
    answers = iter([True, False])

    def has_worker(*_: object) -> str:
        return serialize_value(CanCancelExecutionResult(can_cancel=next(answers)))

    with monkeypatch.context() as patched:
        patched.setattr(DagsterGrpcClient, "can_cancel_execution", has_worker)
        assert end_lost_runs(instance, connection, unasked) == [], "it takes its time"
        assert [each.run_id for each in end_lost_runs(instance, connection, unasked)] == [
            run.run_id
        ], "the server was started again, and knows nothing of it"
    assert status(instance, run) == "FAILURE"
    again = launch()
    assert [each.run_id for each in end_lost_runs(instance, connection, unasked)] == [again.run_id]
    assert status(instance, foreign) == "STARTING"


def test_a_worker_that_waits_for_its_turn_lives(
    connection: postgres.Connection, postgres_url: str
) -> None:
    with worker(postgres_url, "first"):
        waiting = subprocess.Popen(
            [sys.executable, "-u", "-c", WORKER, postgres_url, "second"],
            stdout=subprocess.PIPE,
            text=True,
        )
        with waiting:
            assert waiting.stdout
            assert "Another run is at work" in waiting.stdout.readline()
            assert gone_workers(connection, ["first", "second", "third"]) == {"third"}
            waiting.kill()


def test_the_sensor_says_what_it_ended(
    instance: dg.DagsterInstance, postgres_url: str, tmp_path: Path
) -> None:
    def tick(url: str = postgres_url) -> str:
        store = PostgresResource(url=url, home=str(tmp_path), actor="tester")
        context = dg.build_sensor_context(instance=instance)
        asked = {"postgres": store, "mlflow": MlflowResource(home=str(tmp_path))}
        skip = evaluate(workers_sensor, context, **asked)
        assert isinstance(skip, dg.SkipReason)
        return skip.skip_message or ""

    assert tick() == "No run is under way"
    run = start(instance, "a")
    with worker(postgres_url, "a"):
        assert tick() == "Every worker is at work"
    assert "not a PostgreSQL URL" in tick("postgresql://host:port/x")
    assert status(instance, run) == "STARTED"
    assert tick() == f"Ended {run.run_id}"


def test_who_loses_its_session_is_told(
    connection: postgres.Connection, postgres_url: str, tmp_path: Path
) -> None:
    told, wake = os.pipe()
    work = at_work(
        postgres_url, tmp_path, "a", print, lambda line: bool(os.write(wake, line.encode()))
    )
    work.__enter__()
    connection.execute(
        "select pg_terminate_backend(l.pid) from pg_locks l join pg_database d"
        " on d.oid = l.database"
        " where l.locktype = 'advisory' and d.datname = current_database()"
    )
    line = os.read(told, 1000).decode()
    assert "terminating connection due to administrator command), and this run with it" in line
    assert gone_workers(connection, ["a"]) == {"a"}
    with pytest.raises(StoreError, match="connection is closed"):
        work.__exit__(None, None, None)
