"""The pgvector index, over the partition that holds the vectors of the generation's space.

HNSW, IVFFlat, or HNSW over the signs of the numbers: `layouts.py` says what sets them apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, LiteralString

from psycopg import sql

from ml_assets.delta import Delta
from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.filters.sql import sql_condition
from ml_assets.search.indexes.contract import Ranking, SyncReport
from ml_assets.search.indexes.pgvector.build_memory import DEFAULT_LIMIT, BuildMemory, plan_build
from ml_assets.search.indexes.pgvector.building import (
    build,
    count_rows,
    drop,
    is_valid,
    lists_in,
    partition_version,
    swap,
)
from ml_assets.search.indexes.pgvector.layouts import MOST_EF, Design, search_with
from ml_assets.search.indexes.sizing import candidates_of, is_outgrown, probes_of
from ml_assets.search.model import Generation, Vector
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive
from ml_assets.stores.sql import statement

NARROW = 5_000
"""Documents up to which comparing with all of them beats the walk through the graph."""

FILTERED = 100
"""Chunks asked of the graph under a filter, at least: the walk ends when they are found, and the
nearest may be the last."""

_Scored = list[tuple[float, str]]
"""Cosines with chunk ids."""


class PgvectorIndex:
    """By cosine, over the stored half vectors. Once it is built, PostgreSQL keeps it current."""

    kind = "pgvector"

    def __init__(
        self,
        connection: postgres.Connection,
        generation: Generation,
        *,
        build_memory: int = DEFAULT_LIMIT,
    ) -> None:
        """Name the index; a build will take `build_memory` bytes at most."""
        self._connection = connection
        self._build_memory = build_memory
        self.generation = generation
        self._design = Design(generation)
        self.name = self._design.name

    def sync(self, progress: Progress = no_progress) -> SyncReport:
        """Build the index when it is absent, or its lists are too few or too many for the rows.

        First of all, a second index that another run built is put in the place of the first.
        """
        started = time.perf_counter()
        plan = self.build_plan()
        with self._exclusively():
            built = self._end_rebuild()
            if is_valid(self._connection, self.name) is None:
                self._build()
                built = True
            elif self._is_due():
                built = self._rebuild() or built
        size = self.size()
        progress(size, size)
        row = self._connection.execute(
            "select sum(pg_relation_size(relid)) from pg_partition_tree(%s)", [self.name]
        ).fetchone()
        return SyncReport(
            Delta(added=size) if built else Delta(unchanged=size),
            size,
            int(row[0]) if row else None,
            time.perf_counter() - started,
            partition_version(self._connection, self.generation, self.kind),
            {"build_bytes_estimated": plan.estimate, "build": plan.message},
        )

    def query(self, vector: Vector, k: int, filters: Filter = NO_FILTER) -> Ranking:
        """Exact when few documents pass the filter, and when the graph gives fewer than `k`."""
        self.generation.check(vector)
        if filters == NO_FILTER:
            nearest = self._live_of_nearest(vector, k)
            if len(nearest) == k:
                return Ranking.best_first(nearest, exhausted=False)
        if filters == NO_FILTER or not self._is_narrow(filters):
            nearest = self._approximate(vector, max(k, FILTERED), filters)[:k]
            if len(nearest) == k:
                return Ranking.best_first(nearest, exhausted=False)
        nearest = self._scored(*self._filtered("exact", vector, k, filters))
        return Ranking.best_first(nearest, exhausted=len(nearest) < k)

    def expresses(self, condition: Condition) -> bool:
        return True

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, None]]:
        if not is_valid(self._connection, self.name):
            return
        query = sql.SQL(
            "select chunk_id from {} where %(asked)s::text[] is null or chunk_id = any(%(asked)s)"
        ).format(sql.Identifier(self._design.table))
        asked = {"asked": None if chunk_ids is None else list(chunk_ids)}
        for (chunk_id,) in self._connection.execute(query, asked):
            yield chunk_id, None

    def size(self) -> int:
        if not is_valid(self._connection, self.name):
            return 0
        return count_rows(self._connection, self._design)

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        if any(Design(other).name == self.name for other in kept):
            return True
        return all(drop(self._connection, name) for name in (self.name, self._design.second))

    def close(self) -> None:
        """Do nothing: the connection is its owner's."""

    def rebuild(self) -> str | None:
        """Build a second index, which takes the place of the old one when it is ready.

        The remark says where the build lacked memory.
        """
        if not self._rebuild():
            return None
        plan = replace(self.build_plan(), due=True)
        return "" if plan.fits else f"; {plan.message}"

    def build_plan(self) -> BuildMemory:
        """What building the index would take now and what it would get, and whether it is due."""
        rows = count_rows(self._connection, self._design)
        dimension = self.generation.dimension
        plan = plan_build(rows, dimension, self._design.parameters, self._build_memory)
        return replace(plan, due=self._is_due())

    def _is_narrow(self, filters: Filter) -> bool:
        if isinstance(filters, Among):
            return True
        condition, bound = sql_condition(filters)
        query = sql.SQL(statement("postgres/search/pgvector/count_matching")).format(
            filter=sql.SQL(condition)
        )
        row = self._connection.execute(query, {**bound, "most": NARROW + 1}).fetchone()
        return bool(row and row[0] <= NARROW)

    def _live_of_nearest(self, vector: Vector, k: int) -> _Scored:
        """Those of the `k` nearest that are live: nearly always all of them.

        Prepared, with `k` in it: a plan for any k may not use the index.
        """
        self._set_beam(k, filtered=False)
        return self._scored(*self._unfiltered(vector, k), prepare=True)

    def _approximate(self, vector: Vector, k: int, filters: Filter) -> _Scored:
        self._set_beam(k, filtered=True)
        query, bound = self._filtered(self._design.layout.query, vector, k, filters)
        return sorted(self._scored(query, bound), reverse=True)

    def _set_beam(self, k: int, *, filtered: bool) -> None:
        layout = self._design.layout
        beam = {layout.beam: str(self._beam(k, filtered))}
        search_with(self._connection, {**beam, **layout.scan})

    def _beam(self, k: int, filtered: bool) -> int:
        """Lists to read, or nodes of the graph to keep in sight."""
        parameters = self._design.parameters
        if parameters["index"] == "ivfflat":
            # What passes a filter lies elsewhere: recall under filters needs three times the lists.
            return probes_of(self._lists() or 1, 1 / 3 if filtered else 1.0)
        least = candidates_of(k) if parameters["index"] == "binary" else 0
        return min(MOST_EF, max(least, int(parameters["ef_search"])))

    def _lists(self) -> int | None:
        return lists_in(self._connection, self.name)

    def _is_due(self) -> bool:
        """Whether the index has to be built: it is absent, not valid, or its rows outgrew it."""
        if not is_valid(self._connection, self.name):
            return True
        lists = self._lists()
        return lists is not None and is_outgrown(lists, count_rows(self._connection, self._design))

    def _filtered(
        self, name: str, vector: Vector, k: int, filters: Filter
    ) -> tuple[sql.Composed, dict[str, Any]]:
        condition, bound = sql_condition(filters)
        joined = statement("postgres/search/pgvector/documents_of")
        query, asked = self._composed(name, vector, k, joined, condition)
        return query, {**bound, **asked}

    def _unfiltered(self, vector: Vector, k: int) -> tuple[sql.Composed, dict[str, Any]]:
        nearest, bound = self._composed(self._design.layout.query, vector, k, "", "true")
        return sql.SQL(statement("postgres/search/pgvector/live_of")).format(nearest=nearest), bound

    def _composed(
        self, name: str, vector: Vector, k: int, documents: LiteralString, condition: LiteralString
    ) -> tuple[sql.Composed, dict[str, Any]]:
        import pgvector

        query = sql.SQL(statement(f"postgres/search/pgvector/{name}")).format(
            **self._design.names,
            documents=sql.SQL(documents),
            filter=sql.SQL(condition),
            k=sql.Literal(k),
            candidates=sql.Literal(candidates_of(k)),
        )
        whole = self._design.parameters["type"] == "vector"
        return query, {"vector": (pgvector.Vector if whole else pgvector.HalfVector)(vector)}

    def _scored(
        self, query: sql.Composed, bound: Mapping[str, Any], *, prepare: bool | None = None
    ) -> _Scored:
        rows = self._connection.execute(query, bound, prepare=prepare)
        return [(1 - distance, chunk_id) for chunk_id, distance in rows]

    def _rebuild(self) -> bool:
        # The old one answers until then. `reindex concurrently` would wait for every snapshot, also
        # for those of sessions which wait for this run to end; here only the swap waits, for
        # readers in a transaction, and gives up soon. The second one is kept up by PostgreSQL, and
        # the next run has only to swap them.
        connection, second = self._connection, self._design.second
        with self._exclusively():
            if not is_valid(connection, second):
                if not drop(connection, second):
                    return False
                build(connection, self._design, second, self._build_memory)
            return swap(connection, self._design)

    def _end_rebuild(self) -> bool:
        """Swap a second index which an earlier run left behind; drop one that is not valid."""
        valid = is_valid(self._connection, self._design.second)
        if valid is False:
            drop(self._connection, self._design.second)
        return bool(valid) and swap(self._connection, self._design)

    def _exclusively(self) -> AbstractContextManager[None]:
        # By its name: generations that differ only in how widely they search share the index.
        return exclusive(self._connection, f"ml_schema.search.{self.name}")

    def _build(self) -> None:
        build(self._connection, self._design, self.name, self._build_memory)
