"""Partitions that must be run again although neither source nor tables say so.

The tables tell what is left to compute. Dagster's records tell whether the last run of it came to
its end: a process that is killed between a commit and the event log leaves tables that are
complete and a partition that is missing or failed, for which automation would wait for ever; and a
blocking check that failed, or was not reached, must not be passed by the next run unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg
from dagster import AssetCheckKey
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from ml_assets.defs.assets import PREFIX, key
from ml_assets.defs.documents import checks as documents
from ml_assets.defs.embeddings import checks as embeddings
from ml_assets.defs.instance import runs_at_work
from ml_assets.defs.partitions import (
    COLLECTIONS,
    PARTITIONS_NAME,
    forget_collections,
    register_collections,
)
from ml_assets.operations.pending import Pending

_PARTITIONED = ("raw_documents", "chunks", "embeddings")


def collections_to_run(instance: dg.DagsterInstance, pending: Pending) -> list[str]:
    """The collections that tables or records ask to be run; all are registered as partitions.

    Those that left the source, and with it the tables, are partitions no more: a source that splits
    by day would have more of them from day to day. A run that waits may name one in its range.
    """
    if pending.gone and not runs_at_work(instance):
        forget_collections(instance, pending.gone)
    register_collections(instance, sorted({*pending.present, *pending.collections}))
    return sorted({*pending.collections, *unfinished_collections(instance, pending.present)})


def unfinished_collections(instance: dg.DagsterInstance, names: Iterable[str]) -> set[str]:
    """Those of `names` whose documents, chunks or vectors have no run that ended well."""
    known = instance.get_dynamic_partitions(PARTITIONS_NAME)
    keys = sorted(set(known).intersection(names))
    # Checks look at whole tables, so an open one concerns all partitions.
    if not keys or open_checks_of_documents(instance):
        return set(keys)
    return {name for asset in _PARTITIONED for name in _not_materialized(instance, asset, keys)}


def _not_materialized(instance: dg.DagsterInstance, asset: str, keys: list[str]) -> list[str]:
    states = instance.get_status_by_partition(key(asset), keys, COLLECTIONS) or {}
    return [name for name in keys if (state := states.get(name)) is None or state.value == "FAILED"]


def open_checks_of_documents(instance: dg.DagsterInstance) -> list[AssetCheckKey]:
    """The open checks of documents, chunks and vectors, on which all else is built."""
    defined = dg.load_asset_checks_from_modules([documents, embeddings], asset_key_prefix=PREFIX)
    return open_checks(instance, [each for checks in defined for each in checks.check_keys])


def open_checks(instance: dg.DagsterInstance, keys: Sequence[AssetCheckKey]) -> list[AssetCheckKey]:
    """Those of `keys` that failed and block, or were not reached after their asset was written."""
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return [key for key, record in latest.items() if _is_open(instance, key, record)]


def _is_open(
    instance: dg.DagsterInstance, key: AssetCheckKey, record: AssetCheckExecutionRecord
) -> bool:
    event = record.event and record.event.dagster_event
    if record.status.value == "FAILED" and event:
        check = event.asset_check_evaluation_data
        return bool(check.blocking) and check.severity == dg.AssetCheckSeverity.ERROR
    return record.status.value == "PLANNED" and _wrote(instance, key, record.run_id)


def _wrote(instance: dg.DagsterInstance, key: AssetCheckKey, run_id: str) -> bool:
    """Whether this run is over, and the last that materialized the asset of the check."""
    run = instance.get_run_by_id(run_id)
    event = instance.get_latest_materialization_event(key.asset_key)
    return bool(run and run.is_finished and event and event.run_id == run_id)
