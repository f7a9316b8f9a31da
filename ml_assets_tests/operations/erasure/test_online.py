"""Online values and caches after a document was forgotten."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from ml_assets.operations.erasure.stores.online import erase
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import cache, online, postgres
from ml_assets.stores.cache import key_of
from ml_assets.stores.online import Row
from ml_assets_tests.servers import redis_over_tcp
from ml_assets_tests.servers.keyed import memcached_over_tcp

DOCUMENT, VALUE = "qzdocument-of-77", "qzvalue of the document"
SUBJECT = Subject("r", (DOCUMENT,), marks=Marks((DOCUMENT, VALUE)))
VIEW, OTHERS = "document_text_v2", "collection_activity_v1"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with redis_over_tcp(tmp_path) as url:
        yield url


@pytest.fixture
def memcached_url(tmp_path: Path) -> Iterator[str]:
    with memcached_over_tcp(tmp_path) as url:
        yield url


def place(settings: Settings) -> Place:
    return Place(settings, cast("postgres.Connection", None))


def rows(*names: str) -> dict[str, Row]:
    return {name: Row({"words": VALUE if name == DOCUMENT else name}, "1") for name in names}


def fill(settings: Settings, url: str | None = None) -> None:
    names = (DOCUMENT, *(f"d{number}" for number in range(300)))
    with online.connect(url, settings.home) as store:
        store.replace(VIEW, [rows(*names)], len(names))
        store.replace(VIEW, [rows(*names)], len(names))
        store.replace("gone_v1", [rows(*names)], len(names))
        store.replace(OTHERS, [{DOCUMENT: Row({"documents": 7}, "1")}], 1)
    with cache.connect(url, settings.home) as opened:
        opened.put_many({key_of("predictions", f"{n}"): VALUE.encode() for n in range(50)}, 60)


def left(settings: Settings, url: str | None = None) -> dict[str, dict[str, str]]:
    with online.connect(url, settings.home) as store:
        return {view: store.revisions(view) for view in store.views()}


def test_no_byte_is_left_and_all_else_is_read_on(settings: Settings) -> None:
    fill(settings)
    with closing(sqlite3.connect(settings.home / online.FILE)) as connection:
        connection.execute("insert into online_builds (view) values ('killed')")
        connection.execute(
            "insert into online_features select max(build), ?, '1', ? from online_builds",
            [DOCUMENT, VALUE.encode()],
        )
        connection.commit()
    assert {trace.mark for trace in find_traces(settings.home, SUBJECT.marks)} == {
        "words[0]",
        "words[1]",
    }
    values, caches = erase(place(settings), SUBJECT)
    assert (values.count, values.how) == (2, "the file was written anew")
    assert caches.how == "all were deleted: the file was written anew"
    traces = find_traces(settings.home, Marks((VALUE,)))
    assert traces == []
    expected = {f"d{number}": "1" for number in range(300)}
    # An entity of another kind may have the same name.
    assert left(settings) == {VIEW: expected, "gone_v1": expected, OTHERS: {DOCUMENT: "1"}}
    assert erase(place(settings), SUBJECT)[0].count == 0


def test_a_reader_is_waited_for_and_reads_on(settings: Settings) -> None:
    fill(settings)
    with closing(
        sqlite3.connect(settings.home / online.FILE, isolation_level=None, check_same_thread=False)
    ) as reader:
        reader.execute("begin")
        before = reader.execute("select count(*) from online_features").fetchall()
        timer = threading.Timer(0.5, reader.rollback)
        timer.start()
        erase(place(settings), SUBJECT)
        timer.join()
        assert reader.execute("select count(*) from online_features").fetchall() != before
        log = settings.home / f"{online.FILE}-wal"
        assert log.stat().st_size == 0
    assert find_traces(settings.home, Marks((VALUE,))) == []


def test_what_is_not_there_is_not_made(settings: Settings) -> None:
    values, caches = erase(place(settings), SUBJECT)
    assert (values.count, caches.how) == (0, "there are none")
    assert not settings.home.exists() or not [*settings.home.iterdir()]


def test_of_redis_it_is_deleted(settings: Settings, redis_url: str) -> None:
    own = load_settings(home=settings.home, redis_url=redis_url)
    fill(own, redis_url)
    values, caches = erase(place(own), SUBJECT)
    assert values.count == 2
    assert "not shown" in values.how
    assert DOCUMENT not in left(own, redis_url)[VIEW]
    assert len(left(own, redis_url)[VIEW]) == 300
    with cache.connect(redis_url, own.home) as opened:
        keys = [key_of("predictions", f"{n}") for n in range(50)]
        assert opened.get_many(keys) == {}
    assert caches.how.startswith("all were deleted")


def test_memcached_says_what_it_cannot(settings: Settings, memcached_url: str) -> None:
    own = load_settings(home=settings.home, memcached_url=memcached_url)
    _, caches = erase(place(own), SUBJECT)
    assert caches.how.startswith("not shown: Memcached")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_assets.stores.folders.SQLITE_PATIENCE", 10.0)
