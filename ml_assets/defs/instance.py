"""Dagster's records of this deployment: its instance, from a prompt as from the UI."""

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from time import sleep
from typing import Any, ClassVar

import dagster as dg
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import AlembicVersion, check_alembic_revision
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.tags import GRPC_INFO_TAG
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from ml_assets.defs.assets import AUDIT_HEAD, key, plain
from ml_assets.defs.automation import TURN
from ml_assets.defs.partitions import PARTITIONS_NAME
from ml_assets.errors import StoreError
from ml_assets.releases.anchor import Witness, parse_head
from ml_assets.settings import Settings, shipped
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.folders import folder, write_whole
from ml_assets.stores.postgres.locks import gone_workers

_STARTED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_MARKING_SECONDS = 0.2
"""In which a run that is launched again for a lost one is marked by its own worker."""
_GONE = "The worker of this run is gone: it was killed, or its connection to PostgreSQL was cut"
LOCATION = "ml_assets"
"""The name of our code location in every workspace."""
_LAUNCH_SECONDS = 50.0
"""A worker that was killed before it began is looked for after so long. One that is there may take
longer, up to `start_timeout_seconds`: where everything is slow, the imports alone do."""
_STARTING_SECONDS = 10.0
"""In which a worker that has marked its run is connected, also where everything is slow."""
_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""The variable with how many events Dagster stores at once, at most."""
_TOGETHER = 1_000
"""Materializations of partitions that are stored at once, at most."""
_RATE = ("encoded_in_this_run", "seconds")


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of the command line and the UI.

    Raises:
        StoreError: the records cannot be read or written, now or later in the block.
    """
    with _records(settings) as instance:
        yield instance


@contextmanager
def records_kept_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Open each file of the embedded records once in the block, not for each look and each event.

    Dagster opens and closes them for each event; what lies on a server it keeps open. No setting
    and no public method changes that: its SQLite storages make every engine without a pool. The
    materializations of a range of partitions are one transaction.
    """
    events, runs = instance.event_log_storage, instance.run_storage
    with ExitStack() as stack:
        if isinstance(events, SqliteEventLogStorage):
            kept = stack.enter_context(_events_kept_open(events))
            vars(events)["store_event_batch"] = kept.store_event_batch
            stack.callback(vars(events).pop, "store_event_batch", None)
            stack.enter_context(_variable(_BATCH_SIZE, f"{_TOGETHER}"))
        if isinstance(runs, SqliteRunStorage):
            engine = _open_file(runs._conn_string)
            stack.callback(engine.dispose)
            vars(runs)["connect"] = engine.begin
            stack.callback(vars(runs).pop, "connect", None)
        yield


def store_batches_at_once() -> None:
    """From now on in this process, a batch of events is one transaction of each embedded file.

    Dagster's command line makes a run, and an event for each partition that it is to make, before
    it asks the executor: each was two transactions, and two files that are opened and closed.
    """
    one_at_a_time = threading.Lock()  # of the files that a thread opens, another would write beside

    def store_event_batch(events: SqliteEventLogStorage, batch: Sequence[dg.EventLogEntry]) -> None:
        with one_at_a_time, _events_kept_open(events) as kept:
            kept.store_event_batch(batch)

    SqliteEventLogStorage.store_event_batch = store_event_batch  # type: ignore[method-assign, assignment]
    os.environ.setdefault(_BATCH_SIZE, f"{_TOGETHER}")


@contextmanager
def _events_kept_open(events: SqliteEventLogStorage) -> Iterator["_EventFiles"]:
    with ExitStack() as stack:
        kept = _EventFiles(events)
        stack.callback(kept.close)
        for method in ("_connect", "has_table", "_store_asset_event"):
            vars(events)[method] = getattr(kept, method.strip("_"))
            stack.callback(vars(events).pop, method, None)
        yield kept


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment for the block, unless a person did."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


class _EventFiles:
    """The files of an event log, one per run and one over all of them, each opened once."""

    _empty: ClassVar[bytes] = b""

    def __init__(self, events: SqliteEventLogStorage) -> None:
        self._events = events
        self._engines: dict[str, Engine] = {}
        self._tables: set[str] = set()
        self._batch = _Batch()

    @contextmanager
    def connect(self, shard: str) -> Iterator[Connection]:
        """What `SqliteEventLogStorage._connect` does, on a connection that stays open."""
        if shard in self._batch.connections:
            yield self._batch.connections[shard]
            return
        with self._events._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store them in one transaction of each file, and of an asset the last as its newest."""
        batch = self._batch
        with ExitStack() as stack:
            stack.enter_context(self._events._db_lock)
            stack.callback(batch.clear)
            for shard in (INDEX_SHARD_NAME, *{event.run_id for event in events}):
                batch.connections[shard] = stack.enter_context(self._engine(shard).begin())
            batch.newest = {_asset(event): event for event in events}
            for event in events:
                SqliteEventLogStorage.store_event(self._events, event)

    def store_asset_event(
        self, connection: Connection, event: dg.EventLogEntry, event_id: int
    ) -> None:
        """What `SqlEventLogStorage._store_asset_event` does, unless a later one follows at once."""
        if self._batch.newest.get(_asset(event), event) is event:
            SqliteEventLogStorage._store_asset_event(self._events, connection, event, event_id)

    def _engine(self, shard: str) -> Engine:
        """To be called with the lock."""
        if shard not in self._engines:
            self._engines[shard] = _open_file(self._events.conn_string_for_shard(shard))
            self._prepare(shard)
        return self._engines[shard]

    def has_table(self, name: str) -> bool:
        """What `SqliteEventLogStorage.has_table` does, for each table that is there once."""
        if name not in self._tables and SqliteEventLogStorage.has_table(self._events, name):
            self._tables.add(name)
        return name in self._tables

    def close(self) -> None:
        """Close all that was opened."""
        for engine in self._engines.values():
            engine.dispose()

    def _prepare(self, shard: str) -> None:
        """Make the tables of a new file: of the second one of a process on, as a copy."""
        path, initialized = Path(self._events.path_for_shard(shard)), self._events._initialized_dbs
        if shard in initialized:
            return
        if path.exists() or not self._empty:
            is_new = not path.exists()
            with _revisions_trusted():
                self._events._initdb(self._engines[shard])
            if is_new:
                with closing(sqlite3.connect(path)) as connection:
                    _EventFiles._empty = connection.serialize()
        else:
            part = path.with_suffix(".part")
            part.write_bytes(self._empty)
            part.replace(path)
        initialized.add(shard)


class _Batch(threading.local):
    """What a thread stores together: open connections by shard, the newest event by asset."""

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.newest: dict[dg.AssetKey | None, dg.EventLogEntry] = {}

    def clear(self) -> None:
        """Begin anew."""
        self.connections, self.newest = {}, {}


def _asset(event: dg.EventLogEntry) -> dg.AssetKey | None:
    return event.dagster_event.asset_key if event.dagster_event else None


def _open_file(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
    # An interrupt that comes while one is closed goes on, to who tells it in one line.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        # In WAL mode that never damages a file. A machine that fails can lose the last events, and
        # with them no row of a store: the run is then one whose worker is gone.
        connection.execute("pragma synchronous = normal")

    return engine


def runs_at_work(instance: dg.DagsterInstance) -> bool:
    """Whether any run is queued or under way."""
    return bool(instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)))


def measured_rate(settings: Settings) -> float | None:
    """Texts encoded per second by the newest run that encoded some; None before any did."""
    with _records(settings) as instance:
        events = instance.fetch_materializations(key("embeddings"), limit=200).records
    for record in events:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        texts, seconds = (metadata[key].value if key in metadata else 0 for key in _RATE)
        if isinstance(texts, int) and isinstance(seconds, int | float) and texts and seconds:
            return texts / seconds
    return None


def kept_heads(settings: Settings, most: int = 100) -> list[Witness]:
    """The ends of the audit log that the last materializations kept, with `audit_head`."""
    with _records(settings) as instance:
        records = [
            record
            for name in ("champion_model", "published_search")
            for record in instance.fetch_materializations(key(name), limit=most).records
        ]
    return [
        Witness(head, datetime.fromtimestamp(record.timestamp, UTC))
        for record in records
        if record.asset_materialization
        and (shown := record.asset_materialization.metadata.get(AUDIT_HEAD))
        and (head := parse_head(str(shown.value)))
    ]


def partition_range(settings: Settings) -> str:
    """The range of all collections, for `dagster asset materialize --partition-range`.

    Dagster's order is that of arrival: from the first to the last by name some are passed over.
    """
    with _records(settings) as instance:
        names = instance.get_dynamic_partitions(PARTITIONS_NAME)
    return f"{names[0]}...{names[-1]}" if names else ""


def last_runs(settings: Settings, most: int = 5) -> list[dict[str, Any]]:
    """The newest Dagster runs: job, status, when, and seconds; None: not begun, or not ended."""
    with _records(settings) as instance:
        records = instance.get_run_records(limit=most)
    return [
        {
            "job": record.dagster_run.job_name,
            "status": record.dagster_run.status.value,
            "started": _moment(record.start_time),
            "seconds": _seconds(record.start_time, record.end_time),
        }
        for record in records
    ]


def _moment(timestamp: float | None) -> str | None:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(" ", "seconds") if timestamp else None


def _seconds(start: float | None, end: float | None) -> float | None:
    return round(end - start, 1) if start and end else None


def latest_checks(settings: Settings, most: int = 500) -> list[dict[str, Any]]:
    """The last result of each check: asset, check, when, whether it passed, and its numbers."""
    evaluated = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    with _records(settings) as instance:
        records = instance.event_log_storage.get_event_records(evaluated, limit=most)
    latest: dict[str, dict[str, Any]] = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        if event and (check := event.asset_check_evaluation_data):
            row = {
                "asset": check.asset_key.to_user_string(),
                "check": check.check_name,
                "checked": datetime.fromtimestamp(record.timestamp, UTC).isoformat(" ", "seconds"),
                "passed": check.passed,
                "blocks": check.severity == dg.AssetCheckSeverity.ERROR,
                "numbers": plain(check.metadata),
            }
            latest.setdefault(check.check_name, row)
    return sorted(latest.values(), key=lambda row: (row["asset"], row["check"]))


def _started_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs of this project that began to work, or are to end."""
    runs = instance.get_runs(dg.RunsFilter(statuses=_STARTED))
    return [run for run in runs if TURN in run.tags]


def _launched_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs of this project that were launched a while ago, and whose worker is still silent."""
    before = datetime.now(UTC) - timedelta(seconds=_LAUNCH_SECONDS)
    starting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING], updated_before=before)
    return [
        run
        for run in instance.get_runs(starting)
        if GRPC_INFO_TAG in run.tags
        and run.remote_job_origin
        and run.remote_job_origin.repository_origin.code_location_origin.location_name == LOCATION
    ]


def _is_launched(run: dg.DagsterRun) -> bool:
    """Whether the code server that launched a run is there, and has its worker."""
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
    from dagster._serdes import deserialize_value

    place = json.loads(run.tags[GRPC_INFO_TAG])
    names = ("host", "port", "socket", "use_ssl")
    client = DagsterGrpcClient(**{name: place[name] for name in names if name in place})
    try:
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id))
    except DagsterUserCodeUnreachableError:
        return False
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def end_lost_runs(
    instance: dg.DagsterInstance,
    connection: postgres.Connection,
    tracking: Callable[[], mlflow.Tracking],
) -> list[dg.DagsterRun]:
    """End every run whose worker is gone, on whatever host it was, in MLflow too; return them.

    A worker holds a lock in PostgreSQL. One that is just starting gets it between the two looks;
    before that the server that launched it is asked.

    Raises:
        StoreError: a store cannot be asked. A training ends later what is left running in MLflow.
    """
    unbegun = [run for run in _launched_runs(instance) if not _is_launched(run)]
    for run in unbegun:
        instance.report_run_failed(run, _GONE)
    suspects = _without_worker(instance, connection)
    if not suspects:
        return unbegun
    # A command connects before it makes a run. A worker marks its run before it connects.
    starting = any(run.tags[TURN] == run.run_id for run in suspects)
    sleep(_STARTING_SECONDS if starting else _MARKING_SECONDS)
    known = {run.run_id for run in suspects}
    lost = [run for run in _without_worker(instance, connection) if run.run_id in known]
    for run in lost:
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, _GONE)
        else:
            instance.report_run_failed(run, _GONE)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    training = key("candidate_models").to_python_identifier()
    if any(instance.get_run_step_stats(run.run_id, [training]) for run in lost):
        mlflow.end_abandoned(tracking(), {run.run_id for run in lost}.__contains__)
    return [*unbegun, *lost]


def _without_worker(
    instance: dg.DagsterInstance, connection: postgres.Connection
) -> list[dg.DagsterRun]:
    runs = _started_runs(instance)
    gone = gone_workers(connection, {run.tags[TURN] for run in runs}) if runs else set()
    return [run for run in runs if run.tags[TURN] in gone]


@contextmanager
def _revisions_trusted() -> Iterator[None]:
    """Take records that carry a revision as they are, for as long as the block opens them.

    Dagster asks only whether they carry one, and loads all of its 270 migrations to learn which is
    the newest. What an older one lacks is told by the first look, and migrated then.
    """

    def revision(config: Config, connection: Connection) -> AlembicVersion:
        present = MigrationContext.configure(connection).get_current_revision()
        return (present, present) if present else check_alembic_revision(config, connection)

    with ExitStack() as stack:
        for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            name = check_alembic_revision.__name__
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, revision)
        yield


@contextmanager
def _records(settings: Settings) -> Iterator[dg.DagsterInstance]:
    home = folder(settings.dagster_folder)
    try:
        _configure(home, settings)
    except OSError as error:
        raise _refusal(error.strerror, home) from None
    try:
        with _revisions_trusted():
            opened = dg.DagsterInstance.from_config(str(home))
        with opened as instance:
            try:
                yield instance
            except DBAPIError as error:
                if "no such" not in str(error.orig):
                    raise
                raise _migrated(instance, error, home) from None
    except DBAPIError as error:
        raise _refusal(error.orig, home) from None


def _configure(home: Path, settings: Settings) -> None:
    """Put the project's dagster.yaml into DAGSTER_HOME, unless the home has one of its own."""
    config, ours = home / "dagster.yaml", shipped("dagster.yaml").read_text(encoding="utf-8")
    if config.exists() and (settings.dagster_home or config.read_text(encoding="utf-8") == ours):
        return
    write_whole(config, ours)  # a UI that reads it now would have no queue, and no limits


def _migrated(instance: dg.DagsterInstance, error: DBAPIError, home: Path) -> StoreError:
    """Bring records of an older Dagster up to date, which lack a table or a column."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it draws bars
        instance.upgrade()
    return StoreError(
        f"Dagster's records were of an older version ({error.orig}), and were migrated",
        where=str(home),
        do="Run again",
    )


def _refusal(reason: object, home: Path) -> StoreError:
    return StoreError(
        f"Dagster's records cannot be read or written ({reason})",
        where=str(home),
        do="Check its permissions and the space on its disk, and run again:"
        " what was committed is kept",
    )
