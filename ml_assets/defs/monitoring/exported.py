"""What Prometheus reads of the records of Dagster: runs, checks, pools."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from prometheus_client.metrics_core import Metric

from ml_assets.defs.instance import open_instance
from ml_assets.defs.monitoring.alerting import read_records
from ml_assets.monitoring.exporter import gauge
from ml_assets.settings import Settings


def exported(settings: Settings) -> Iterator[Metric]:
    """Runs by status, checks that failed when they were asked last, and the use of pools.

    Raises:
        StoreError: the records cannot be read.
    """
    with open_instance(settings) as instance:
        yield from records(instance)


def records(instance: dg.DagsterInstance) -> Iterator[Metric]:
    """The same, of an instance."""
    counts = {
        status.value.lower(): instance.get_runs_count(dg.RunsFilter(statuses=[status]))
        for status in dg.DagsterRunStatus
    }
    yield gauge("runs", "Runs in the records", counts, "status")
    checks = read_records(instance, datetime.now(UTC)).failed_checks
    failed = {name: float(each) for name, each in checks.items()}
    yield gauge("check_failed", "1: it failed when it was asked last", failed, "check")
    storage = instance.event_log_storage
    infos = storage.get_concurrency_infos(sorted(storage.get_concurrency_keys()))
    used = {name: info.active_slot_count for name, info in infos.items()}
    waiting = {name: info.pending_step_count for name, info in infos.items()}
    yield gauge("pool_used", "Steps that have a slot of a pool", used, "pool")
    yield gauge("pool_waiting", "Steps that wait for a slot of a pool", waiting, "pool")
