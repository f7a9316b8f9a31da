"""How many connections each process has to a PostgreSQL server, and the most that it ever had."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil
import psycopg

_OPENED = """
select client_port from pg_stat_activity
where backend_type = 'client backend' and client_port > 0 and pid <> pg_backend_pid()
"""
_SECONDS = 0.2
"""Between two looks: a short connection can be missed."""

TOTAL = "all at once"


@contextmanager
def counted(url: str, servers: Mapping[int, str]) -> Iterator[Counter[str]]:
    """Count, until the end of the block, the most connections that processes had, and all at once.

    A process is named by the server that it is, of those whose process ids are given, or by that
    which started it: `code's`. Another one is `other`. Ours are not counted. The URL is that of a
    superuser, for whom PostgreSQL keeps a place.
    """
    most: Counter[str] = Counter()
    over = threading.Event()

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.wait(_SECONDS):
                ports = {port for (port,) in connection.execute(_OPENED)}
                owners = _owners(ports)
                most[TOTAL] = max(most[TOTAL], owners.total())
                for pid, number in owners.items():
                    name = _name(pid, servers)
                    most[name] = max(most[name], number)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _owners(ports: set[int]) -> Counter[int]:
    """Process ids by the ports of their ends of the connections."""
    opened = psutil.net_connections("tcp")
    pids = (each.pid for each in opened if each.laddr and each.laddr.port in ports)
    return Counter(pid for pid in pids if pid and pid != os.getpid())


def _name(pid: int, servers: Mapping[int, str]) -> str:
    if pid in servers:
        return servers[pid]
    with suppress(psutil.NoSuchProcess):
        for parent in psutil.Process(pid).parents():
            if parent.pid in servers:
                return f"{servers[parent.pid]}'s"
    return "other"
