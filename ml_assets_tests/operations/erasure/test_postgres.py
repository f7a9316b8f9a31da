"""Texts in tables of PostgreSQL lose what is to be forgotten, and all else stays."""

from __future__ import annotations

from ml_assets.operations.erasure.stores.postgres import _erase_texts
from ml_assets.operations.erasure.wording import Wording
from ml_assets.stores import postgres
from ml_assets.stores.postgres.migration import SCHEMA


def judge(connection: postgres.Connection, query: str) -> None:
    columns = "(judged_by, document_id, query, is_relevant)"
    connection.execute(f"insert into judgments {columns} values ('ann', 'd', %s, true)", [query])


def test_rows_whose_keys_would_be_the_same_go(connection: postgres.Connection) -> None:
    wording = Wording(("zq7marker4711", "zq7title4711"), ())
    for query in ("of zq7marker4711", "of zq7title4711", "of bread"):
        judge(connection, query)
    with connection.transaction():
        assert _erase_texts(connection, SCHEMA, wording) == 2
    assert connection.execute("select query from judgments").fetchall() == [("of bread",)]


def test_each_value_is_changed_to_its_own(connection: postgres.Connection) -> None:
    wording = Wording(("zq7marker4711", "zq7title4711"), ())
    for query in ("a zq7marker4711", "b zq7title4711", "c"):
        judge(connection, query)
    with connection.transaction():
        assert _erase_texts(connection, SCHEMA, wording) == 2
    rows = connection.execute("select query from judgments order by query").fetchall()
    assert rows == [("a [forgotten]",), ("b [forgotten]",), ("c",)]
