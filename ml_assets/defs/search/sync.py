"""Bringing one kind of index up to date for every generation that follows the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import dagster as dg

from ml_assets.defs.metadata import data_version, delta_metadata
from ml_assets.progress import Progress
from ml_assets.search.evaluation.measurement import read_measurements
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.indexes.wear import rebuild_if_worn
from ml_assets.search.model import Generation, Index, SyncReport
from ml_assets.stores import postgres as store


def sync_generations(
    connection: store.Connection,
    generations: Sequence[Generation],
    open_index: Callable[[Generation], AbstractContextManager[Index]],
    step: Progress,
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> dg.MaterializeResult:
    """Bring one kind of index up to date: of the current generation, and of the served one.

    A vector index that churn has worn out is built anew.
    """
    reports = []
    said: dict[str, Any] = dict(metadata)
    for generation in generations:
        with open_index(generation) as index:
            reports.append(index.sync(connection, step))
            if isinstance(index, PgvectorIndex | ChromaIndex):
                latest = read_measurements(connection, generation.generation_id).latest
                reached = latest.reached if latest else {}
                if rebuilt := rebuild_if_worn(connection, generation, index, reached):
                    said[f"maintenance_{generation.generation_id}"] = rebuilt
    return _indexed(generations, reports, said)


def _indexed(
    generations: Sequence[Generation], reports: Sequence[SyncReport], said: Mapping[str, Any]
) -> dg.MaterializeResult:
    current, report = generations[0], reports[0]
    size = {} if report.bytes is None else {"bytes": report.bytes}
    return dg.MaterializeResult(
        metadata={
            **delta_metadata(report.delta),
            **size,
            "chunks": report.size,
            "generation": current.generation_id,
            "did": "wrote the difference" if report.delta.touched else "nothing: it was current",
            "seconds": round(report.seconds, 3),
            **_served(generations[1:], reports[1:]),
            **said,
        },
        data_version=data_version(
            current.generation_id,
            report.version,
            *(
                (one.generation_id, other.version)
                for one, other in zip(generations[1:], reports[1:], strict=True)
            ),
        ),
    )


def _served(generations: Sequence[Generation], reports: Sequence[SyncReport]) -> dict[str, Any]:
    """What was done to keep the served generation current while another one is built."""
    return {
        f"served_{name}": value
        for generation, report in zip(generations, reports, strict=True)
        for name, value in {
            "generation": generation.generation_id,
            **delta_metadata(report.delta),
            "chunks": report.size,
            "seconds": round(report.seconds, 3),
        }.items()
    }
