"""Questions to an index, as the tests of all kinds ask them."""

from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import query_index
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.choices import AnyIndex


def ask(
    index: AnyIndex,
    text: str = "red",
    k: int = 10,
    filters: Condition = NO_FILTER,
    connection: postgres.Connection | None = None,
) -> Ranking:
    """The connection resolves a filter that the index may not express."""
    query = text if isinstance(index, KeywordIndex) else HashEncoder().encode([text])[0]
    if connection is None:
        return index.query(query, k, filters)
    return query_index(connection, index, query, k, filters)


def only_indexes(connection: postgres.Connection) -> None:
    """Make the planner use an index even on a table that is read faster."""
    connection.execute("set enable_seqscan = off; set enable_sort = off")
