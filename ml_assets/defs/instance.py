"""Dagster's records of this deployment: its instance, from a prompt as from the UI."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy.exc import DBAPIError

from ml_assets.defs.dead_runs import end_dead_runs
from ml_assets.errors import StoreError
from ml_assets.settings import PROJECT, Settings
from ml_assets.stores.folders import folder

_RATE = ("encoded_in_this_run", "seconds")


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of the command line and the UI, without runs whose process was killed.

    Raises:
        StoreError: the records cannot be read or written, now or later in the block.
    """
    with _records(settings) as instance:
        if settings.dagster_home is None:
            # The runs of a home of ours are processes of this machine; of another they may not be.
            end_dead_runs(instance)
        yield instance


def measured_rate(settings: Settings) -> float | None:
    """Texts encoded per second by the newest run that encoded some; None before any did."""
    with _records(settings) as instance:
        events = instance.fetch_materializations(dg.AssetKey("embeddings"), limit=200).records
    for record in events:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        texts, seconds = (metadata[key].value if key in metadata else 0 for key in _RATE)
        if isinstance(texts, int) and isinstance(seconds, int | float) and texts and seconds:
            return texts / seconds
    return None


def last_runs(settings: Settings, most: int = 5) -> list[dict[str, Any]]:
    """The newest Dagster runs: job, status, when, and seconds."""
    with _records(settings) as instance:
        records = instance.get_run_records(limit=most)
    return [
        {
            "job": record.dagster_run.job_name,
            "status": record.dagster_run.status.value,
            "started": datetime.fromtimestamp(record.start_time or 0, UTC).isoformat(
                " ", "seconds"
            ),
            "seconds": round((record.end_time or 0) - (record.start_time or 0), 1),
        }
        for record in records
    ]


@contextmanager
def _records(settings: Settings) -> Iterator[dg.DagsterInstance]:
    home = folder(settings.dagster_folder)
    try:
        _configure(home, settings)
    except OSError as error:
        raise _refusal(error.strerror, home) from None
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance
    except DBAPIError as error:
        raise _refusal(error.orig, home) from None


def _configure(home: Path, settings: Settings) -> None:
    """Put the project's dagster.yaml into DAGSTER_HOME, unless the home has one of its own."""
    config = home / "dagster.yaml"
    if settings.dagster_home is None or not config.exists():
        shutil.copyfile(PROJECT / "dagster.yaml", config)


def _refusal(reason: object, home: Path) -> StoreError:
    return StoreError(
        f"Dagster's records cannot be read or written ({reason})",
        where=str(home),
        do="Check its permissions and the space on its disk, and run again:"
        " what was committed is kept",
    )
