"""What alerts are evaluated on, as a step, a sensor and the command line open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from ml_assets.defs.assets import PREFIX, modules
from ml_assets.monitoring.alerting.readings import Records, Stores
from ml_assets.releases.holds import HOLDS
from ml_assets.settings import Settings, secret
from ml_assets.stores import clickhouse, duckdb, postgres

_PATIENCE = 10.0
"""Seconds for which a store that another process holds is waited for: the next look comes soon."""


@contextmanager
def opened_stores(instance: dg.DagsterInstance, settings: Settings) -> Iterator[Stores]:
    """The stores of a deployment, and the records of its runs and checks.

    Raises:
        StoreError: PostgreSQL cannot be reached. The others are opened when a rule asks for them.
    """
    url, home = secret(settings.postgres_url), settings.home
    events = partial(clickhouse.connect, secret(settings.clickhouse_url), home, patience=_PATIENCE)
    features = partial(duckdb.connect, settings.duckdb_file, read_only=True, patience=_PATIENCE)
    with (
        postgres.connect(url, home) as connection,
        Stores(settings, connection, events, features, partial(read_records, instance)) as stores,
    ):
        yield stores


def read_records(instance: dg.DagsterInstance, since: datetime) -> Records:
    """How many runs failed since a time, and of each check whether it did when it was asked last.

    A check that only warned did not fail, nor did one that was not asked yet. That an alert is open
    is none of them: it would be its own reason.
    """
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    defined = dg.load_asset_checks_from_modules(modules("checks"), asset_key_prefix=PREFIX)
    keys = [each for checks in defined for each in checks.check_keys if each.name != HOLDS]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return Records(
        instance.get_runs_count(failed),
        {f"{key.asset_key.path[-1]}:{key.name}": _failed(record) for key, record in latest.items()},
    )


def _failed(record: AssetCheckExecutionRecord) -> bool:
    event = record.event and record.event.dagster_event
    if record.status.value != "FAILED" or not event:
        return False
    return event.asset_check_evaluation_data.severity == dg.AssetCheckSeverity.ERROR
