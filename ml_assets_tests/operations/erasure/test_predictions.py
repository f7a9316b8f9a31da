"""The prediction log after a text was forgotten: its place is left, and nothing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ml_assets.errors import StoreError
from ml_assets.monitoring.daily import performance_by_day, roll_up_days
from ml_assets.monitoring.hourly import roll_up
from ml_assets.monitoring.predictions import (
    FEEDBACK,
    PREDICTIONS,
    Predicted,
    Told,
    count_predictions,
    load_day,
    missing_records,
    performance,
    read_predictions,
    record_of,
)
from ml_assets.monitoring.spool.segments import list_segments, place_of
from ml_assets.monitoring.spool.writer import SpoolWriter
from ml_assets.operations.erasure.stores import predictions, spool
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.settings import Settings
from ml_assets.stores import clickhouse, postgres
from ml_assets.stores.file_locks import locked
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = NOW.date()
TEXT, LABEL = "Qztext of the document that goes, number 77.", "qzlabel-77"
HASH = sha256(TEXT.encode()).hexdigest()
SUBJECT = Subject("r", ("d",), texts=(TEXT,), labels=(LABEL,), marks=Marks((TEXT, LABEL)))
LOOKED_FOR = Marks((TEXT, LABEL, HASH, "request-that-goes"))


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight may come between the import of this module and a test."""
    clock = SimpleNamespace(now=lambda _: NOW)
    monkeypatch.setattr("ml_assets.monitoring.spool.writer.datetime", clock)


def predicted(request_id: str, position: int = 0, **changed: Any) -> Predicted:
    made = Predicted(
        at=NOW,
        request_id=request_id,
        position=position,
        release_id=1,
        model="classifier",
        version=3,
        text_hash="0" * 64,
        text=None,
        label="a",
        probability=0.5,
        probabilities={"a": 0.5, "b": 0.5},
        features={"words": 3.0},
        latency_ms=4.0,
    )
    return replace(made, **changed)


RECORDS = (
    predicted("request-that-goes", 1, text_hash=HASH, probability=0.9, latency_ms=400.0),
    predicted("request-that-goes"),
    predicted("with-text", text=f"It quotes: {TEXT}", probability=0.9),
    predicted("labelled", label=LABEL, probability=0.9),
    predicted("with-label", probabilities={"a": 0.5, LABEL: 0.5}),
    *(predicted(f"other-{number}") for number in range(5)),
)
TOLD = (
    Told(NOW, "request-that-goes", 1, label="a"),
    Told(NOW, "request-that-goes", 0, label="b"),
    Told(NOW, "other-1", label=LABEL),
    Told(NOW, "other-2", label="a"),
)


def write(home: Path, *records: Predicted | Told) -> None:
    kind = PREDICTIONS if isinstance(records[0], Predicted) else FEEDBACK
    writer = SpoolWriter(place_of(home, kind), "a" * 32, 1 << 20, "never")
    for record in records:
        writer.put([record_of(record)]).result(5)
    writer.close()


def place(settings: Settings) -> Place:
    return Place(settings, cast("postgres.Connection", None))


def load(client: Client, home: Path) -> None:
    load_day(client, home, DAY)
    roll_up(client, DAY, DAY)
    roll_up_days(client, DAY, DAY)


def state(client: Client) -> list[Any]:
    """What anybody is told of the predictions, and the tables but for the places that are left."""
    bound = {"first": DAY, "last": DAY}
    rows = client.query(
        "select * except (computed_at, latency_ms) from model_performance_hourly final"
    )
    return [
        sorted(str(sorted(row.items())) for row in read_predictions(client)),
        count_predictions(client),
        performance(client),
        performance_by_day(client, bound["first"], bound["last"]),
        rows.result_rows,
    ]


@pytest.fixture
def filled(settings: Settings) -> Iterator[Settings]:
    write(settings.home, *RECORDS)
    write(settings.home, *TOLD)
    return settings


def test_nothing_of_it_is_left_in_the_spool_but_its_place(filled: Settings) -> None:
    assert {trace.mark for trace in find_traces(filled.home, LOOKED_FOR)} == {
        f"words[{number}]" for number in range(4)
    }
    (removed,) = predictions.erase(place(filled), SUBJECT)
    assert (removed.store, removed.count) == ("spool", 2)
    left = {trace.mark for trace in find_traces(filled.home, LOOKED_FOR)}
    assert left == {"words[3]"}  # its other text is another's
    (removed,) = predictions.erase(place(filled), SUBJECT)
    assert removed.count == 0


@pytest.mark.slow
@pytest.mark.parametrize("loaded", [True, False])
def test_the_log_is_as_if_it_had_never_been_asked(
    filled: Settings, tmp_path: Path, loaded: bool
) -> None:
    if loaded:
        with clickhouse.connect(None, filled.home) as client:
            load(client, filled.home)
        assert {trace.mark for trace in find_traces(filled.home, LOOKED_FOR)} >= {
            f"words[{number}]" for number in range(4)
        }
    counts = {each.what: each.count for each in predictions.erase(place(filled), SUBJECT)}
    if loaded:
        assert counts == {
            "segments": 0,
            "predictions": 4,
            "what was told of predictions": 2,
            "days of predictions": 1,
        }
    with clickhouse.connect(None, filled.home) as client:
        load(client, filled.home)
        assert missing_records(client, filled.home) == []
        erased = state(client)
    left = {trace.mark for trace in find_traces(filled.home, LOOKED_FOR)}
    assert left == {"words[3]"}
    again = {each.what: each.count for each in predictions.erase(place(filled), SUBJECT)}
    assert again.pop("days of predictions") == 1
    assert {*again.values()} == {0}
    other = tmp_path / "other"
    write(
        other,
        *(
            replace(each, probabilities={k: v for k, v in each.probabilities.items() if k != LABEL})
            for each in RECORDS
            if each.text_hash != HASH and each.label != LABEL and each.text is None
        ),
    )
    write(other, TOLD[1], TOLD[3])
    with clickhouse.connect(None, other) as client:
        load(client, other)
        assert state(client) == erased


@pytest.mark.slow
@pytest.mark.parametrize("before", ["exchange", "drop"])
def test_a_kill_leaves_what_the_next_call_removes(filled: Settings, before: str) -> None:
    with clickhouse.connect(None, filled.home) as client:
        load(client, filled.home)
        original = client.command

        def command(text: str, *args: Any, **more: Any) -> Any:
            if text.startswith(before) and "prediction_log" in text and "if exists" not in text:
                raise KeyboardInterrupt
            return original(text, *args, **more)

        insert = statement("clickhouse/operations/keep_log").replace("{erased}", "true")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(client, "command", command)
            with pytest.raises(KeyboardInterrupt):
                clickhouse.rewrite(client, "prediction_log", insert, {"labels": []})
    predictions.erase(place(filled), SUBJECT)
    assert {trace.mark for trace in find_traces(filled.home, LOOKED_FOR)} <= {"words[3]"}
    with clickhouse.connect(None, filled.home) as client:
        tables = client.query("show tables").result_columns[0]
        assert not [name for name in tables if "prediction" in name and name.endswith("_anew")]


@pytest.mark.slow
def test_of_a_document_that_was_never_asked_about_nothing_is_written(filled: Settings) -> None:
    with clickhouse.connect(None, filled.home) as client:
        load(client, filled.home)
    files = {file: file.stat().st_ino for file in (filled.home / "chdb/store").rglob("*.bin")}
    removed = predictions.erase(place(filled), Subject("r", ("d",), texts=("Another text.",)))
    assert {each.count for each in removed} == {0}
    assert (
        files.items()
        <= {
            file: file.stat().st_ino for file in (filled.home / "chdb/store").rglob("*.bin")
        }.items()
    )


def test_what_a_killed_writer_had_not_named_goes_unless_it_is_written(settings: Settings) -> None:
    folder = place_of(settings.home, PREDICTIONS)
    folder.mkdir(parents=True)
    left, written = folder / "a.new", folder / "b.new"
    left.write_text(TEXT)
    written.write_text(TEXT)
    with locked(written, 1):
        (removed,) = predictions.erase(place(settings), SUBJECT)
    assert (removed.count, left.exists(), written.exists()) == (1, False, True)


def test_a_segment_that_is_written_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place_of(settings.home, PREDICTIONS)
    writer = SpoolWriter(folder, "b" * 32, 1 << 20, "never", segment_seconds=1.0)
    writer.put([record_of(RECORDS[0])]).result(5)
    (segment,) = list_segments(folder)
    began = time.monotonic()
    predictions.erase(place(settings), SUBJECT)
    assert time.monotonic() - began > 0.2
    assert segment.path.exists()
    assert HASH.encode() not in segment.path.read_bytes()
    writer.close()
    monkeypatch.setattr(spool, "CLOSED_AFTER", 0.1)
    stuck = SpoolWriter(folder, "c" * 32, 1 << 20, "never")
    stuck.put([record_of(RECORDS[0])]).result(5)
    with pytest.raises(StoreError, match="still written"):
        predictions.erase(place(settings), SUBJECT)
    stuck.close()
