"""A process of a contender: what it ingests, one file after the other, and what that took."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import ours
from bench.measure import run


@dataclass(frozen=True)
class Ingested:
    """One file: seconds within the process, and how many chunks there are after it."""

    seconds: float
    chunks: int


def warm_session(
    module: str,
    state: Path,
    files: Sequence[Path],
    *,
    database: str = "",
    python: Path | None = None,
) -> list[Ingested]:
    """Ingest files in one process that has loaded libraries and model before."""
    return _session(module, state, files, database, python, ["--warm"])[1]


def new_session(
    module: str, state: Path, file: Path, *, database: str, python: Path | None = None
) -> float:
    """Wall-clock seconds of a new process that ingests one file."""
    return _session(module, state, [file], database, python, [])[0]


def _session(
    module: str,
    state: Path,
    files: Sequence[Path],
    database: str,
    python: Path | None,
    options: Sequence[str],
) -> tuple[float, list[Ingested]]:
    state.mkdir(parents=True, exist_ok=True)
    report = state / "report.jsonl"
    command = [
        python or sys.executable,
        "-m",
        "bench.contenders",
        module,
        database or "-",
        state,
        ours.model(),
        report,
        *options,
        *files,
    ]
    finished = run(command, {}, state / f"{module}.log")
    rows = map(json.loads, report.read_text(encoding="utf-8").splitlines())
    return finished.seconds, [Ingested(row["seconds"], row["chunks"]) for row in rows]
