"""What was predicted of forgotten texts, and what was told of it: in the spool and in ClickHouse.

Of each record its place is left, and when it was made: without that it would count as lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from ml_assets.monitoring.daily import roll_up_days
from ml_assets.monitoring.hourly import roll_up
from ml_assets.operations.erasure.stores.spool import Request, Spool, text_hashes
from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.settings import secret
from ml_assets.stores import clickhouse
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_WORDS = 250
"""That ClickHouse looks for at a time, at most 255."""

_HERE = "their table was written anew, and the old one dropped"
_SERVER = "their table was written anew; what the server keeps of the old one is not shown"


def erase(place: Place, subject: Subject) -> list[Removed]:
    """Erase predictions of the texts, and what was told of them; days are computed without them.

    Raises:
        StoreError: ClickHouse cannot be used.
    """
    spool, url = Spool(place.home, subject), secret(place.settings.clickhouse_url)
    if not url and not (place.home / "chdb").exists():
        return spool.erase(spool.requests())
    with clickhouse.connect(url, place.home) as client:
        bound = {"hashes": sorted(text_hashes(subject)), "labels": [*subject.labels]}
        condition = _condition(client, subject, bound)
        requests = spool.requests() | _logged(client, condition, bound)
        removed = spool.erase(requests)
        told = _keep(client, _FEEDBACK, _told_of(requests, bound), bound)  # by predictions found
        predicted = _keep(client, _LOG, condition, bound)
        days = _roll_up(client)
    how = _SERVER if url else _HERE
    return [
        *removed,
        Removed("ClickHouse", "predictions", predicted, how),
        Removed("ClickHouse", "what was told of predictions", told, how),
        Removed("ClickHouse", "days of predictions", len(days), f"computed without them; {how}"),
    ]


def _condition(client: Client, subject: Subject, bound: dict[str, Any]) -> str:
    """What holds of a prediction that is to be erased; its values are put into `bound`."""
    parts = ["has({hashes:Array(String)}, text_hash)", "has({labels:Array(String)}, label)"]
    ((texts,),) = client.query("select count(text) from prediction_log").result_rows
    words = [word for word in subject.marks.words if word] if texts else []
    for start in range(0, len(words), _WORDS):
        bound[f"words{start}"] = words[start : start + _WORDS]
        parts.append(f"multiSearchAny(ifNull(text, ''), {{words{start}:Array(String)}}) > 0")
    return f"({' or '.join(parts)})"


def _logged(client: Client, condition: str, bound: dict[str, Any]) -> set[Request]:
    rows = client.query(_with("erased_requests", condition), bound).result_rows
    return {(request_id, position) for request_id, position in rows}


def _told_of(requests: Collection[Request], bound: dict[str, Any]) -> str:
    bound["requests"] = [f"{position} {request_id}" for request_id, position in sorted(requests)]
    return "has({requests:Array(String)}, concat(toString(position), ' ', request_id))"


def _keep(client: Client, table: str, condition: str, bound: Mapping[str, Any]) -> int:
    """Write a table anew if it has something of that, or if that was begun; return how much."""
    count, keep, others = _STATEMENTS[table]
    bound = {key: value for key, value in bound.items() if key != others}
    ((rows,),) = client.query(_with(count, condition), bound).result_rows
    if rows or client.command(f"exists table {table}_anew"):
        clickhouse.rewrite(client, table, _with(keep, condition), bound)
    return int(rows)


_LOG, _FEEDBACK = "prediction_log", "prediction_feedback"
_STATEMENTS = {
    _LOG: ("count_log", "keep_log", "requests"),
    _FEEDBACK: ("count_feedback", "keep_feedback", "hashes"),
}
"""Of each table what counts and keeps, and the value that these do not have."""

_ROLLUPS = {"model_performance_hourly": "keep_hourly", "model_performance_daily": "keep_daily"}


def _with(name: str, condition: str) -> str:
    return statement(f"clickhouse/operations/{name}").replace("{erased}", condition)


def _roll_up(client: Client) -> list[date]:
    """Compute the hours and days anew of which something was erased, ever."""
    rows = client.query(statement("clickhouse/operations/erased_days")).result_rows
    days = [day for (day,) in rows]
    if days:
        for table, keep in _ROLLUPS.items():
            insert = statement(f"clickhouse/operations/{keep}")
            clickhouse.rewrite(client, table, insert, {"days": days})
        for day in days:
            roll_up(client, day, day)
            roll_up_days(client, day, day)
    return days
