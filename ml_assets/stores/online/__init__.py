"""The online store: latest feature values by entity; one module per store, and a line of `_OPEN`.

Not here: what a feature is (`features`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ml_assets.errors import StoreError
from ml_assets.stores.online import dynamodb, redis, sqlite
from ml_assets.stores.online.contract import OnlineStore, Reading, Row, Value, Values, pack
from ml_assets.stores.online.kept import Kept
from ml_assets.stores.online.sqlite import VISITS

__all__ = [
    "FILE",
    "VISITS",
    "Kept",
    "OnlineStore",
    "Reading",
    "Row",
    "Value",
    "Values",
    "connect",
    "copy_values",
    "keep",
    "mark",
    "pack",
]

FILE = "online.sqlite"
"""The embedded store, in the home."""

_BATCH = 1000

_OPEN: dict[str, Callable[[str], AbstractContextManager[OnlineStore]]] = {
    **dict.fromkeys(sqlite.SCHEMES, sqlite.open_store),
    **dict.fromkeys(redis.SCHEMES, redis.open_store),
    **dict.fromkeys(dynamodb.SCHEMES, dynamodb.open_store),
}


def connect(url: str | None, home: Path) -> AbstractContextManager[OnlineStore]:
    """Open the store of `url`, or the SQLite file under `home`; closed at the end."""
    url = url or f"sqlite://{_file(home)}"
    # The variable is REDIS_URL: Redis says what is wrong with the URL of something else.
    return _OPEN.get(url.partition("://")[0], redis.open_store)(url)


def keep(url: str | None, home: Path) -> Kept:
    """The same store, to be opened by the first question and kept open; its owner closes it."""
    return Kept(lambda: connect(url, home), None if url else _file(home))


def _file(home: Path) -> Path:
    return home / FILE


def settle(home: Path) -> None:
    """Have the file under `home` hold all that was written: a reader's end changes it no more."""
    sqlite.settle(_file(home))


def purge(home: Path) -> None:
    """Write the file under `home` anew, so that it has no byte of what was deleted.

    What a killed build left goes, too.

    Raises:
        StoreError: somebody reads or writes it for too long.
    """
    if _file(home).exists():
        sqlite.purge(_file(home))


def mark(url: str) -> str:
    """What tells the content of a server from that of another time; cheap, and so not of all of it.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    is_dynamodb = url.partition("://")[0] in dynamodb.SCHEMES
    return dynamodb.mark(url) if is_dynamodb else redis.mark(url)


def copy_values(source: OnlineStore, target: OnlineStore, where: str) -> None:
    """Copy all views of one store into another, which is `where` an error says.

    What a copy that was cut short has written is written again.

    Raises:
        StoreError: the other holds values that are not of this one.
    """
    for view in target.views():
        if not target.revisions(view).items() <= source.revisions(view).items():
            raise StoreError(
                f"it is not empty: it has feature values of {view}",
                where=where,
                do="Name an empty database of it, such as redis://host:6379/1",
            )
    for view in source.views():
        ids = list(source.revisions(view))
        batches = (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
        target.replace(view, (source.get_rows(view, batch) for batch in batches), len(ids))
