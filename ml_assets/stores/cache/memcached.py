"""A cache in Memcached, which forgets by itself what has ended or was asked for least."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_assets.errors import OutageError, SettingError, StoreError, first_line
from ml_assets.stores.cache.contract import Cache, Clock, checked, opened, sealed
from ml_assets.stores.patience import until_it_answers

if TYPE_CHECKING:
    from pymemcache import PooledClient

SCHEMES = ("memcached",)

_PREFIX = "ml_assets:"
_SECONDS = 0.5
"""To connect, and to answer: computing takes less than waiting for longer."""
_LONGEST_SPAN = 30 * 24 * 3600
"""A longer time Memcached takes for the seconds since 1970."""


@contextmanager
def open_cache(url: str, clock: Clock) -> Iterator[Cache]:
    """Open the server at `memcached://host:11211`; closed at the end.

    Raises:
        SettingError: the extra `memcached` is not installed, or the URL has no host.
    """
    try:
        from pymemcache import MemcacheError, PooledClient
    except ModuleNotFoundError:
        raise SettingError(
            "Memcached needs pymemcache",
            where="MEMCACHED_URL",
            do="Run `pip install 'ml-assets[memcached]'`",
        ) from None
    parts = urlsplit(url)
    if not parts.hostname:
        raise SettingError("it has no host", where="MEMCACHED_URL", do="memcached://host:11211")
    place = (parts.hostname, parts.port or 11211)
    client = PooledClient(place, connect_timeout=_SECONDS, timeout=_SECONDS, no_delay=True)

    def refusal(error: Exception) -> StoreError:
        kind = OutageError if isinstance(error, OSError) else StoreError
        return kind(
            f"{place[0]}:{place[1]} cannot be used ({first_line(error)})",
            where="MEMCACHED_URL",
            do="Check that the server is up and the URL is right, or unset it",
        )

    def ask() -> None:
        try:
            client.version()
        except (MemcacheError, OSError) as error:
            raise refusal(error) from None

    try:
        until_it_answers(ask)
        yield _Memcached(client, clock)
    except (MemcacheError, OSError) as error:
        raise refusal(error) from None
    finally:
        client.close()


class _Memcached:
    """A call is one round trip."""

    def __init__(self, client: PooledClient, clock: Clock) -> None:
        self._client, self._clock = client, clock

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        stored = self._client.get_many([_PREFIX + checked(key) for key in keys])
        now = self._clock()
        values = {key: opened(stored.get(_PREFIX + key), now) for key in keys}
        return {key: value for key, value in values.items() if value is not None}

    def put_many(self, values: Mapping[str, bytes], seconds: float) -> None:
        rows = {_PREFIX + key: each for key, each in sealed(values, seconds, self._clock()).items()}
        span = math.ceil(seconds)
        # 0 is for ever: it is kept till it has to make room, and its end is in it.
        self._client.set_many(rows, expire=span if span <= _LONGEST_SPAN else 0, noreply=False)

    def clear(self) -> bool:
        return False

    def delete_many(self, keys: Sequence[str]) -> None:
        self._client.delete_many([_PREFIX + checked(key) for key in keys], noreply=False)
