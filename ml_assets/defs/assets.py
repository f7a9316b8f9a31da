"""What assets and checks share: how they are made, and metadata in one form."""

from __future__ import annotations

import hashlib
import io
import pkgutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from inspect import isgeneratorfunction
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dagster as dg
from psycopg import sql

import ml_assets.defs as room
from ml_assets.delta import Delta
from ml_assets.errors import OutageError, SourceError, StoreError, full_disks_told
from ml_assets.features.definition import FeatureView
from ml_assets.problem import REPAIR, Problem
from ml_assets.releases.anchor import read_head
from ml_assets.releases.gates import Gate
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets.training.model import TrainingSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ml_assets.stores import duckdb

DAILY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=49), warn_window=timedelta(hours=25)
)
"""Looked at every night; an asset that was not is behind."""

PREFIX = load_settings().key_prefix.split("/") if load_settings().key_prefix else None
"""Of all keys. Read once: jobs and automation conditions are constants of their modules."""

NO_TRAINING_SET = "nothing to train on"
LEFT_ALONE = "left_to_another_host"

AUDIT_HEAD = "audit_head"
"""The metadata in which a materialization keeps the end of the audit log."""

EXAMPLES_LENGTH = 400
"""Characters of the names of offenders that a check shows."""

VERSION_OF_PARTITION = "partition_version"
"""Metadata: the data version of one partition. Dagster gives all partitions of a step the same."""

_PAUSE_SECONDS = 5
"""Between two tries of a step."""

Function = Callable[..., Any]


def asset_of(view: FeatureView) -> str:
    """The name of the asset that holds the offline values of a view."""
    return f"{view.entity if view.source is None else view.name}_features"


def key(name: str) -> dg.AssetKey:
    """The key of the asset of that name, behind the prefix of this deployment."""
    return dg.AssetKey([*(PREFIX or ()), name])


def modules(name: str) -> list[ModuleType]:
    """The modules of this name, of every asset group that has one."""
    # `room` stays for as long as we do: else modules end in an order that DuckDB takes for a leak,
    # and tells in a hundred lines at the end of a first run.
    groups = [group.name for group in pkgutil.iter_modules(room.__path__) if group.ispkg]
    names = [f"{room.__name__}.{group}.{name}" for group in groups]
    return [import_module(name) for name in names if find_spec(name)]


def asset(**own: Any) -> Callable[[Function], dg.AssetsDefinition]:
    """Make an asset of the group that its folder is named after; `own` is what is its alone.

    A range of partitions, and what follows it, is one run: so says the backfill policy of every
    asset. What it took is metadata, in seconds, unless the asset has a measure of its own.
    """

    def define(function: Function) -> dg.AssetsDefinition:
        shared = {
            "group_name": function.__module__.split(".")[-2],
            "backfill_policy": dg.BackfillPolicy.single_run(),
            "metadata": {"dagster/code_references": _source(function)},
        }
        timed = function if isgeneratorfunction(function) else _timed(function)
        made: dg.AssetsDefinition = dg.asset(**{**shared, **own})(tried_again(timed))
        return made

    return define


def check(**own: Any) -> Callable[[Function], dg.AssetChecksDefinition]:
    """Make a check of an asset."""

    def define(function: Function) -> dg.AssetChecksDefinition:
        return dg.asset_check(**own)(tried_again(function))

    return define


def tried_again(function: Function) -> Function:
    """Let Dagster try a step again that a store or a source failed; another error would recur."""

    @wraps(function)
    def once(*arguments: Any, **resources: Any) -> Any:
        with _asking_again():
            return function(*arguments, **resources)

    @wraps(function)
    def each(*arguments: Any, **resources: Any) -> Any:
        with _asking_again():
            yield from function(*arguments, **resources)

    return each if isgeneratorfunction(function) else once


@contextmanager
def _asking_again() -> Iterator[None]:
    try:
        with full_disks_told():
            yield
    except OutageError as outage:  # the next try waits for the store, too
        raise dg.RetryRequested(max_retries=2, seconds_to_wait=_PAUSE_SECONDS) from outage
    except (StoreError, SourceError) as error:
        raise dg.RetryRequested(max_retries=1, seconds_to_wait=_PAUSE_SECONDS) from error


def failed_by_outage(event: dg.DagsterEvent) -> bool:
    """Whether a store that did not answer is what made the step of this event fail."""
    error = event.step_failure_data.error
    while error and error.cls_name != OutageError.__name__:
        error = error.cause
    return error is not None


def _source(function: Function) -> dg.CodeReferencesMetadataValue:
    code = function.__code__
    reference = dg.LocalFileCodeReference(
        file_path=code.co_filename, line_number=code.co_firstlineno
    )
    return dg.CodeReferencesMetadataValue(code_references=[reference])


def _timed(function: Callable[..., dg.MaterializeResult]) -> Function:
    @wraps(function)
    def timed(*arguments: Any, **resources: Any) -> dg.MaterializeResult:
        started = time.perf_counter()
        result = function(*arguments, **resources)
        seconds = {"seconds": round(time.perf_counter() - started, 2)}
        return result._replace(metadata={**seconds, **(result.metadata or {})})

    return timed


def problems_result(
    problems: Sequence[Problem],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    **numbers: str | float,
) -> dg.AssetCheckResult:
    """Passed without any; else it names how many rows have which, the first, and the repair."""
    if not problems:
        return dg.AssetCheckResult(passed=True, metadata=numbers)
    examples = ", ".join(name for each in problems for name in each.examples)
    rows = {each.problem: each.rows for each in problems}
    offenders = {"examples": examples[:EXAMPLES_LENGTH], "repair": REPAIR}
    return dg.AssetCheckResult(
        passed=False, severity=severity, metadata={**numbers, **rows, **offenders}
    )


def gate_result(gate: Gate) -> dg.AssetCheckResult:
    """A gate as a check: what does not block fails as a warning."""
    blocks = gate.outcome == "block"
    return dg.AssetCheckResult(
        check_name=gate.name,
        passed=gate.outcome == "pass",
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        metadata={
            "message": gate.message,
            **gate.numbers,
            **({"do": gate.do} if gate.do else {}),
        },
    )


def nothing_to_train_on(current: TrainingSet | None) -> dg.MaterializeResult:
    """What an asset reports when there is no training set: nothing was written, and why."""
    reason = current.reason if current else "training_set was not materialized yet"
    return dg.MaterializeResult(
        metadata={"outcome": f"{NO_TRAINING_SET}: {reason}; nothing was written"},
        data_version=data_version(NO_TRAINING_SET),
    )


def left_alone(reason: str) -> dg.MaterializeResult:
    """What an asset reports when models are left to another host: nothing was written, and why."""
    return dg.MaterializeResult(
        metadata={"outcome": "models are left alone; nothing was written", LEFT_ALONE: reason},
        data_version=data_version(LEFT_ALONE),
    )


def audit_head(connection: postgres.Connection) -> dict[str, str]:
    """The end of the audit log, as metadata: outside of the database that has the log."""
    head = read_head(connection)
    return {AUDIT_HEAD: str(head)} if head else {}


def plain(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    """Metadata as JSON takes it: a table is a list of its rows."""
    return {
        name: [dict(record.data) for record in value.records]
        if isinstance(value, dg.TableMetadataValue)
        else value.value
        for name, value in metadata.items()
    }


def table(rows: Sequence[Mapping[str, object]]) -> dg.TableMetadataValue:
    """A small table with typed columns, which are the keys of the first row."""
    header = list(rows[0]) if rows else []
    columns = [dg.TableColumn(name, _column_type([row[name] for row in rows])) for name in header]
    records = [dg.TableRecord({name: _cell(row[name]) for name in header}) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def relation(connection: postgres.Connection, name: str) -> dict[str, Any]:
    """What the UI shows of a table of PostgreSQL: where it lies, its columns, and its rows."""
    bound = {"table": name}
    columns = connection.execute(statement("postgres/stores/columns"), bound).fetchall()
    count = sql.SQL("select count(*) as rows from {}").format(sql.Identifier(name))
    rows = postgres.read_counts(connection, count)["rows"]
    return described(f"{connection.info.dbname}.ml_schema.{name}", columns, rows)


def relation_of_duckdb(duck: duckdb.Connection, name: str) -> dict[str, Any]:
    """The same of a table of the offline store."""
    described_table = duck.execute(f"describe {name}").fetchall()
    columns = [(column, kind) for column, kind, *_ in described_table]
    count = f"select current_database(), count(*) from {name}"  # noqa: S608
    ((database, rows),) = duck.execute(count).fetchall()
    return described(f"{database}.main.{name}", columns, rows)


def described(identifier: str, columns: Iterable[tuple[str, object]], rows: int) -> dict[str, Any]:
    """A table under the names that the UI shows; `columns` are pairs of name and type."""
    schema = dg.TableSchema([dg.TableColumn(name, str(kind)) for name, kind in columns])
    return {
        "dagster/relation_identifier": identifier,
        "dagster/column_schema": schema,
        "dagster/row_count": rows,
    }


def rows_of_partition(delta: Delta, *content: object) -> dict[str, int | str]:
    """The row delta of one collection, how many rows it has, and the version of its content."""
    rows = delta.added + delta.changed + delta.unchanged
    version = data_version(*content).value
    return {
        **asdict(delta),
        "dagster/partition_row_count": rows,
        VERSION_OF_PARTITION: version,
    }


def gate_table(gates: Sequence[Gate]) -> dg.TableMetadataValue:
    """The verdict of each gate, with the numbers it compared."""
    return table([{**asdict(gate), "numbers": gate.compared} for gate in gates])


def plot(figure: Figure) -> dg.MarkdownMetadataValue:
    """A matplotlib figure as an inline PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return dg.MetadataValue.md(
        f"![plot](data:image/png;base64,{b64encode(buffer.getvalue()).decode()})"
    )


def data_version(*parts: object) -> dg.DataVersion:
    """A data version that changes when one of `parts` does."""
    return dg.DataVersion(hashlib.sha256(repr(parts).encode()).hexdigest()[:16])


def _cell(value: object) -> str | int | float | bool:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if value is None:
        return ""
    return value if isinstance(value, int | bool) else str(value)


def _column_type(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values}
    numbers = {int: "int", float: "float", bool: "bool"}
    return numbers.get(kinds.pop(), "string") if len(kinds) == 1 else "string"
