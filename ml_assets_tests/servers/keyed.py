"""Servers of keys and values: Memcached, a cluster of three Redis servers, DynamoDB's protocol."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis

from ml_assets_tests.servers import PASSWORD, program, serving
from ml_assets_tests.servers.starting import free_port

DYNALITE = "DYNALITE_URL"
"""The variable with the URL of a stricter DynamoDB than moto's, in `make test-servers`."""
AWS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), PASSWORD)

_SLOTS = 16_384


@contextmanager
def memcached_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a Memcached."""
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64"]
    with serving([*command, "-u", "nobody"], folder, port):
        yield f"memcached://127.0.0.1:{port}"


@contextmanager
def dynamodb_over_http(folder: Path) -> Iterator[str]:
    """The address of a server of DynamoDB's protocol; `AWS` is who may ask it."""
    if DYNALITE in os.environ:
        yield os.environ[DYNALITE]
        return
    port = free_port()
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, folder, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def redis_cluster(folder: Path) -> Iterator[str]:
    """The URL of one of three Redis servers that share the slots, and ask for a password."""
    ports, buses = ([free_port() for _ in range(3)] for _ in range(2))
    with ExitStack() as stack:
        nodes = []
        for port, bus in zip(ports, buses, strict=True):
            own = folder / str(port)
            own.mkdir()
            command = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
            options = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", ""]
            stack.enter_context(serving([*command, *options, "--requirepass", PASSWORD], own, port))
            nodes.append(stack.enter_context(Redis(port=port, password=PASSWORD)))
        for number, node in enumerate(nodes):
            first, end = (_SLOTS * each // 3 for each in (number, number + 1))
            node.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0], buses[0])
        deadline = time.monotonic() + 30
        while not all(_is_whole(node) for node in nodes):
            assert time.monotonic() < deadline, "the servers do not become one cluster"
            time.sleep(0.05)
        yield f"redis://:{PASSWORD}@127.0.0.1:{ports[0]}"


def _is_whole(node: Redis) -> bool:
    info = node.execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", "3")
