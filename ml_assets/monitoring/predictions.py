"""The prediction log: what was predicted and what was true, from the spool to ClickHouse.

A segment is loaded when it is closed, and removed when its rows are there. A row is named by its
place in the spool, so that a segment that is loaded again, because a kill came in between, changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ml_assets.monitoring.spool.segments import (
    Segment,
    claimed,
    closed_segments,
    forget_old,
    list_segments,
    place_of,
    put_aside,
    read_records,
    written_last,
)
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PREDICTIONS, FEEDBACK, REQUESTS = "predictions", "feedback", "requests"
"""The kinds of records, as their folders in the spool are named."""

TABLES: Mapping[str, str] = {
    PREDICTIONS: "prediction_log",
    FEEDBACK: "prediction_feedback",
    REQUESTS: "request_log",
}

UNLOADED_AFTER = timedelta(days=1)
PUT_ASIDE_FOR = timedelta(days=30)
"""For so long a segment is kept that has a record which cannot be used; the others are loaded."""

Count = Annotated[int, Field(ge=0, lt=1 << 32)]
"""As a column holds it."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """One text of a request, and what was said of it. `features`: None where one is unknown."""

    at: datetime
    request_id: str
    position: Count
    release_id: Count | None
    model: str
    version: Count
    text_hash: str
    text: str | None
    label: str
    probability: float
    probabilities: Mapping[str, float]
    features: Mapping[str, float | None]
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Told:
    """What was true of a text of a request: its `label`, or whether the answer was `correct`."""

    at: datetime
    request_id: str
    position: Count = 0
    label: str = ""
    correct: bool | None = None
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """How a process of the service answered on a route in the minute from `at` on.

    `errors`: answers of a status from 500 on. `latencies_ms`: of all of the requests, or of some
    that lie evenly among them. `cpu_percent`: of the process in that minute, 100 is one processor.
    `release_id`: what was served last; 0: nothing. Of the GPU: None where the process uses none.
    """

    at: datetime
    route: str
    release_id: Count
    requests: Count
    errors: Count
    latencies_ms: Sequence[float]
    cpu_percent: float
    memory_mib: float
    host: str
    process: Count
    gpu_percent: float | None = None
    gpu_memory_mib: float | None = None


Recorded = Predicted | Told | Answered
_KINDS = {"prediction_log": Predicted, "prediction_feedback": Told, "request_log": Answered}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did: segments that it removed, rows that were new or there, and torn bytes.

    `damaged`: records that cannot be used; a segment that has one is put aside, not removed.
    """

    segments: int = 0
    added: int = 0
    unchanged: int = 0
    torn_bytes: int = 0
    damaged: int = 0

    def __add__(self, other: Loaded) -> Loaded:
        """Sum two loads."""
        return Loaded(
            self.segments + other.segments,
            self.added + other.added,
            self.unchanged + other.unchanged,
            self.torn_bytes + other.torn_bytes,
            self.damaged + other.damaged,
        )


def record_of(each: Recorded) -> dict[str, Any]:
    """It as the spool keeps it."""
    # As it is: `asdict` would copy the probability of each of hundreds of labels.
    record = {part.name: getattr(each, part.name) for part in fields(each)}
    return {**record, "at": each.at.isoformat()}


def load_day(client: Client, home: Path, day: date) -> Loaded:
    """Load the closed segments of a day, of all kinds, each once whatever happens.

    What was put aside, of any day, is removed after `PUT_ASIDE_FOR`.

    Raises:
        clickhouse_connect.driver.exceptions.Error: a segment that was not loaded stays.
    """
    total = Loaded()
    for name, table in TABLES.items():
        place = place_of(home, name)
        for segment in closed_segments(place):
            if segment.day == day:
                total += load_segment(client, segment, table)
        forget_old(place, (datetime.now(UTC) - PUT_ASIDE_FOR).timestamp())
    return total


def load_segment(client: Client, segment: Segment, table: str) -> Loaded:
    """Insert the rows of a segment that `table` lacks, and then remove it.

    One that another process holds is left alone.
    """
    with claimed(segment) as ours:
        if not ours:
            return Loaded()
        records, torn = read_records(segment.path)
        rows = [row for record in records if (row := _row(table, record))]
        missing = _missing(client, segment, table, rows)
        _insert(client, segment, table, missing)
        damaged = len(records) - len(rows)
        if damaged or _is_more_than_torn(segment.path, torn):
            put_aside(segment)
        else:
            segment.path.unlink()
    return Loaded(1, len(missing), len(rows) - len(missing), torn, damaged)


def waiting_days(home: Path) -> dict[date, list[str]]:
    """The names of the closed segments that are not loaded, by day, the first day first.

    Those that tell of requests alone wait until their day is over.
    """
    days: dict[date, list[str]] = {}
    today = datetime.now(UTC).date()
    for name in TABLES:
        for segment in closed_segments(place_of(home, name)):
            if name != REQUESTS or segment.day < today:
                days.setdefault(segment.day, []).append(segment.path.name)
    return dict(sorted(days.items()))


def late_segments(home: Path, now: datetime) -> list[str]:
    """Segments that were written last more than a day ago, and are not loaded."""
    latest = (now - UNLOADED_AFTER).timestamp()
    return [
        segment.path.name
        for name in TABLES
        for segment in closed_segments(place_of(home, name))
        if (written := written_last(segment)) and written < latest
    ]


def missing_records(client: Client, home: Path) -> list[str]:
    """Sequences that are neither in ClickHouse nor in the spool: they were dropped, or torn."""
    return [
        f"{name} {first}-{last} of {writer}, before or on {day}"
        for name, writer, first, last, day in _gaps(client, home, None)
    ]


def lost_records(client: Client, home: Path, since: date) -> list[tuple[date, int]]:
    """How many records are `missing_records`, by the day before or on which: since that day."""
    return [(day, last - first + 1) for _, _, first, last, day in _gaps(client, home, since)]


def _gaps(
    client: Client, home: Path, since: date | None
) -> Iterator[tuple[str, str, int, int, date]]:
    """Kind and writer of records that are missing, the first and the last, and the day."""
    for name, table in TABLES.items():
        waiting = list_segments(place_of(home, name))
        bound = {"table": table, "since": since}
        rows = client.query(statement("clickhouse/monitoring/sequence_gaps"), bound).result_rows
        for writer, first, last, day in rows:
            if not any(each.writer == writer and each.first <= last for each in waiting):
                yield name, writer, first, last, day


def read_predictions(
    client: Client, day: date | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The last predictions, of one day or of all, the newest first."""
    rows = _named(client, "predictions", day, limit=limit)
    return [{**row, "at": row["at"].replace(tzinfo=UTC)} for row in rows]


def read_request(client: Client, request_id: str) -> list[dict[str, Any]]:
    """What was predicted of the texts of a request, in order; none: it is not loaded."""
    text = statement("clickhouse/monitoring/request")
    rows = client.query(text, {"request_id": request_id}).named_results()
    return [{**row, "at": row["at"].replace(tzinfo=UTC)} for row in rows]


def count_predictions(client: Client, day: date | None = None) -> list[dict[str, Any]]:
    """How many predictions there were, by day and model version, and how long they took."""
    return _named(client, "prediction_counts", day)


def performance(client: Client, day: date | None = None) -> list[dict[str, Any]]:
    """Accuracy and log loss by day and model version, over what is known to be true.

    The log loss is the mean of -ln p of the true label, of the `labelled`; None without any.
    """
    return _named(client, "prediction_performance", day)


def _named(client: Client, name: str, day: date | None, **more: object) -> list[dict[str, Any]]:
    found = client.query(statement(f"clickhouse/monitoring/{name}"), {"day": day, **more})
    return list(found.named_results())


@cache
def _record_type(table: str) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[table])


def _row(table: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """A record as the table has it; None: it is none of that kind, and would block the others."""
    sequence = record.get("sequence")
    if not isinstance(sequence, int) or not 0 < sequence < 1 << 64:
        return None
    try:
        told = asdict(_record_type(table).validate_python(record))
        return {"sequence": sequence, **told, "at": told["at"].astimezone(UTC)}
    except (ValidationError, OverflowError):  # a time at the end of all times has no UTC
        return None


def _is_more_than_torn(path: Path, torn: int) -> bool:
    """Whether a line follows one that was altered: a kill leaves half of the last one."""
    return torn > 0 and b"\n" in path.read_bytes()[-torn:]


def _missing(
    client: Client, segment: Segment, table: str, records: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    if not records:
        return []
    bound = {
        "table": table,
        "day": segment.day,
        "writer": segment.writer,
        "first": min(record["sequence"] for record in records),
        "last": max(record["sequence"] for record in records),
    }
    known = client.query(statement("clickhouse/monitoring/known_sequences"), bound).result_rows
    there = {sequence for (sequence,) in known}
    return [record for record in records if record["sequence"] not in there]


def _insert(
    client: Client, segment: Segment, table: str, records: Sequence[Mapping[str, Any]]
) -> None:
    if not records:
        return
    place = {"day": segment.day, "writer": segment.writer}
    rows = [{**place, **record} for record in records]
    names = [*rows[0]]
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)
