"""The pgvector index: HNSW over the partition that holds the vectors of the generation's space."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.errors import LockNotAvailable

from ml_assets.documents.model import Delta
from ml_assets.documents.refresh import Progress, no_progress
from ml_assets.embeddings.refresh import partition_name
from ml_assets.errors import SpaceMismatchError
from ml_assets.search.build_memory import DEFAULT_LIMIT, BuildMemory, plan_build
from ml_assets.search.filters import NO_FILTER, SearchFilter, sql_condition
from ml_assets.search.ledger import exclusively
from ml_assets.search.model import Generation, Kind, Ranking, SyncReport, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_PATIENCE = "3s"
"""A reader's transaction is waited for so long; behind us the next readers wait."""

NARROW = 5_000
"""Documents up to which comparing with all of them beats the walk through the graph."""

_WORTH_A_WORKER = 20_000
"""Rows from which a parallel build pays; it takes its memory from /dev/shm."""


_Nearest = list[tuple[float, str]]
"""Cosine distances with chunk ids, nearest first."""


class PgvectorIndex:
    """HNSW over halfvec, by cosine. Once it is built, PostgreSQL itself keeps it current."""

    kind: Kind = "pgvector"

    def __init__(
        self,
        connection: postgres.Connection,
        generation: Generation,
        *,
        build_memory: int = DEFAULT_LIMIT,
    ) -> None:
        """Name the index; nothing is created before the first `sync`.

        A build takes `build_memory` bytes at most.
        """
        self._connection = connection
        self._build_memory = build_memory
        self._generation = generation
        self._table = partition_name(generation.space_id)
        parameters = generation.parameters["pgvector"]
        self.name = f"{self._table}_m{parameters['m']}_e{parameters['ef_construction']}"

    def sync(self, connection: postgres.Connection, progress: Progress = no_progress) -> SyncReport:
        """Build the index when it is absent; there is nothing else to do, ever."""
        started = time.perf_counter()
        with exclusively(connection, self._generation, self.kind):
            built = not self._is_valid()
            if built:
                self._build(connection)
        size = self.size()
        progress(size, size)
        row = connection.execute("select pg_relation_size(%s::regclass)", [self.name]).fetchone()
        return SyncReport(
            self.kind,
            Delta(added=size) if built else Delta(unchanged=size),
            size,
            int(row[0]) if row else None,
            time.perf_counter() - started,
            self.version(connection),
        )

    def query(self, vector: Vector, k: int, filters: SearchFilter = NO_FILTER) -> Ranking:
        """Rank the `k` nearest chunks that pass the filter; `vector` has shape (dimension,).

        The search is exact when few documents pass the filter, which is then faster and misses
        nothing, and when the graph gives fewer than `k`.

        Raises:
            SpaceMismatchError: the vector has another dimension than the space.
        """
        if vector.shape != (self._generation.dimension,):
            raise SpaceMismatchError(
                f"a vector of shape {vector.shape} met a space of dimension"
                f" {self._generation.dimension}",
                where=f"search generation {self._generation.generation_id}",
            )
        if not (filters and self._is_narrow(filters)):
            found = self._approximate(vector, k, filters)
            if len(found) == k:
                return _ranking(found, exhausted=False)
        found = self._nearest("exact", vector, k, filters)
        return _ranking(found, exhausted=len(found) < k)

    def ids(self, chunk_ids: Sequence[str] | None = None) -> set[str]:
        """The chunk ids that the index holds, of all or of `chunk_ids`, when the index is valid."""
        if not self._is_valid():
            return set()
        query = sql.SQL(
            "select chunk_id from {} where %(asked)s::text[] is null or chunk_id = any(%(asked)s)"
        ).format(sql.Identifier(self._table))
        asked = {"asked": None if chunk_ids is None else list(chunk_ids)}
        return {chunk_id for (chunk_id,) in self._connection.execute(query, asked)}

    def size(self) -> int:
        """How many chunks the index holds."""
        if not self._is_valid():
            return 0
        query = sql.SQL("select count(*) from {}").format(sql.Identifier(self._table))
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Do nothing: the connection is its owner's."""

    def _is_narrow(self, filters: SearchFilter) -> bool:
        condition, bound = sql_condition(filters)
        query = sql.SQL(statement("postgres/search/count_matching")).format(
            filter=sql.SQL(condition)
        )
        row = self._connection.execute(query, {**bound, "most": NARROW + 1}).fetchone()
        return bool(row and row[0] <= NARROW)

    def _approximate(self, vector: Vector, k: int, filters: SearchFilter) -> _Nearest:
        with self._connection.transaction():
            self._search_as_generation()
            return self._nearest("query", vector, k, filters)

    def _search_as_generation(self) -> None:
        # Iterative scan: under a filter the graph is searched on until k rows pass it.
        self._connection.execute(
            "select set_config('hnsw.ef_search', %s, true),"
            " set_config('hnsw.iterative_scan', 'strict_order', true)",
            [str(self._generation.parameters["pgvector"]["ef_search"])],
        )

    def _nearest(self, name: str, vector: Vector, k: int, filters: SearchFilter) -> _Nearest:
        query, bound = self._statement(name, vector, k, filters)
        rows = self._connection.execute(query, bound)
        return sorted((distance, chunk_id) for chunk_id, distance in rows)

    def _statement(
        self, name: str, vector: Vector, k: int, filters: SearchFilter
    ) -> tuple[sql.Composed, dict[str, Any]]:
        from pgvector import HalfVector

        condition, bound = sql_condition(filters)
        query = sql.SQL(statement(f"postgres/search/{name}")).format(
            partition=sql.Identifier(self._table),
            dimension=sql.Literal(self._generation.dimension),
            filter=sql.SQL(condition),
        )
        return query, {**bound, "vector": HalfVector(vector), "k": k}

    def _is_valid(self) -> bool:
        return bool(
            self._connection.execute(
                "select 1 from pg_index where indexrelid = to_regclass(%s) and indisvalid",
                [self.name],
            ).fetchone()
        )

    def rebuild(self, connection: postgres.Connection) -> bool:
        """Build a second index, which takes the place of the old one when it is ready.

        The old one answers until then. `reindex concurrently` would wait for every snapshot, also
        for those of sessions which wait for this run to end; here only the swap waits, for readers
        in a transaction, and gives up soon. Returns whether the new one took its place.
        """
        second = f"{self.name}_next"
        names = {"index": sql.Identifier(self.name), "second": sql.Identifier(second)}
        with exclusively(connection, self._generation, self.kind):
            self._build(connection, second)
            try:
                with connection.transaction():
                    connection.execute("select set_config('lock_timeout', %s, true)", [_PATIENCE])
                    connection.execute(sql.SQL("drop index if exists {index}").format(**names))
                    rename = sql.SQL("alter index {second} rename to {index}")
                    connection.execute(rename.format(**names))
            except LockNotAvailable:
                return False
            vacuum = sql.SQL("vacuum (analyze) {}").format(sql.Identifier(self._table))
            connection.execute(vacuum)
        return True

    def build_plan(self) -> BuildMemory:
        """What building the index would take now, and what it would get."""
        query = sql.SQL("select count(*) from {}").format(sql.Identifier(self._table))
        row = self._connection.execute(query).fetchone()
        parameters = self._generation.parameters["pgvector"]
        rows = int(row[0]) if row else 0
        return plan_build(rows, self._generation.dimension, parameters, self._build_memory)

    def _build(self, connection: postgres.Connection, name: str = "") -> None:
        """Build while others read; who writes vectors of this space waits."""
        parameters = self._generation.parameters["pgvector"]
        names = {
            "index": sql.Identifier(name or self.name),
            "partition": sql.Identifier(self._table),
            "dimension": sql.Literal(self._generation.dimension),
            "m": sql.Literal(parameters["m"]),
            "ef_construction": sql.Literal(parameters["ef_construction"]),
        }
        with connection.transaction():
            # Not concurrently: that waits for every snapshot in the database, also for those of
            # sessions which wait for this run to end.
            connection.execute(sql.SQL("drop index if exists {index}").format(**names))
            count = sql.SQL("select count(*) from {partition}").format(**names)
            row = connection.execute(count).fetchone()
            workers = 1 if row and row[0] >= _WORTH_A_WORKER else 0
            connection.execute(
                "select set_config('maintenance_work_mem', %s, true),"
                " set_config('max_parallel_maintenance_workers', %s, true)",
                [f"{self.build_plan().granted >> 10}kB", str(workers)],
            )
            build = statement("postgres/search/build_hnsw")
            connection.execute(sql.SQL(build).format(**names))
        # By their statistics the planner weighs the index against a scan.
        connection.execute(sql.SQL("analyze {partition}, chunks, documents").format(**names))

    def version(self, connection: postgres.Connection) -> str:
        """A hash over what the index holds: equal content, equal version."""
        query = statement("postgres/search/partition_version")
        row = connection.execute(query, {"space_id": self._generation.space_id}).fetchone()
        return str(row[0]) if row else ""


def _ranking(found: _Nearest, *, exhausted: bool) -> Ranking:
    return Ranking(
        [chunk_id for _, chunk_id in found], [1 - distance for distance, _ in found], exhausted
    )
