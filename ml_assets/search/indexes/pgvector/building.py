"""Building an index of pgvector, and giving a second one the place of the first.

Readers are never kept waiting by a build: what answers is dropped in a transaction that only puts
the next one into its place, and that gives up when a reader holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.errors import LockNotAvailable

from ml_assets.documents.lookups import index_metadata
from ml_assets.errors import SettingError
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.pgvector.layouts import Design
from ml_assets.search.indexes.sizing import lists_of
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_PATIENCE = "3s"
"""A reader's transaction is waited for so long; behind us the next readers wait."""

_WORTH_A_WORKER = 20_000
"""Rows from which a parallel build pays; it takes its memory from /dev/shm."""

DEFAULT_LIMIT = 1 << 30
"""Bytes that a build may take when the caller says nothing else."""

_LEAST = 64 << 20
_MARGIN = 1.1
_BYTES_PER_NUMBER = {"halfvec": 2.0, "vector": 4.0, "bit": 0.125}
_BYTES_PER_NEIGHBOUR = 16
_BYTES_PER_NODE = 184


@dataclass(frozen=True, slots=True)
class BuildMemory:
    """What a build would take and what it gets, in bytes."""

    estimate: int
    granted: int
    lacking: str
    """What it lacks, in words; empty when it gets what it would take."""


def is_valid(connection: postgres.Connection, name: str) -> bool | None:
    """Whether the index of this name is valid; None when there is none."""
    row = connection.execute(
        "select indisvalid from pg_index where indexrelid = to_regclass(%s)", [name]
    ).fetchone()
    return bool(row[0]) if row else None


def count_rows(connection: postgres.Connection, generation: Generation) -> int:
    """How many vectors are in the table of the index."""
    query = on_vectors(generation, "select count(*) as vectors from {partition}")
    return postgres.read_counts(connection, query)["vectors"]


def options_of(connection: postgres.Connection, name: str) -> dict[str, int]:
    """What an index was built with: `lists`, or `m` and `ef_construction`; none when absent."""
    query = statement("postgres/search/pgvector/index_options")
    return dict(connection.execute(query, {"index": name}).fetchall())


def build(connection: postgres.Connection, design: Design, name: str, most_bytes: int) -> None:
    """Build an index under a name that is free; who writes vectors of this space waits.

    Raises:
        SettingError: pgvector cannot index so many numbers of this type.
    """
    rows, dimension = count_rows(connection, design.generation), design.generation.dimension
    if dimension > design.layout.dimensions:
        raise SettingError(
            f"pgvector indexes at most {design.layout.dimensions} numbers of this type, and the"
            f" model makes {dimension}",
            where="ML_ASSETS_PGVECTOR_TYPE",
            do="Set it to halfvec",
        )
    granted = plan_build(rows, dimension, design.parameters, most_bytes).granted
    numbers = {**design.parameters, "lists": lists_of(rows)}
    create = sql.SQL(statement(f"postgres/search/pgvector/{design.layout.build}")).format(
        **{key: sql.Literal(value) for key, value in numbers.items()}
        | design.names
        | {"index": sql.Identifier(name)}
    )
    with connection.transaction():
        connection.execute(
            "select set_config('maintenance_work_mem', %s, true),"
            " set_config('max_parallel_maintenance_workers', %s, true)",
            [f"{granted >> 10}kB", str(int(rows >= _WORTH_A_WORKER))],
        )
        # Not concurrently: that waits for every snapshot in the database, also for those of
        # sessions which wait for this run to end.
        connection.execute(create)
    index_metadata(connection)
    # By their statistics the planner weighs the index against a scan.
    analyze = sql.SQL("analyze {partition}, chunks, documents")
    connection.execute(analyze.format(**design.names))


def swap(connection: postgres.Connection, design: Design) -> bool:
    """Give the second index the name of the first, which is dropped, and clear the table of dead.

    The generation has to be measured again then. Returns False when a reader in a transaction held
    the first one: both are as they were.
    """
    names = {**design.names, "second": sql.Identifier(design.second)}
    bound = {"generation_id": design.generation.generation_id}
    with suppress(LockNotAvailable):
        with connection.transaction():
            be_patient(connection)
            connection.execute(sql.SQL("drop index if exists {index}").format(**names))
            connection.execute(sql.SQL("alter index {second} rename to {index}").format(**names))
            connection.execute(statement("postgres/search/pgvector/measure_again"), bound)
        connection.execute(sql.SQL("vacuum (analyze) {partition}").format(**names))
        return True
    return False


def drop(connection: postgres.Connection, name: str) -> bool:
    """Drop the index of this name, if there is one; False when a reader held the table."""
    with suppress(LockNotAvailable), connection.transaction():
        be_patient(connection)
        connection.execute(sql.SQL("drop index if exists {}").format(sql.Identifier(name)))
        return True
    return False


def be_patient(connection: postgres.Connection) -> None:
    """Wait no longer than a reader can bear for locks, until this transaction ends."""
    connection.execute("select set_config('lock_timeout', %s, true)", [_PATIENCE])


def graph_bytes(rows: int, dimension: int, m: int, kind: str = "halfvec") -> int:
    """The memory of pgvector's graph while it is built, in bytes.

    rows x (vector + 16 x (2 m + m / (m - 1)) + 184): a node has 2 m neighbours in the lowest layer
    and m in each of the 1 / (m - 1) layers above that it is in on average, each a candidate of 16
    bytes; 184 are the node itself with the heads of its lists and of the vector. Source: the
    structures of pgvector's `hnsw.h`; the constants from its notice "hnsw graph no longer fits".
    """
    vector = dimension * _BYTES_PER_NUMBER[kind]
    neighbours = _BYTES_PER_NEIGHBOUR * (2 * m + m / (m - 1))
    return round(rows * (vector + neighbours + _BYTES_PER_NODE))


def _sample_bytes(rows: int, dimension: int) -> int:
    """The memory for training an IVFFlat index, in bytes.

    50 rows a list are sampled (pgvector's ivfbuild.c), each of `dimension` floats of 4 bytes, and
    k-means keeps a lower bound of 4 bytes for each of them and each list.
    """
    lists = lists_of(rows)
    return 4 * min(rows, 50 * lists) * (dimension + lists)


def plan_build(
    rows: int, dimension: int, parameters: Mapping[str, Any], limit: int = DEFAULT_LIMIT
) -> BuildMemory:
    """The estimate with a margin of a tenth, and what is granted: that, within `limit`.

    A parallel build takes all that is granted from /dev/shm at once, so no more is granted than
    the graph needs. With less than they need, pgvector refuses lists, and builds a graph slowly.
    """
    if parameters.get("index") == "ivfflat":
        needed, what = _sample_bytes(rows, dimension), "too little: the training of the lists"
    else:
        needed = graph_bytes(rows, dimension, parameters["m"], parameters["type"])
        what = "slow: the graph"
    estimate = round(_MARGIN * needed)
    granted = min(limit, max(_LEAST, estimate))
    takes = f"takes {estimate >> 20} MiB and gets {granted >> 20}; raise ML_ASSETS_BUILD_MEMORY"
    return BuildMemory(estimate, granted, "" if granted >= estimate else f"{what} {takes}")
