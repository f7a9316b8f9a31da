"""Redis by URL, one server or a cluster: connect, and say in one line what is wrong.

Not here: what is kept in it (`online`, `cache`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ml_assets.errors import OutageError, StoreError, first_line
from ml_assets.stores.patience import outages_awaited, until_it_answers

SCHEMES = ("redis", "rediss", "unix")

_LOOK_SECONDS = 0.5
"""Between two looks whether listening has ended."""

log = logging.getLogger(__name__)


@contextmanager
def connected(url: str, *, connect_seconds: float = 5, answer_seconds: float = 30) -> Iterator[Any]:
    """Open the server at `url`, or the cluster that it is a node of; closed at the end.

    Keys and values are bytes. Any error of Redis in the block is told in one line.

    Raises:
        StoreError: it is no URL of Redis, or the server refuses.
        OutageError: the server, or a part of the cluster, does not answer.
    """
    from redis import Redis, RedisCluster, RedisError
    from redis.exceptions import RedisClusterException  # which is no RedisError

    patience = {"socket_connect_timeout": connect_seconds, "socket_timeout": answer_seconds}
    try:
        client: Any = Redis.from_url(url, **patience)
    except ValueError:
        # Its text can hold a part of the password.
        raise StoreError(
            "not a Redis URL",
            where="REDIS_URL",
            do="Write redis://user:password@host:6379/0, with / of a password as %2F",
        ) from None
    try:
        with client:
            if not until_it_answers(lambda: _is_cluster(client, url)):
                yield client
                return
        with RedisCluster.from_url(url, **patience) as cluster:
            try:
                yield cluster
            finally:
                # It leaves the connections to its nodes to the garbage collector.
                manager = cluster.nodes_manager
                for node in (*manager.nodes_cache.values(), *manager.startup_nodes.values()):
                    if node.redis_connection:
                        node.redis_connection.connection_pool.disconnect()
    except (RedisError, RedisClusterException) as error:
        raise refusal(error, url) from None


def announce(url: str, channel: str) -> None:
    """Tell those who listen to a channel that there is something to look at.

    It is waited for a second at most, and a server that does not answer is told in the log: who
    listens looks by himself, too.
    """
    try:
        with (
            outages_awaited(0, lambda _: None),
            connected(url, connect_seconds=1, answer_seconds=1) as client,
        ):
            client.publish(channel, b"")
    except StoreError as error:
        log.warning("nothing was announced: %s", error.reason)


def listen(url: str, channel: str, heard: Callable[[], None], ended: Callable[[], bool]) -> None:
    """Call `heard` for whatever is announced on a channel, until it is `ended`.

    Raises:
        StoreError: the server cannot be used.
    """
    with connected(url) as client, client.pubsub(ignore_subscribe_messages=True) as subscribed:
        subscribed.subscribe(channel)
        while not ended():
            if subscribed.get_message(timeout=_LOOK_SECONDS):
                heard()


def _is_cluster(client: Any, url: str) -> bool:
    """Ask a server how it works; the first question to it."""
    from redis import RedisError

    try:
        told = client.execute_command("HELLO")
    except RedisError as error:
        raise refusal(error, url) from None
    pairs = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
    return bool(pairs.get(b"mode") == b"cluster")


def refusal(error: Exception, url: str) -> StoreError:
    """The error of Redis as ours, without the password."""
    from redis import exceptions

    away = exceptions.ConnectionError | exceptions.TimeoutError
    # Slots of a cluster are served by no node while another takes the place of one that fell.
    unserved = exceptions.ClusterDownError | exceptions.RedisClusterException
    gone = isinstance(error, away | unserved)
    refused = isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError)
    kind, do = StoreError, "Check that the server is up and the URL is right, or unset it"
    if refused:
        do = "Check user and password in it: redis://user:password@host:6379/0"
    elif gone:
        kind = OutageError
    return kind(f"{_address(url)} cannot be used ({first_line(error)})", where="REDIS_URL", do=do)


def _address(url: str) -> str:
    """Host and port, or the socket, alone: a password can be in many places of a URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
