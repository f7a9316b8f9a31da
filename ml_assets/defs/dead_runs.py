"""Runs whose process was killed: Dagster holds them for running, and its queue waits for them."""

import dagster as dg

from ml_assets.stores.processes import process_exists

PROCESS = "ml_assets/process"
"""The tag of runs that says by which process they were created."""

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


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
