"""The memory of the embedded server: as the machine and its cgroups allow."""

import os
from pathlib import Path

import pytest

from ml_assets.stores import postgres
from ml_assets.stores.postgres.memory import available_memory, memory_settings

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "buffers", "cache", "work", "maintenance", "connections"),
    [
        (GIB // 2, "128MB", "256MB", "4MB", "64MB", "40"),
        (4 * GIB, "512MB", "2048MB", "8MB", "128MB", "64"),
        (8 * GIB, "1024MB", "4096MB", "16MB", "256MB", "128"),
        (256 * GIB, "1024MB", "131072MB", "64MB", "512MB", "200"),
    ],
)
def test_settings_grow_with_the_memory_within_bounds(
    memory: int, buffers: str, cache: str, work: str, maintenance: str, connections: str
) -> None:
    assert memory_settings(memory) == {
        "shared_buffers": buffers,
        "effective_cache_size": cache,
        "work_mem": work,
        "maintenance_work_mem": maintenance,
        "max_connections": connections,
    }


def limit(folder: Path, file: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(f"{text}\n")


def test_the_tightest_limit_of_a_cgroup_and_those_above_counts(tmp_path: Path) -> None:
    cgroup, mount = tmp_path / "cgroup", tmp_path / "fs"
    cgroup.write_text("0::/slice/service\n")
    limit(mount / "slice" / "service", "memory.max", "max")
    limit(mount / "slice", "memory.max", str(GIB // 2))
    limit(mount, "memory.max", str(GIB))
    (tmp_path / "memory.max").write_text("1")  # outside
    assert available_memory(cgroup, mount) == GIB // 2


def test_a_container_is_limited_by_its_root(tmp_path: Path) -> None:
    cgroup, mount = tmp_path / "cgroup", tmp_path / "fs"
    cgroup.write_text("0::/path/of/the/host\n")
    limit(mount, "memory.max", str(GIB // 4))
    assert available_memory(cgroup, mount) == GIB // 4


def test_the_first_version_of_cgroups_has_a_folder_per_controller(tmp_path: Path) -> None:
    cgroup, mount = tmp_path / "cgroup", tmp_path / "fs"
    cgroup.write_text("5:cpu,cpuacct:/a\n4:memory:/docker/a:b\n")
    limit(mount / "memory" / "docker" / "a:b", "memory.limit_in_bytes", str(GIB // 3))
    limit(mount / "cpu" / "a", "memory.max", "1")
    assert available_memory(cgroup, mount) == GIB // 3


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_memory(tmp_path / "absent", tmp_path) == machine
    (tmp_path / "cgroup").write_text("0::/\n")
    limit(tmp_path, "memory.max", str(2**63 - 1))  # how version 1 writes that there is none
    assert available_memory(tmp_path / "cgroup", tmp_path) == machine


def test_the_embedded_server_starts_with_them(tmp_path: Path) -> None:
    with postgres.connect(None, tmp_path) as connection:
        rows = connection.execute(
            "select name, setting::bigint * case unit when '8kB' then 8192 when 'kB' then 1024"
            " else 1 end from pg_settings where name = any(%s)",
            [list(memory_settings(0))],
        ).fetchall()
    postgres.stop(tmp_path)
    wanted = memory_settings(available_memory())
    assert dict(rows) == {
        name: int(value.removesuffix("MB")) << (20 if value.endswith("MB") else 0)
        for name, value in wanted.items()
    }
