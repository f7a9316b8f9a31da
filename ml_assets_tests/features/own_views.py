"""Views as a user writes them, and their latest values."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets.features import Feature, FeatureView, Function, Query
from ml_assets.features.offline import current_rows
from ml_assets.stores import duckdb

AUTHORS = FeatureView(
    name="authors",
    version=1,
    entity="author",
    description="What an author has written",
    features=(
        Feature("documents", "bigint", "documents so far", 1),
        Feature("share_x", "double", "share of them with the label x", 0, 1, nulls="refused"),
        Feature("last_label", "varchar", "label of the last"),
    ),
    uses=frozenset({"serving"}),
    source=Query(
        """
        select distinct
            metadata->>'author' as author,
            event_time,
            count(*) over so_far as documents,
            avg((label = 'x')::int) over so_far as share_x,
            max_by(label, document_id) over so_far as last_label,
        from documents
        window so_far as (partition by metadata->>'author' order by event_time)
        """,
        event_time="event_time",
    ),
)


def shouting(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    CALLS.append(len(rows))
    return {
        "capitals": [sum(map(str.isupper, row["text"])) for row in rows],
        "has_title": [bool(row["title"]) for row in rows],
    }


CALLS: list[int] = []


SHOUTING = FeatureView(
    name="shouting",
    version=1,
    entity="document",
    description="How loud a document is",
    features=(
        Feature("capitals", "bigint", "capital letters", 0, unit="letters"),
        Feature("has_title", "boolean", "whether it has a title"),
    ),
    uses=frozenset({"serving"}),
    source=Function(shouting),
)


def current(duck: duckdb.Connection, view: FeatureView) -> dict[str, dict[str, Any]]:
    columns = ", ".join(view.columns)
    rows = duck.execute(f"select entity_id, {columns} from ({current_rows(view)})").fetchall()
    return {name: dict(zip(view.columns, values, strict=True)) for name, *values in rows}


STATS = FeatureView(
    name="stats",
    version=1,
    entity="author",
    description="From elsewhere",
    features=(Feature("rating", "double", "stars", 0, 5),),
    uses=frozenset({"serving"}),
)


WRITTEN = FeatureView(
    name="written",
    version=1,
    entity="author",
    description="What an author wrote before",
    features=(
        Feature("documents", "bigint", "documents so far", 1),
        Feature("days", "double", "days since the one before", 0, unit="days"),
    ),
    uses=frozenset({"training"}),
    source=Query(
        """
        with times as (select distinct metadata->>'author' as author, event_time from documents)
        select
            author,
            event_time,
            (
                select count(*) from documents as d
                where d.metadata->>'author' = author and d.event_time <= times.event_time
            ) as documents,
            epoch(event_time - lag(event_time) over so_far) / 86400 as days
        from times
        window so_far as (partition by author order by event_time)
        """,
        event_time="event_time",
    ),
)
