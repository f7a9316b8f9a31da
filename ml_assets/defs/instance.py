"""Dagster's records of this deployment: its instance, from a prompt as from the UI."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from sqlalchemy.exc import DBAPIError

from ml_assets.defs.assets import key, plain
from ml_assets.defs.partitions import PARTITIONS_NAME
from ml_assets.errors import StoreError
from ml_assets.settings import Settings, shipped
from ml_assets.stores.folders import folder
from ml_assets.stores.processes import process_exists

PROCESS = "ml_assets/process"
"""The tag of runs that says by which process they were created."""

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_RATE = ("encoded_in_this_run", "seconds")


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of the command line and the UI, without runs whose process was killed.

    Raises:
        StoreError: the records cannot be read or written, now or later in the block.
    """
    with _records(settings) as instance:
        _end_dead_runs_of_ours(instance, settings.home)
        yield instance


def runs_at_work(instance: dg.DagsterInstance, home: Path) -> bool:
    """Whether any run is queued or under way, a run whose process was killed apart."""
    unfinished = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)
    if not instance.get_runs_count(unfinished):
        return False
    _end_dead_runs_of_ours(instance, home)
    return bool(instance.get_runs_count(unfinished))


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


def _end_dead_runs_of_ours(instance: dg.DagsterInstance, home: Path) -> None:
    # The runs of a home of ours are processes of this machine; of another they may not be.
    if instance.is_persistent and Path(instance.root_directory) == home / "dagster":
        end_dead_runs(instance)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed every run whose process is gone; return the ids.

    The runs of `instance` are processes of this machine.

    Dagster's launcher sees it when a process that it started itself is killed. Runs of
    `ml-assets run` and `dagster asset materialize` are in no one's care.
    """
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    dead = [run for run in runs if not _is_alive(instance, run)]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was killed")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def _is_alive(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_START)
    pids = [entry.dagster_event.pid for entry in started if entry.dagster_event]
    pids += [int(run.tags[PROCESS])] if PROCESS in run.tags else []
    if not pids:
        return True  # created by somebody else, and about to start
    return any(pid is not None and process_exists(pid) for pid in pids)


@contextmanager
def _records(settings: Settings) -> Iterator[dg.DagsterInstance]:
    home = folder(settings.dagster_folder)
    try:
        _configure(home, settings)
    except OSError as error:
        raise _refusal(error.strerror, home) from None
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
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
    config = home / "dagster.yaml"
    if settings.dagster_home is None or not config.exists():
        shutil.copyfile(shipped("dagster.yaml"), config)


def _migrated(instance: dg.DagsterInstance, error: DBAPIError, home: Path) -> StoreError:
    """Bring records of an older Dagster up to date, which lack a table or a column."""
    with redirect_stdout(StringIO()):
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
