"""The main job from a prompt: the same Dagster jobs, in this process, on the instance of the UI."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition.valid_definitions import (
    SINGLETON_REPOSITORY_NAME,
)
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from ml_assets.defs.assets import LEFT_ALONE, key, plain
from ml_assets.defs.automation import TURN
from ml_assets.defs.build import build_definitions
from ml_assets.defs.instance import LOCATION, end_lost_runs, open_instance, records_kept_open
from ml_assets.defs.partitions import contiguous_ranges, range_tags, ranges_apart
from ml_assets.defs.unfinished import collections_to_run
from ml_assets.documents.collections import unread_collections
from ml_assets.documents.history import count_changes
from ml_assets.documents.sources import open_source
from ml_assets.embeddings.scripts import Unreadable, unreadable_documents
from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.errors import StoreError
from ml_assets.features.documents import unheld_keys
from ml_assets.monitoring.predictions import waiting_days
from ml_assets.monitoring.recording import first_unrecorded
from ml_assets.operations.erasure.request import is_any_begun
from ml_assets.operations.erasure.subject import Place
from ml_assets.operations.lasting import is_finish
from ml_assets.operations.pending import (
    FailedCheck,
    Pending,
    find_pending,
    forget_finish,
    remember_finish,
    was_finished,
)
from ml_assets.operations.state import run_inputs
from ml_assets.progress import StageProgress
from ml_assets.registry.drift import is_due
from ml_assets.releases.roles import authorize
from ml_assets.settings import Settings, Until, secret
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.postgres.locks import at_work
from ml_assets.training.labels.names import labels_alike
from ml_assets.training.training_set import has_labels, small_labels, untrainable

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

_LOOKED_BACK = timedelta(days=30)
"""How long ago what is to be kept by day may have happened."""

_FOLLOWING = frozenset({key("chunks"), key("embeddings")})
_JOBS = {
    "documents": (),
    "search": ("rebuild_search",),
    "models": ("rebuild_search", "train_models"),
}
"""The jobs that follow `refresh_documents`, by where a run ends."""

_REPOSITORY = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="ml_assets.definitions"), LOCATION
    ),
    SINGLETON_REPOSITORY_NAME,
)
"""The code location of `workspace.yaml`."""

_QUIET = {
    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    # A person sees the error at once, and runs again.
    "execution": {"config": {"retries": {"disabled": {}}}},
}


@dataclass
class RunReport:
    """What one `ml-assets run` did: texts encoded, vectors reused, seconds, and what failed.

    `removed`: documents that left the source. `unread`: why a collection could not be read.
    `small_labels`: those with too few groups to train on, and how many they have. `alike_labels`:
    those that differ by what a reader overlooks. `no_model`: why there is nothing to train on.
    `unreadable`: documents in scripts that the model does not know. `unheld_keys`: by which feature
    views are joined to documents that do not have them. `left_alone`: why models are left to
    another host.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    encoded: int = 0
    reused: int = 0
    removed: int = 0
    small_labels: dict[str, int] = field(default_factory=dict)
    alike_labels: list[tuple[str, ...]] = field(default_factory=list)
    no_model: str = ""
    unreadable: Unreadable = field(default_factory=Unreadable)
    unheld_keys: dict[str, list[str]] = field(default_factory=dict)
    left_alone: str = ""
    failed_checks: list[FailedCheck] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Every step ended well, every collection was read, and no blocking check failed."""
        return self.may_go_on and not self.unread

    @property
    def may_go_on(self) -> bool:
        """What follows finds sound input; of a collection not read, that of its last reading."""
        return not self.errors and not any(blocking for _, blocking, _ in self.failed_checks)


def run_everything(
    settings: Settings,
    progress: StageProgress,
    notify: Callable[[str], None],
    until: Until = "models",
    *,
    thorough: bool = False,
) -> RunReport:
    """Bring assets up to date: changed collections first, then search, then models; or `until` one.

    Checks look at whole tables if it is to be `thorough`, or somebody wrote since the last run.

    A collection that cannot be read stays as it was, and the others go on. Without a label there
    is nothing to train on, and no step that would only say so is run.

    Raises:
        UserError: the source, a setting or a store cannot be used.
    """
    source, turn = open_source(settings.source, settings), uuid4().hex
    url, home = secret(settings.postgres_url), settings.home
    with (
        _interrupted() as interrupt,
        at_work(url, home, turn, notify, interrupt),
        postgres.connect(url, home) as connection,
        open_instance(settings) as instance,
        records_kept_open(instance),
    ):
        tracked = secret(settings.mlflow_tracking_uri)
        authorize(connection, settings.actor, "run", "ml-assets run")
        _complete_begun(Place(settings, connection, notify))
        end_lost_runs(instance, connection, lambda: mlflow.tracking(tracked, url, home))
        chunker, space = current_chunker(settings), current_space(settings)
        find = partial(find_pending, connection, source, chunker, space)
        inputs, pending = run_inputs(settings, source), find()
        untouched = was_finished(connection, settings)
        if untouched is False:
            notify("The stores were changed since the last run: checks look at all that they hold")
        thorough = thorough or not untouched
        forget_finish(connection, turn)
        # Without the executor that waits for its turn: all runs of this command are one turn.
        overrides = {"progress": progress, "thorough": thorough}
        defs = build_definitions(settings, overrides, dg.in_process_executor)
        run = _Run(connection, instance, defs, RunReport(), turn, notify)
        if not _refresh(run, pending, find):
            return run.report
        run.report.unreadable = unreadable_documents(connection, chunker, space)
        changes = count_changes(connection)
        _follow(run, until)
        if until == "models" and run.report.may_go_on:
            _watch_drift(run, settings)
            _load_predictions(run, settings)
            _record_days(run, datetime.now(UTC))
        if until == "models" and run.report.succeeded and is_finish(run.report.failed_checks):
            remember_finish(connection, settings, turn, inputs, changes, run.report.failed_checks)
    return run.report


def _complete_begun(place: Place) -> None:
    """Forget what a request that was killed began to forget."""
    if is_any_begun(place.home):
        # Else nothing of it is imported: it searches all stores and formats, and takes as long as
        # a sixth of a run's imports.
        from ml_assets.operations.erasure.forget import complete_begun

        complete_begun(place)


@contextmanager
def _interrupted() -> Iterator[Callable[[str], None]]:
    """How another thread ends the block when the turn is lost.

    Raises:
        StoreError: it did.
    """
    lost: list[str] = []
    thread = threading.get_ident()

    def interrupt(line: str) -> None:
        lost.append(line)
        signal.pthread_kill(thread, signal.SIGINT)

    try:
        yield interrupt
    except (KeyboardInterrupt, StoreError):
        if lost:
            raise StoreError(lost[0], do="Run again: nothing is half written") from None
        raise


@dataclass(frozen=True)
class _Run:
    """What the parts of a run work on."""

    connection: postgres.Connection
    instance: dg.DagsterInstance
    defs: dg.Definitions
    report: RunReport
    turn: str
    notify: Callable[[str], None]


def _refresh(run: _Run, pending: Pending, find: Callable[[], Pending]) -> bool:
    """Read, chunk and embed the collections that ask for it; return whether that gave anything."""
    report = run.report
    report.requested = collections_to_run(run.instance, pending)
    for keys in ranges_apart(run.instance, report.requested, pending.unread):
        _execute(run, "refresh_documents", range_tags(keys))
    report.unread = unread_collections(run.connection)
    if report.errors or (report.unread and pending.present.keys() <= report.unread.keys()):
        return False
    if report.unread and report.may_go_on:
        # No step followed the one that failed, not even for the collections that it read.
        for keys in contiguous_ranges(run.instance, find().stale):
            _execute(run, "refresh_documents", range_tags(keys), _FOLLOWING)
    if not report.requested:
        _execute(run, "check_documents")
    return True


def _follow(run: _Run, until: Until) -> None:
    """Build and publish the search, and train models, as far as the input is sound."""
    report = run.report
    labelled = until != "models" or has_labels(run.connection)
    if until == "models":
        report.no_model = untrainable(run.connection)
        report.small_labels, _ = small_labels(run.connection)
        report.alike_labels = labels_alike(run.connection)
        report.unheld_keys = unheld_keys(run.connection)
    for job in _JOBS[until]:
        if report.may_go_on and (labelled or job != "train_models"):
            _execute(run, job)


def _watch_drift(run: _Run, settings: Settings) -> None:
    """Compare what came until today, once enough did; the schedule has every day that ended."""
    if is_due(run.connection, partial(duckdb.connect, settings.duckdb_file)):
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        _execute(run, "watch_drift", range_tags(dg.PartitionKeyRange(today, today)))


def _load_predictions(run: _Run, settings: Settings) -> None:
    """Load what the service left, of all days at once."""
    if days := [f"{day}" for day in waiting_days(settings.home)]:
        _execute(run, "load_predictions", range_tags(dg.PartitionKeyRange(days[0], days[-1])))


def _record_days(run: _Run, now: datetime) -> None:
    """Keep what was trained, measured and read since that was done last: in the first run of a day.

    What else comes on the day the schedule has, or the first run of the next: it would take longer
    than a run for a few documents.
    """
    # Points alone are recorded with drift and predictions, too, of their own days.
    names = ("search_quality_daily", "metric_points")
    events = [run.instance.get_latest_materialization_event(key(name)) for name in names]
    times = [datetime.fromtimestamp(each.timestamp, UTC) for each in events if each]
    recorded = min(times) if len(times) == len(names) else now - _LOOKED_BACK
    if recorded.date() >= now.date():
        return
    if first := first_unrecorded(run.connection, max(recorded, now - _LOOKED_BACK)):
        days = dg.PartitionKeyRange(f"{first:%Y-%m-%d}", f"{now:%Y-%m-%d}")
        _execute(run, "watch_search", range_tags(days))


def _execute(
    run: _Run,
    job: str,
    tags: Mapping[str, str] = MappingProxyType({}),
    assets: Set[dg.AssetKey] | None = None,
) -> None:
    started = time.perf_counter()
    report = run.report
    definition = run.defs.resolve_job_def(job)
    for last in (False, True):
        # Not `execute_in_process`: its runs are of no code location, and no page of the UI shows
        # them.
        created = run.instance.create_run_for_job(
            definition,
            run_config=_QUIET,
            tags={**tags, TURN: run.turn},
            asset_selection=assets,
            remote_job_origin=_REPOSITORY.get_job_origin(job),
        )
        events = [*execute_run_iterator(InMemoryJob(definition), created, run.instance)]
        damaged = [line for event in events for line in _damaged_stores(event)]
        if last or not damaged:
            break
        for line in damaged:  # whoever writes a store has removed it, and makes it anew
            run.notify(line)
    report.seconds[job] = report.seconds.get(job, 0) + time.perf_counter() - started
    for event in events:
        _read_event(event, report)
    report.removed += sum(
        int(str(number.value))
        for event in events
        if event.is_step_materialization and event.asset_key == key("raw_documents")
        if (number := event.step_materialization_data.materialization.metadata.get("removed"))
    )
    # Every partition's event has the numbers of the whole run.
    for event in events:
        if event.is_step_materialization and event.asset_key == key("embeddings"):
            metadata = event.step_materialization_data.materialization.metadata
            report.encoded += int(str(metadata["encoded_in_this_run"].value))
            report.reused += int(str(metadata["reused_in_this_run"].value))
            break


def _read_event(event: dg.DagsterEvent, report: RunReport) -> None:
    if event.is_step_success and event.step_key:
        seconds = event.step_success_data.duration_ms / 1000
        report.seconds[event.step_key] = report.seconds.get(event.step_key, 0) + seconds
    elif event.is_step_failure:
        report.errors += _failure(event)
    elif event.is_step_materialization:
        metadata = event.step_materialization_data.materialization.metadata
        if reason := metadata.get(LEFT_ALONE):
            report.left_alone = str(reason.value)
    elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if not check.passed:
            numbers = plain(check.metadata)
            blocking = check.severity == dg.AssetCheckSeverity.ERROR
            report.failed_checks.append((check.check_name, blocking, numbers))


def _damaged_stores(event: dg.DagsterEvent) -> list[str]:
    """The line of a store whose damage made the step fail."""
    error = event.step_failure_data.error if event.is_step_failure else None
    while error and error.cls_name != "DamagedStoreError":
        error = error.cause
    return [_message(error)] if error else []


def _failure(event: dg.DagsterEvent) -> list[str]:
    """One line for a mistake of the user's, the whole story for a defect.

    Raises:
        KeyboardInterrupt: the step was interrupted.
    """
    error, story = event.step_failure_data.error, "failed"
    while error:
        if error.cls_name == "DagsterExecutionInterruptedError":
            raise KeyboardInterrupt  # Dagster turned Ctrl-C into the failure of a step
        if error.cls_name in ("DagsterAssetCheckFailedError", "IncompleteReadError"):
            return []  # the check is reported with its numbers, each collection with its reason
        if _is_user_error(error.cls_name or ""):
            return [_message(error)]  # whatever caused it
        story = error.to_string()
        error = error.cause
    return [f"{event.step_key}: {story}"]


def _message(error: SerializableErrorInfo) -> str:
    """What a user's error says, without its class."""
    return error.message.split(": ", 1)[-1].strip()


def _is_user_error(name: str) -> bool:
    from ml_assets import errors

    error = getattr(errors, name, None)
    return isinstance(error, type) and issubclass(error, errors.UserError)
