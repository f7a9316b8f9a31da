"""The spool: whatever ends its writer, what was whole is read, and nothing is waited for."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from ml_assets.errors import StoreError
from ml_assets.monitoring.spool import segments, writer
from ml_assets.monitoring.spool.segments import (
    claimed,
    closed_segments,
    encode,
    forget_old,
    list_segments,
    obstacle,
    put_aside,
    read_records,
    size,
)
from ml_assets.monitoring.spool.writer import SpoolWriter

NAME = "a" * 32
MOST = 1 << 20
LINE = len(encode({"sequence": 1, "number": 0}))

WRITE = """
import sys
from pathlib import Path
from ml_assets.monitoring.spool.writer import SpoolWriter
spool = SpoolWriter(Path(sys.argv[1]), "b" * 32, 1 << 20, "always")
for number in range(3):
    spool.put([{"number": number}]).result()
print("kept", flush=True)
sys.stdin.readline()
"""


def numbers(place: Path) -> list[int]:
    """What is in the closed segments, in the order of their names."""
    found = [read_records(segment.path)[0] for segment in closed_segments(place)]
    return [record["number"] for records in found for record in records]


def soon(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    strategies.lists(strategies.dictionaries(strategies.text(max_size=9), strategies.text())),
    strategies.data(),
)
def test_a_torn_segment_is_read_up_to_its_last_whole_record(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[dict[str, str]],
    data: strategies.DataObject,
) -> None:
    lines = [encode(record) for record in records]
    content = b"".join(lines)
    cut = data.draw(strategies.integers(0, len(content)))
    path = tmp_path_factory.getbasetemp() / "torn"
    path.write_bytes(content[:cut])
    ends = [sum(map(len, lines[: n + 1])) for n in range(len(lines))]
    whole = sum(end <= cut for end in ends)
    assert read_records(path) == (records[:whole], cut - sum(map(len, lines[:whole])))


def test_an_altered_record_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "x"
    first, second, third = (encode({"n": number}) for number in (1, 2, 3))
    path.write_bytes(first + second.replace(b"2", b"7") + third)
    assert read_records(path) == ([{"n": 1}], len(second + third))


def test_records_come_back_in_their_order_with_a_sequence(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path / "new", NAME, MOST, "always")
    for number in range(0, 30, 3):
        spool.put([{"number": number + each} for each in range(3)])
    spool.close()
    assert numbers(tmp_path / "new") == [*range(30)]
    (segment,) = list_segments(tmp_path / "new")
    assert (segment.writer, segment.first) == (NAME, 1)
    assert segment.day == datetime.now(UTC).date()
    assert [each["sequence"] for each in read_records(segment.path)[0]] == [*range(1, 31)]


def test_an_open_segment_is_its_writers_until_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"kept\n"
        (segment,) = list_segments(tmp_path)
        assert closed_segments(tmp_path) == []
        with claimed(segment) as ours:
            assert not ours
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert numbers(tmp_path) == [0, 1, 2]


def test_a_segment_ends_with_its_size_its_age_and_its_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SpoolWriter(tmp_path / "size", NAME, MOST, "never", segment_bytes=1)
    for number in range(3):
        small.put([{"number": number}]).result(5)
    small.close()
    assert len(list_segments(tmp_path / "size")) == 3
    assert numbers(tmp_path / "size") == [0, 1, 2]

    old = SpoolWriter(tmp_path / "age", NAME, MOST, "interval", segment_seconds=0)
    old.put([{"number": 0}]).result(5)
    assert len(closed_segments(tmp_path / "age")) == 1
    old.close()

    now = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            nonlocal now
            now += timedelta(seconds=1)
            return now - timedelta(seconds=1)

    monkeypatch.setattr(writer, "datetime", Clock)
    daily = SpoolWriter(tmp_path / "day", NAME, MOST, "interval")
    daily.put([{"number": 0}])
    daily.put([{"number": 1}])
    daily.close()
    assert [f"{each.day}" for each in list_segments(tmp_path / "day")] == [
        "2026-03-01",
        "2026-03-02",
    ]
    assert numbers(tmp_path / "day") == [0, 1]


@pytest.mark.parametrize(("sync", "times"), [("always", 2), ("interval", 1), ("never", 0)])
def test_the_disk_is_waited_for_as_the_policy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: writer.Sync, times: int
) -> None:
    waited: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        waited.append(descriptor)
        real(descriptor)

    spool = SpoolWriter(tmp_path, NAME, MOST, sync)
    spool.put([{"number": 0}]).result(5)  # the folder is waited for, too
    monkeypatch.setattr(writer.os, "fsync", fsync)
    for number in range(2):
        spool.put([{"number": number}]).result(5)
    spool.close()
    assert len(waited) == times


def test_a_full_spool_drops_and_counts_and_goes_on_when_it_was_emptied(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    spool = SpoolWriter(
        tmp_path,
        NAME,
        100,
        "never",
        lambda reason, count: told.append((reason, count)),
        segment_bytes=1,
    )
    spool.put([{"number": 0}]).result(5)
    with pytest.raises(StoreError, match="has its 100 bytes"):
        spool.put([{"number": 1, "text": "x" * 100}, {"number": 2}]).result(5)
    assert told == [("space", 2)]
    assert spool.dropped == {"space": 2}
    for segment in closed_segments(tmp_path):
        segment.path.unlink()
    spool.put([{"number": 3}]).result(5)
    spool.close()
    assert size(tmp_path) <= 100
    (segment,) = closed_segments(tmp_path)
    assert read_records(segment.path)[0] == [{"sequence": 4, "number": 3}], "2 and 3 are missing"


def test_a_full_queue_drops_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    real = writer.write_all

    def slow(descriptor: int, lines: Any) -> int:
        assert go.wait(10)
        return real(descriptor, lines)

    monkeypatch.setattr(writer, "write_all", slow)
    spool = SpoolWriter(tmp_path, NAME, MOST, "never", waiting=2 * LINE)
    given = [spool.put([{"number": number}]) for number in range(9)]
    dropped = [number for number, each in enumerate(given) if each.done()]
    assert len(dropped) == 7, "what is being written counts, too"
    with pytest.raises(StoreError, match="too many"):
        given[dropped[0]].result(0)
    go.set()
    for each in given[:2]:
        each.result(5)
    soon(lambda: not spool._waiting)
    spool.put([{"number": 9}]).result(5)
    spool.close()
    assert numbers(tmp_path) == [0, 1, 9]
    assert spool.dropped == {"queue": 7}


def test_a_disk_that_fails_loses_what_it_was_given_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolWriter(tmp_path, NAME, MOST, "never")
    spool.put([{"number": 0}]).result(5)
    real = writer.write_all

    def torn(descriptor: int, lines: Any) -> int:
        os.write(descriptor, lines[0][:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_all", torn)
        with pytest.raises(StoreError, match="No space left"):
            spool.put([{"number": 1}]).result(5)
    assert writer.write_all is real
    spool.put([{"number": 2}]).result(5)
    spool.close()
    assert numbers(tmp_path) == [0, 2]
    assert spool.dropped == {"disk": 1}


def test_a_disk_that_fails_after_something_was_dropped_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, go, real = threading.Event(), threading.Event(), writer.write_all

    def failing(descriptor: int, lines: Any) -> int:
        if go.is_set():
            raise OSError(28, "No space left on device")
        here.set()
        assert go.wait(10)
        return real(descriptor, lines)

    spool = SpoolWriter(tmp_path, NAME, MOST, "never")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_all", failing)
        kept = spool.put([{"number": 0}])
        assert here.wait(10)
        large, lost = spool.put([{"text": "x" * MOST}]), spool.put([{"number": 2}])
        go.set()  # these two are taken together
        kept.result(5)
        with pytest.raises(StoreError, match="No space left"):
            lost.result(5)
        with pytest.raises(StoreError, match="has its"):
            large.result(5)
    spool.put([{"number": 3}]).result(5)
    spool.close()
    assert spool.dropped == {"space": 1, "disk": 1}


def test_a_folder_that_cannot_be_made_loses_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    spool = SpoolWriter(tmp_path / "file" / "spool", NAME, MOST, "never")
    with pytest.raises(StoreError):
        spool.put([{"number": 0}]).result(5)
    assert spool.dropped == {"disk": 1}
    spool.close()


def test_what_stands_in_the_way_is_seen_before_anything_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_TRY_SECONDS", 0.0)
    monkeypatch.setattr(writer, "_LOOK_SECONDS", 0.01)
    place = tmp_path / "spool"
    spool = SpoolWriter(place, NAME, MOST, "never")
    (tmp_path / "file").write_text("x")
    assert "Not a directory" in obstacle(tmp_path / "file" / "spool", MOST)
    assert not place.exists(), "to look makes nothing"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments, "TemporaryFile", full)
        soon(lambda: "No space left" in spool.obstacle)
    soon(lambda: not spool.obstacle)
    spool.put([{"number": 0}]).result(5)
    assert spool.obstacle == ""
    spool.close()
    assert spool.dropped == {}
    assert obstacle(place, LINE) == f"the spool has its {LINE} bytes"
    assert obstacle(place, LINE + 1) == ""
    assert [each.suffix for each in place.iterdir()] == [".jsonl"]


def test_what_nobody_loads_counts_and_goes_when_it_is_old(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, NAME, MOST, "never", segment_bytes=1)
    for number in range(3):
        spool.put([{"number": number}]).result(5)
    spool.close()
    first, second, third = closed_segments(tmp_path)
    put_aside(first)
    second.path.rename(second.path.with_suffix(".new"))
    assert size(tmp_path) == 3 * LINE
    forget_old(tmp_path, time.time() - 60)
    assert size(tmp_path) == 3 * LINE
    forget_old(tmp_path, time.time() + 60)
    assert [*tmp_path.iterdir()] == [third.path], "it waits to be loaded, however long"


def test_a_segment_that_another_loaded_meanwhile_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolWriter(tmp_path, NAME, MOST, "never")
    spool.put([{"number": 0}]).result(5)
    spool.close()
    (segment,) = closed_segments(tmp_path)
    real = segments.try_lock

    def late(file: Path, **given: Any) -> int | None:
        descriptor = real(file, **given)
        file.unlink()
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(segments, "try_lock", late)
        with claimed(segment) as ours:
            assert not ours
    with claimed(segment) as ours:
        assert not ours
    monkeypatch.setattr(segments.os, "access", lambda *_: True)  # it goes after that
    with claimed(segment) as ours:
        assert not ours
    assert [*tmp_path.iterdir()] == [], "to look makes none"


def test_who_asks_may_go(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, NAME, MOST, "never")
    assert not spool.put([{"number": 0}]).cancel()
    spool.put([{"number": 1}]).result(5)
    spool.close()
    assert numbers(tmp_path) == [0, 1]


def test_other_files_are_no_segments(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("x")
    (tmp_path / f"2026-03-01.{NAME}.000000000001.new").write_text("x")
    assert list_segments(tmp_path) == segments.closed_segments(tmp_path / "absent") == []
