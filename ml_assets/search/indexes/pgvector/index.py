"""The pgvector index, over the partition that holds the vectors of the generation's space.

HNSW, IVFFlat, or HNSW over the signs of the numbers: `layouts.py` says what sets them apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from math import ceil
from typing import Any

from psycopg import sql

from ml_assets.delta import Delta
from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.filters.sql import sql_condition
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import Ranking, SyncReport
from ml_assets.search.indexes.pgvector import building, partition_version
from ml_assets.search.indexes.pgvector.layouts import MOST_EF, design_of, search_with
from ml_assets.search.indexes.sizing import candidates_of, is_outgrown, probes_of
from ml_assets.search.model import Generation, Vector
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive
from ml_assets.stores.sql import statement

NARROW = 500
"""Documents that are compared with, whatever their share is."""

WALKED = 2.0
"""What looking at a chunk on the walk through the graph costs, where comparing with one of those
that pass costs 1."""

FILTERED = {"hnsw": 30, "ivfflat": 100, "binary": 100}
"""Chunks asked of each index under a filter, at least: the walk ends when they are found, and the
nearest may be the last."""

_WALK = 2
"""So many times as many chunks as would do on average are looked at before all are compared."""

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
        build_memory: int = building.DEFAULT_LIMIT,
    ) -> None:
        """Name the index; a build will take `build_memory` bytes at most."""
        self._connection = connection
        self._build_memory = build_memory
        self.generation = generation
        self._design = design_of(generation)
        self.name = self._design.name

    def sync(self, progress: Progress = no_progress) -> SyncReport:
        """Build the index when it is absent, or its lists are too few or too many for the rows.

        First of all, a second index that another run built is put in the place of the first.
        """
        started = time.perf_counter()
        plan, due = self._plan(), self._is_due()
        with self._exclusively():
            built = self._end_rebuild()
            if building.is_valid(self._connection, self.name) is None:
                building.build(self._connection, self._design, self.name, self._build_memory)
                built = True
            elif self._is_due():
                built = self._rebuild() or built
        size = self.size()
        progress(size, size)
        [(size_on_disk,)] = self._connection.execute(
            "select sum(pg_relation_size(relid))::bigint from pg_partition_tree(%s)", [self.name]
        )
        current = "nothing to build: the index is current"
        return SyncReport(
            Delta(added=size) if built else Delta(unchanged=size),
            size,
            size_on_disk,
            time.perf_counter() - started,
            partition_version(self._connection, self.generation, self.kind),
            {
                "build_bytes_estimated": plan.estimate,
                "build": (plan.lacking or "in memory") if due else current,
            },
        )

    def query(self, vector: Vector, k: int, filters: Filter = NO_FILTER) -> Ranking:
        """Exact when few documents pass the filter, and when the graph gives fewer than `k`."""
        self.generation.check(vector)
        for scored in self._attempts(vector, k, filters):
            if len(scored) >= k:
                break
        return Ranking.best_first(scored[:k], exhausted=len(scored) < k)

    def query_many(self, vectors: Sequence[Vector], k: int) -> list[Ranking]:
        """Ask for all before the first answer is read; those that fall short are asked again."""
        if len(vectors) == 1:  # a pipeline takes longer to open and to close than one question
            return [self.query(vectors[0], k)]
        for vector in vectors:
            self.generation.check(vector)
        self._set_beam(k, filtered=False)
        with self._connection.pipeline():
            asked = [
                self._connection.execute(*self._unfiltered(vector, k), prepare=True)
                for vector in vectors
            ]
        found = [_scores(cursor.fetchall()) for cursor in asked]
        return [
            Ranking.best_first(scored, exhausted=False)
            if len(scored) >= k
            else self.query(vector, k)
            for vector, scored in zip(vectors, found, strict=True)
        ]

    def expresses(self, condition: Condition) -> bool:
        return True

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, None]]:
        if not building.is_valid(self._connection, self.name):
            return
        query = on_vectors(
            self.generation,
            "select chunk_id from {partition}"
            " where %(asked)s::text[] is null or chunk_id = any(%(asked)s)",
        )
        asked = {"asked": None if chunk_ids is None else list(chunk_ids)}
        for (chunk_id,) in self._connection.execute(query, asked):
            yield chunk_id, None

    def size(self) -> int:
        valid = building.is_valid(self._connection, self.name)
        return building.count_rows(self._connection, self.generation) if valid else 0

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        if any(design_of(other).name == self.name for other in kept):
            return True
        names = (self.name, self._design.second)
        return all(building.drop(self._connection, name) for name in names)

    def close(self) -> None:
        """Do nothing: the connection is its owner's."""

    def rebuild(self) -> str | None:
        """Build a second index, which takes the place of the old one when it is ready.

        The remark says where the build lacked memory.
        """
        if not self._rebuild():
            return None
        lacking = self._plan().lacking
        return f"; {lacking}" if lacking else ""

    def _plan(self) -> building.BuildMemory:
        rows = building.count_rows(self._connection, self.generation)
        parameters, limit = self._design.parameters, self._build_memory
        return building.plan_build(rows, self.generation.dimension, parameters, limit)

    def _attempts(self, vector: Vector, k: int, filters: Filter) -> Iterator[_Scored]:
        """What is found, each time by a wider search; the last one is exact."""
        more = max(k, FILTERED[self._design.parameters["index"]])
        if filters == NO_FILTER:
            yield self._live_of_nearest(vector, k)
            yield self._approximate(vector, more, filters)
        elif share := self._broad_share(more, filters):
            yield self._passing_of_nearest(vector, more, filters, share)
        yield self._scored(*self._composed("exact", vector, k, filters))

    def _broad_share(self, k: int, filters: Filter) -> float:
        """About the share of the documents that pass; 0 when all of these are to be compared.

        Of `k / share` chunks that the walk comes to, `k` pass on average.
        """
        if isinstance(filters, Among):
            return 0.0
        condition, bound = sql_condition(filters)
        text = statement("postgres/search/pgvector/sample_passing")
        sampled = on_vectors(self.generation, text, filter=condition)
        counts = postgres.read_counts(self._connection, sampled, bound)
        share = counts["passing"] / max(1, counts["sampled"])
        passing = share * counts["documents"]
        return share if passing > NARROW and WALKED * k / share < passing else 0.0

    def _live_of_nearest(self, vector: Vector, k: int) -> _Scored:
        """Those of the `k` nearest that are live: nearly always all of them.

        Prepared, with `k` in it: a plan for any k may not use the index.
        """
        self._set_beam(k, filtered=False)
        return self._scored(*self._unfiltered(vector, k), prepare=True)

    def _passing_of_nearest(self, vector: Vector, k: int, filters: Filter, share: float) -> _Scored:
        """The first `k` of the nearest that pass.

        The filter is asked of each chunk that the walk comes to: PostgreSQL, which expects that
        hardly any document passes a comparison of metadata, would compare with all that pass.
        """
        if self._design.parameters["index"] == "binary":  # it compares candidates itself
            return self._approximate(vector, k, filters)
        self._set_beam(k, filtered=True)
        most = ceil(_WALK * k / share)
        nearest, bound = self._composed(self._design.layout.query, vector, most, None)
        condition, asked = sql_condition(filters)
        query = statement("postgres/search/pgvector/passing_of")
        parts = {"nearest": nearest.as_string(), "filter": condition, "k": str(k)}
        passing = self._scored(on_vectors(self.generation, query, **parts), {**bound, **asked})
        return sorted(passing, reverse=True)

    def _approximate(self, vector: Vector, k: int, filters: Filter) -> _Scored:
        self._set_beam(k, filtered=True)
        query, bound = self._composed(self._design.layout.query, vector, k, filters)
        return sorted(self._scored(query, bound), reverse=True)

    def _set_beam(self, k: int, *, filtered: bool) -> None:
        layout, beam = self._design.layout, self._beam(k, filtered)
        scan = layout.scan if filtered or k > beam else layout.single
        search_with(self._connection, {layout.beam: str(beam), **scan})

    def _beam(self, k: int, filtered: bool) -> int:
        """Lists to read, or nodes of the graph to keep in sight."""
        parameters = self._design.parameters
        if parameters["index"] == "ivfflat":
            # What passes a filter lies elsewhere: recall under filters needs three times the lists.
            return probes_of(self._lists() or 1, 1 / 3 if filtered else 1.0)
        least = candidates_of(k) if parameters["index"] == "binary" else 0
        return min(MOST_EF, max(least, int(parameters["ef_search"])))

    def _lists(self) -> int | None:
        return building.options_of(self._connection, self.name).get("lists")

    def _is_due(self) -> bool:
        """Whether the index has to be built.

        It is absent, not valid, another hand built it, or its rows outgrew its lists.
        """
        if not building.is_valid(self._connection, self.name):
            return True
        options = building.options_of(self._connection, self.name)
        if "lists" in options:
            return is_outgrown(options["lists"], self.size())
        graph = ("m", "ef_construction")
        return any(options.get(name) != self._design.parameters[name] for name in graph)

    def _unfiltered(self, vector: Vector, k: int) -> tuple[sql.SQL, dict[str, Any]]:
        nearest, bound = self._composed(self._design.layout.query, vector, k, None)
        query = statement("postgres/search/pgvector/live_of")
        return on_vectors(self.generation, query, nearest=nearest.as_string()), bound

    def _composed(
        self, name: str, vector: Vector, k: int, filters: Filter | None
    ) -> tuple[sql.SQL, dict[str, Any]]:
        """The statement over live documents that pass, or over all vectors if `filters` is None."""
        import pgvector

        documents, condition, bound = "", "true", dict[str, Any]()
        if filters is not None:
            joined = statement("postgres/search/pgvector/documents_of")
            documents = on_vectors(self.generation, joined).as_string()
            condition, bound = sql_condition(filters)
        query = on_vectors(
            self.generation,
            statement(f"postgres/search/pgvector/{name}"),
            type=self._design.parameters["type"],
            dimension=str(self.generation.dimension),
            documents=documents,
            filter=condition,
            k=str(k),
            candidates=str(candidates_of(k)),
        )
        whole = self._design.parameters["type"] == "vector"
        kind = pgvector.Vector if whole else pgvector.HalfVector
        return query, {**bound, "vector": kind(vector)}

    def _scored(
        self, query: sql.SQL, bound: Mapping[str, Any], *, prepare: bool | None = None
    ) -> _Scored:
        return _scores(self._connection.execute(query, bound, prepare=prepare).fetchall())

    def _rebuild(self) -> bool:
        # The old one answers until then. `reindex concurrently` would wait for every snapshot, also
        # for those of sessions which wait for this run to end; here only the swap waits, for
        # readers in a transaction, and gives up soon. The second one is kept up by PostgreSQL, and
        # the next run has only to swap them.
        connection, second = self._connection, self._design.second
        with self._exclusively():
            if not building.is_valid(connection, second):
                if not building.drop(connection, second):
                    return False
                building.build(connection, self._design, second, self._build_memory)
            return building.swap(connection, self._design)

    def _end_rebuild(self) -> bool:
        """Swap a second index which an earlier run left behind; drop one that is not valid."""
        valid = building.is_valid(self._connection, self._design.second)
        if valid is False:
            building.drop(self._connection, self._design.second)
        return bool(valid) and building.swap(self._connection, self._design)

    def _exclusively(self) -> AbstractContextManager[None]:
        # By its name: generations that differ only in how widely they search share the index.
        return exclusive(self._connection, f"ml_schema.search.{self.name}")


def _scores(rows: Iterable[tuple[str, float]]) -> _Scored:
    return [(1 - distance, chunk_id) for chunk_id, distance in rows]
