"""The prediction log: every record once, and joined with what was true."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ml_assets.errors import SourceError
from ml_assets.monitoring import predictions, truth
from ml_assets.monitoring.predictions import (
    FEEDBACK,
    PREDICTIONS,
    REQUESTS,
    Answered,
    Loaded,
    Predicted,
    Recorded,
    Told,
    count_predictions,
    late_segments,
    load_day,
    missing_records,
    performance,
    read_predictions,
    record_of,
    waiting_days,
)
from ml_assets.monitoring.spool.segments import closed_segments, encode, place_of
from ml_assets.monitoring.spool.writer import SpoolWriter
from ml_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOW = datetime.now(UTC)
TODAY = NOW.date()
MOST = 1 << 20


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight may come between the import of this module and a test."""
    clock = SimpleNamespace(now=lambda _: NOW)
    monkeypatch.setattr("ml_assets.monitoring.spool.writer.datetime", clock)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with clickhouse.connect(None, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def empty(client: Client) -> Client:
    for table in predictions.TABLES.values():
        client.command(f"truncate table {table}")
    return client


def predicted(request_id: str, position: int = 0, **changed: Any) -> Predicted:
    given: dict[str, Any] = {
        "at": NOW,
        "request_id": request_id,
        "position": position,
        "release_id": 1,
        "model": "classifier",
        "version": 3,
        "text_hash": "0" * 64,
        "text": None,
        "label": "a",
        "probability": 0.75,
        "probabilities": {"a": 0.75, "b": 0.25},
        "features": {"words": 3.0, "unknown": None},
        "latency_ms": 4.5,
    }
    return Predicted(**{**given, **changed})


KINDS = {Predicted: PREDICTIONS, Told: FEEDBACK, Answered: REQUESTS}


def write(home: Path, *records: Recorded, writer: str = "a" * 32, **more: Any) -> None:
    kind = KINDS[type(records[0])]
    spool = SpoolWriter(place_of(home, kind), writer, MOST, "never", **more)
    for record in records:
        spool.put([record_of(record)]).result(5)
    spool.close()


def test_of_a_record_the_probabilities_are_not_copied() -> None:
    """There may be hundreds, and an answer waits for it."""
    each = predicted("r0")
    record = record_of(each)
    assert record["probabilities"] is each.probabilities
    assert record == {**asdict(each), "at": each.at.isoformat()}


def test_a_prediction_comes_back_as_it_was(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, predicted("r0", text="Bread."), predicted("r1", 7, release_id=None))
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, added=2)
    rows = {row["request_id"]: row for row in read_predictions(empty)}
    first = rows["r0"]
    assert first["at"] == NOW
    assert (first["text"], first["label"], first["version"]) == ("Bread.", "a", 3)
    assert first["probabilities"] == {"a": 0.75, "b": 0.25}
    assert first["features"] == {"words": 3.0, "unknown": None}
    assert (rows["r1"]["release_id"], rows["r1"]["position"], rows["r1"]["text"]) == (None, 7, None)
    assert len(read_predictions(empty, TODAY, 1)) == 1
    assert read_predictions(empty, TODAY - timedelta(days=1)) == []
    ((count),) = count_predictions(empty, TODAY)
    assert (count["predictions"], count["requests"], count["p99_ms"]) == (2, 2, 4.5)


def test_minutes_of_the_service_are_loaded_when_their_day_is_over(
    empty: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = Answered(NOW, "/v1/search", 2, 3, 1, [1.5, 2.5, 4.0], 50.0, 300.5, "h", 7, 80.0, 900.5)
    write(tmp_path, minute)
    assert waiting_days(tmp_path) == {}
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, added=1)
    (row,) = empty.query("select * except (day, writer, sequence) from request_log").named_results()
    assert Answered(**{**row, "at": row["at"].replace(tzinfo=UTC)}) == minute
    write(tmp_path, minute, writer="b" * 32)
    monkeypatch.setattr(
        predictions, "datetime", SimpleNamespace(now=lambda _: NOW + timedelta(days=1))
    )
    assert waiting_days(tmp_path).keys() == {TODAY}


def test_a_day_is_loaded_once_however_often(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, predicted("r0"), predicted("r1"), segment_bytes=1)
    write(tmp_path, Told(NOW, "r0", label="b"))
    assert waiting_days(tmp_path).keys() == {TODAY}
    assert load_day(empty, tmp_path, TODAY - timedelta(days=1)) == Loaded()
    assert load_day(empty, tmp_path, TODAY) == Loaded(3, added=3)
    assert load_day(empty, tmp_path, TODAY) == Loaded()
    assert waiting_days(tmp_path) == {}
    assert len(read_predictions(empty)) == 2


def test_a_kill_between_loading_and_removing_doubles_nothing(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, predicted("r0"), predicted("r1"), predicted("r0"))
    spool, kept = place_of(tmp_path, PREDICTIONS), tmp_path / "kept"
    shutil.copytree(spool, kept)
    assert load_day(empty, tmp_path, TODAY).added == 3
    shutil.rmtree(spool)
    kept.rename(spool)
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, unchanged=3)
    ((rows,),) = empty.query("select count() from prediction_log").result_rows
    assert rows == 3, "the same request twice is two predictions"


def test_half_of_a_segment_is_completed(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, *(predicted(f"r{number}") for number in range(4)))
    (segment,) = closed_segments(place_of(tmp_path, PREDICTIONS))
    whole = segment.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    segment.path.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, added=2, torn_bytes=9)
    segment.path.write_bytes(whole)
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, added=2, unchanged=2)
    assert {row["request_id"] for row in read_predictions(empty)} == {"r0", "r1", "r2", "r3"}


@pytest.mark.parametrize(
    "bad",
    [
        [1],
        {},
        {"sequence": "9"},
        {**record_of(predicted("bad")), "sequence": -1},
        {**record_of(predicted("bad")), "sequence": 9, "at": "today"},
        {**record_of(predicted("bad")), "sequence": 9, "at": "9999-12-31T23:59:59-14:00"},
        {**record_of(predicted("bad")), "sequence": 9, "position": 1 << 40},
        {**record_of(predicted("bad")), "sequence": 9, "probabilities": {"a": "often"}},
    ],
)
def test_a_record_that_cannot_be_used_blocks_no_other(
    empty: Client, tmp_path: Path, bad: Any
) -> None:
    write(tmp_path, predicted("r0"), predicted("r1"))
    (segment,) = closed_segments(place_of(tmp_path, PREDICTIONS))
    first, second = segment.path.read_bytes().splitlines(keepends=True)
    content = first + encode(bad) + second
    segment.path.write_bytes(content)
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, added=2, damaged=1)
    assert {row["request_id"] for row in read_predictions(empty)} == {"r0", "r1"}
    assert load_day(empty, tmp_path, TODAY) == Loaded()
    (kept,) = segment.path.parent.iterdir()
    assert (kept.name, kept.read_bytes()) == (f"{segment.path.name}.damaged", content)
    old = time.time() - predictions.PUT_ASIDE_FOR.total_seconds()
    for age, left in ((60, [kept]), (-60, [])):
        os.utime(kept, (old + age, old + age))
        load_day(empty, tmp_path, TODAY)
        assert [*kept.parent.iterdir()] == left


def test_what_follows_an_altered_record_is_put_aside(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, predicted("r0"), predicted("r1"), predicted("r2"))
    (segment,) = closed_segments(place_of(tmp_path, PREDICTIONS))
    content = segment.path.read_bytes().replace(b'"r1"', b'"rX"')
    segment.path.write_bytes(content)
    assert load_day(empty, tmp_path, TODAY).added == 1
    (kept,) = segment.path.parent.iterdir()
    assert kept.read_bytes() == content


def test_what_is_written_is_left_to_its_writer(empty: Client, tmp_path: Path) -> None:
    spool = SpoolWriter(place_of(tmp_path, PREDICTIONS), "a" * 32, MOST, "never")
    spool.put([record_of(predicted("r0"))]).result(5)
    assert load_day(empty, tmp_path, TODAY) == Loaded()
    spool.put([record_of(predicted("r1"))]).result(5)
    spool.close()
    assert load_day(empty, tmp_path, TODAY) == Loaded(1, added=2)


def test_what_is_missing_is_named(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, *(predicted(f"r{number}") for number in range(4)), segment_bytes=1)
    write(tmp_path, predicted("other"), writer="b" * 32)
    _, second, *_ = closed_segments(place_of(tmp_path, PREDICTIONS))
    aside = tmp_path / "aside"
    second.path.rename(aside)
    load_day(empty, tmp_path, TODAY)
    (gap,) = missing_records(empty, tmp_path)
    assert gap == f"predictions 2-2 of {'a' * 32}, before or on {TODAY}"
    aside.rename(second.path)
    assert missing_records(empty, tmp_path) == [], "it waits"
    load_day(empty, tmp_path, TODAY)
    assert missing_records(empty, tmp_path) == []
    empty.command("delete from prediction_log where sequence = 1")
    (gap,) = missing_records(empty, tmp_path)
    assert gap.startswith("predictions 1-1"), "the first of all, too"


def test_a_segment_that_nobody_loads_is_late_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, predicted("r0"))
    (segment,) = closed_segments(place_of(tmp_path, PREDICTIONS))
    assert late_segments(tmp_path, NOW) == []
    then = time.time() - 25 * 3600
    os.utime(segment.path, (then, then))
    assert late_segments(tmp_path, datetime.now(UTC)) == [segment.path.name]
    monkeypatch.setattr(predictions, "closed_segments", lambda _: [segment])
    segment.path.unlink()
    assert late_segments(tmp_path, datetime.now(UTC)) == [], "it was loaded just now"


def test_outcomes_are_what_was_told_last(empty: Client, tmp_path: Path) -> None:
    write(tmp_path, *(predicted(f"r{number}") for number in range(6)), predicted("r1", 1))
    later = NOW + timedelta(seconds=1)
    write(
        tmp_path,
        Told(NOW, "r0", label="a"),  # right
        Told(NOW, "r1", label="a"),
        Told(later, "r1", label="b"),  # wrong, as was said later
        Told(NOW, "r2", correct=True),  # right, so it is a
        Told(NOW, "r3", correct=False),  # wrong, nobody knows what it is
        Told(NOW, "r4", label="unheard of"),  # wrong, and infinitely surprising
        Told(NOW, "absent", label="a"),
    )
    load_day(empty, tmp_path, TODAY)
    (row,) = performance(empty, TODAY)
    assert (row["known"], row["labelled"]) == (5, 4)
    assert row["accuracy"] == pytest.approx(2 / 5)
    losses = [-math.log(0.75), -math.log(0.25), -math.log(0.75), -math.log(1e-15)]
    assert row["log_loss"] == pytest.approx(sum(losses) / 4)
    assert performance(empty, TODAY - timedelta(days=1)) == []


def test_of_a_request_id_that_was_used_again_the_last_prediction_counts(
    empty: Client, tmp_path: Path
) -> None:
    later = NOW + timedelta(seconds=1)
    write(tmp_path, predicted("r0"), predicted("r0", at=later, label="b", version=4))
    write(tmp_path, Told(later, "r0", label="b"))
    load_day(empty, tmp_path, TODAY)
    (row,) = performance(empty)
    assert (row["version"], row["accuracy"]) == (4, 1)


TABLES = {
    "x.csv": "request_id,position,label,correct\n007,0,b,\nr1,1,,false\n",
    "x.jsonl": '{"request_id": "007", "label": "b"}\n'
    '{"request_id": "r1", "position": 1, "correct": false, "more": 1}\n',
}


@pytest.mark.parametrize("name", [*TABLES, "x.parquet"])
def test_a_file_tells_what_was_true_once(empty: Client, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name in TABLES:
        file.write_text(TABLES[name])
    else:
        import duckdb

        rows = "values ('007', 0, 'b', null), ('r1', 1, null, false)"
        names = "t(request_id, position, label, correct)"
        duckdb.sql(f"select * from ({rows}) {names}").write_parquet(str(file))
    write(tmp_path, predicted("007"), predicted("r1", 1))
    for _ in range(2):
        assert truth.import_truth(tmp_path, file, MOST, "tester") == 2
        load_day(empty, tmp_path, TODAY)
        (row,) = performance(empty)
        assert (row["known"], row["accuracy"], row["labelled"]) == (2, 0, 1)
    found = "select distinct request_id, label, correct, caller from prediction_feedback"
    assert sorted(map(tuple, empty.query(found).result_rows)) == [
        ("007", "b", None, "tester"),
        ("r1", "", False, "tester"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", "", "'.txt' is no format"),
        ("x.csv", "request_id,label\nr0,a\nr 1,b\n", "row 2: 'r 1' is not the id"),
        ("x.csv", "label\na\n", "row 1: '' is not the id"),
        ("x.csv", "request_id,label,correct\nr0,a,true\n", "not one of label and correct"),
        ("x.csv", "request_id,label\nr0,\n", "not one of label and correct"),
        ("x.csv", "request_id,correct\nr0,maybe\n", "not one of label and correct"),
        ("x.csv", f"request_id,label\nr0,{'x' * 501}\n", "not one of label and correct"),
        ("x.csv", "request_id,position,label\nr0,-1,a\n", "'-1' is not a position"),
        ("x.jsonl", '{"request_id": "r0", "label"\n', "Write a row for each prediction"),
        ("x.parquet", "PAR1", "Write a row for each prediction"),
    ],
)
def test_a_file_that_cannot_be_used_tells_nothing(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=said):
        truth.import_truth(tmp_path, tmp_path / name, MOST, "tester")
    assert waiting_days(tmp_path) == {}
