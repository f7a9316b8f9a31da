"""Asking an index, whatever the filter."""

from __future__ import annotations

from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.filters.sql import matching_chunk_ids
from ml_assets.search.indexes.contract import Index, Query, Ranking
from ml_assets.stores import postgres


def query_index(
    connection: postgres.Connection,
    index: Index[Query],
    query: Query,
    k: int,
    condition: Condition = NO_FILTER,
) -> Ranking:
    """Rank the `k` best chunks that pass the condition.

    A condition that the index cannot express exactly is resolved to chunk ids by PostgreSQL.
    """
    filters: Filter = condition
    if condition != NO_FILTER and not index.expresses(condition):
        filters = Among(tuple(matching_chunk_ids(connection, condition)))
        if not filters.chunk_ids:
            return Ranking((), (), exhausted=True)
    return index.query(query, k, filters)
