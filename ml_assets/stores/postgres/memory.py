"""How much memory the embedded server may use: what the machine has, and its cgroup allows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_MIB = 1 << 20
_CGROUP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_LIMITS = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""The file of the limit in version 2 of cgroups, and in version 1, by their controller."""


def available_memory(cgroup: Path = _CGROUP, mount: Path = _MOUNT) -> int:
    """Bytes of the machine, or of the tightest limit of the cgroups that this process is in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(cgroup, mount)])


def memory_settings(memory: int) -> Mapping[str, str]:
    """The server's settings on a machine of so many bytes, on which it is one of several.

    A model, Chroma's graph and a build of a graph want the rest. The buffers are an eighth, not
    the usual quarter, and no more than 1 GiB: they are cleared when the server starts, and a search
    in a new process starts it.
    """
    share = {
        "shared_buffers": _between(128, memory // 8, 1024),
        "effective_cache_size": _between(256, memory // 2, 1 << 20),
        "work_mem": _between(4, memory // 512, 64),
        "maintenance_work_mem": _between(64, memory // 32, 512),
    }
    return {
        **{name: f"{size}MB" for name, size in share.items()},
        # A connection takes about 10 MB. A UI, a run, MLflow and some sessions need 30.
        "max_connections": str(_between(40, memory // 64, 200)),
    }


def _between(least: int, memory: int, most: int) -> int:
    """So many MiB."""
    return max(least, min(memory // _MIB, most))


def _limits(cgroup: Path, mount: Path) -> Iterator[int]:
    """The limits from the cgroup of this process up to the root; what cannot be read is none."""
    try:
        lines = cgroup.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in _LIMITS.keys() & set(controllers.split(",")):
            root = mount / controller
            # In a container the path is often that of the host, and the root is our own.
            inside = root / path.strip("/")
            for folder in (inside, *inside.parents):
                if folder.is_relative_to(root):
                    yield from _read_limit(folder / _LIMITS[controller])


def _read_limit(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdecimal():  # not "max"
        yield int(text)
