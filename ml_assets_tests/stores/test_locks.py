"""Locks over all processes."""

import threading
from pathlib import Path

from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive


def test_who_waits_says_so_once_and_gets_its_turn(postgres_url: str, tmp_path: Path) -> None:
    said: list[str] = []
    waits, got = threading.Event(), threading.Event()

    def second() -> None:
        def waiting() -> None:
            said.append("waiting")
            waits.set()

        with (
            postgres.connect(postgres_url, tmp_path) as other,
            exclusive(other, "a", waiting),
        ):
            got.set()

    thread = threading.Thread(target=second)
    with postgres.connect(postgres_url, tmp_path) as first:
        with exclusive(first, "a", lambda: said.append("first")):
            thread.start()
            assert waits.wait(30)
            assert not got.is_set()
        thread.join(30)
    assert got.is_set()
    assert said == ["waiting"]
