"""A store that is kept open between reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores import online
from ml_assets.stores.online import Kept, OnlineStore
from ml_assets_tests.stores.online.opening import NOW, ROWS, A


def test_it_is_opened_once_and_anew_after_an_error(tmp_path: Path) -> None:
    opened: list[str] = []

    @contextmanager
    def connect() -> Iterator[OnlineStore]:
        opened.append("opened")
        try:
            with online.connect(None, tmp_path) as store:
                yield store
        except ZeroDivisionError:
            raise OutageError("it is gone", where="here", do="wait") from None
        finally:
            opened.append("closed")

    kept = Kept(connect, tmp_path / "online.sqlite")
    assert opened == []
    for _ in range(3):
        with kept.reading() as store:
            store.put_many("view_v1", {"a": A})
    assert opened == ["opened"]
    with pytest.raises(OutageError, match="it is gone"), kept.reading():
        raise ZeroDivisionError
    assert opened == ["opened", "closed"]
    with kept.reading() as store:
        assert store.get_rows("view_v1", ["a"]) == {"a": A}
    kept.close()
    kept.close()
    assert opened == ["opened", "closed"] * 2


def test_a_file_that_another_took_the_place_of_is_opened_anew(tmp_path: Path) -> None:
    """As after a backup is restored, or a damaged one is filled again."""
    kept = online.keep(None, tmp_path / "home")
    with kept.reading() as store:
        store.put_many("view_v1", ROWS)
    with online.connect(None, tmp_path / "other") as other:
        other.put_many("view_v1", {"c": A})
    (tmp_path / "home").rename(tmp_path / "before")
    (tmp_path / "other").rename(tmp_path / "home")
    with kept.reading() as store:
        assert store.get_many("view_v1", ["a", "c"], NOW).missing == ["a"]
    kept.close()


def test_an_error_of_a_server_is_told_and_forgotten(redis_url: str, tmp_path: Path) -> None:
    kept = online.keep(redis_url, tmp_path)
    with Redis.from_url(redis_url) as client:
        client.flushdb()
        with kept.reading() as store:
            store.put_many("view_v1", ROWS)
        head = "ml_assets:{view_v1}:builds"
        held = client.dump(head)
        client.set(head, "no hash")
        with pytest.raises(StoreError, match="REDIS_URL"), kept.reading() as store:
            store.revisions("view_v1")
        client.restore(head, 0, held, replace=True)
        with kept.reading() as store:
            assert store.get_many("view_v1", ["a"], NOW).values == {"a": A.values}
    kept.close()
