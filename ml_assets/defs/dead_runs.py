"""Runs whose process was killed: Dagster holds them for running, and its queue waits for them."""

import os

import dagster as dg


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed every run whose process is gone; return the ids.

    The runs of `instance` are processes of this machine.

    Dagster's launcher sees it when a process that it started itself is killed. Runs of
    `ml-assets run` and `dagster asset materialize` are in no one's care.
    """
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
    dead = [run for run in runs if not _is_alive(instance, run.run_id)]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was killed")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def _is_alive(instance: dg.DagsterInstance, run_id: str) -> bool:
    started = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_START)
    pids = [entry.dagster_event.pid for entry in started if entry.dagster_event]
    return any(pid is not None and _process_exists(pid) for pid in pids)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
