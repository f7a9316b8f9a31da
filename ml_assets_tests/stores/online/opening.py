"""Every online store, empty, and rows for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from ml_assets.stores import online
from ml_assets.stores.online import OnlineStore, Row
from ml_assets.stores.redis import connected

Open = Callable[[], AbstractContextManager[OnlineStore]]
NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
A = Row({"count": 3, "share": 0.1 + 0.2, "name": "ä'\"", "known": True, "unknown": None}, "1")
B = Row({"count": 2**53, "share": -1e-300, "zero": -0.0}, "2", NOW)
ROWS = {"a": A, "b b": B}
STORES = ["sqlite", "redis", "cluster", "dynamodb"]


def opener(store: str, request: pytest.FixtureRequest, folder: Path) -> Open:
    if store == "sqlite":
        return partial(online.connect, None, folder)
    url: str = request.getfixturevalue(f"{store}_url")
    if store != "dynamodb":
        with connected(url) as client:
            client.flushall()
    return partial(online.connect, url, folder)


def numbered(entities: int, number: int = 0) -> dict[str, Row]:
    return {f"e{n}": Row({"n": n, "number": number}, f"{number}") for n in range(entities)}


def leftovers(store: OnlineStore) -> int:
    """Rows that are stored, of any build; those that Redis forgets in a minute not counted."""
    if "Sqlite" in type(store).__name__:
        query = "select count(*) from online_features"
        return int(store._connection.execute(query).fetchone()[0])  # type: ignore[attr-defined]
    if "DynamoDb" in type(store).__name__:
        items = store._client.scan(TableName=store._table)["Items"]  # type: ignore[attr-defined]
        return sum(item["bucket_id"]["S"] != "views" for item in items)
    client = store._client  # type: ignore[attr-defined]
    keys = [key for key in client.scan_iter("ml_assets:*") if not key.endswith(b":builds")]
    return sum(client.hlen(key) for key in keys if client.ttl(key) == -1) // 2
