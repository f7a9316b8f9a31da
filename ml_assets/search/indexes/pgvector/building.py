"""Building an index of pgvector, and giving a second one the place of the first.

Readers are never kept waiting by a build: what answers is dropped in a transaction that only puts
the next one into its place, and that gives up when a reader holds it.
"""

from __future__ import annotations

from psycopg import sql
from psycopg.errors import LockNotAvailable

from ml_assets.errors import SettingError
from ml_assets.search.indexes.pgvector.build_memory import plan_build
from ml_assets.search.indexes.pgvector.layouts import Design
from ml_assets.search.indexes.sizing import lists_of
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_PATIENCE = "3s"
"""A reader's transaction is waited for so long; behind us the next readers wait."""

_WORTH_A_WORKER = 20_000
"""Rows from which a parallel build pays; it takes its memory from /dev/shm."""


def is_valid(connection: postgres.Connection, name: str) -> bool | None:
    """Whether the index of this name is valid; None when there is none."""
    row = connection.execute(
        "select indisvalid from pg_index where indexrelid = to_regclass(%s)", [name]
    ).fetchone()
    return bool(row[0]) if row else None


def count_rows(connection: postgres.Connection, design: Design) -> int:
    """How many vectors are in the table of the index."""
    query = sql.SQL("select count(*) from {partition}").format(**design.names)
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def lists_in(connection: postgres.Connection, name: str) -> int | None:
    """The lists of an IVFFlat index, which live with it; None of another, or when absent."""
    row = connection.execute(
        statement("postgres/search/pgvector/index_lists"), {"index": name}
    ).fetchone()
    return int(row[0]) if row else None


def build(connection: postgres.Connection, design: Design, name: str, most_bytes: int) -> None:
    """Build an index under a name that is free; who writes vectors of this space waits.

    Raises:
        SettingError: pgvector cannot index so many numbers of this type.
    """
    rows, dimension = count_rows(connection, design), design.generation.dimension
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
    # By their statistics the planner weighs the index against a scan.
    analyze = sql.SQL("analyze {partition}, chunks, documents")
    connection.execute(analyze.format(**design.names))


def swap(connection: postgres.Connection, design: Design) -> bool:
    """Give the second index the name of the first, which is dropped, and clear the table of dead.

    The generation has to be measured again then. Returns False when a reader in a transaction held
    the first one: both are as they were.
    """
    names = {**design.names, "second": sql.Identifier(design.second)}
    try:
        with connection.transaction():
            be_patient(connection)
            connection.execute(sql.SQL("drop index if exists {index}").format(**names))
            connection.execute(sql.SQL("alter index {second} rename to {index}").format(**names))
            bound = {"generation_id": design.generation.generation_id}
            connection.execute(statement("postgres/search/pgvector/measure_again"), bound)
    except LockNotAvailable:
        return False
    connection.execute(sql.SQL("vacuum (analyze) {partition}").format(**names))
    return True


def drop(connection: postgres.Connection, name: str) -> bool:
    """Drop the index of this name, if there is one; False when a reader held the table."""
    try:
        with connection.transaction():
            be_patient(connection)
            connection.execute(sql.SQL("drop index if exists {}").format(sql.Identifier(name)))
    except LockNotAvailable:
        return False
    return True


def be_patient(connection: postgres.Connection) -> None:
    """Wait no longer than a reader can bear for locks, until this transaction ends."""
    connection.execute("select set_config('lock_timeout', %s, true)", [_PATIENCE])


def partition_version(connection: postgres.Connection, generation: Generation, kind: str) -> str:
    """A hash over the vectors of the partition, which the index follows."""
    query = statement("postgres/search/pgvector/partition_version")
    row = connection.execute(query, {"space_id": generation.space_id}).fetchone()
    return str(row[0]) if row else ""


def dead_tuples(
    connection: postgres.Connection, generation: Generation, kind: str
) -> tuple[int, int]:
    """The dead tuples of the partition that no vacuum has removed yet, and its rows."""
    bound = {"space_id": generation.space_id, "partition": Design(generation).table}
    counts = postgres.read_counts(
        connection, statement("postgres/search/pgvector/dead_tuples"), bound
    )
    return counts["dead"], counts["live"]
