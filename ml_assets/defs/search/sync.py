"""Bringing one kind of index up to date for every generation that follows the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from ml_assets.defs.assets import data_version
from ml_assets.embeddings.refresh import forget_outdated_vectors
from ml_assets.progress import Progress
from ml_assets.search.evaluation.measurement import read_measurements
from ml_assets.search.indexes.contract import SyncReport
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.opening import Indexes
from ml_assets.search.indexes.wear import rebuild_if_worn
from ml_assets.search.model import Generation
from ml_assets.stores import postgres


def sync_generations(
    connection: postgres.Connection,
    indexes: Indexes,
    generations: Sequence[Generation],
    kind: str,
    step: Progress,
) -> dg.MaterializeResult:
    """Bring one kind of index up to date: of the current generation, and of the served one.

    A graph that churn has worn out is built anew.
    """
    for served in generations[1:]:
        forget_outdated_vectors(connection, served.space_id)
    having = [generation for generation in generations if kind in generation.parameters]
    reports = []
    rebuilt: dict[str, str] = {}
    for generation in having:
        latest = read_measurements(connection, generation.generation_id).latest
        with indexes.open(connection, generation, kind) as index:
            reports.append(sync_index(connection, index, step))
            if message := rebuild_if_worn(connection, index, latest.reached if latest else {}):
                rebuilt[f"maintenance_{generation.generation_id}"] = message
    return _indexed(having, reports, rebuilt)


def _indexed(
    generations: Sequence[Generation], reports: Sequence[SyncReport], rebuilt: Mapping[str, str]
) -> dg.MaterializeResult:
    current, report = generations[0], reports[0]
    size = {} if report.bytes is None else {"bytes": report.bytes}
    others = list(zip(generations[1:], reports[1:], strict=True))
    served: dict[str, Any] = {
        f"served_{name}": value
        for generation, other in others
        for name, value in {
            "generation": generation.generation_id,
            **asdict(other.delta),
            "chunks": other.size,
            "seconds": round(other.seconds, 3),
        }.items()
    }
    return dg.MaterializeResult(
        metadata={
            **asdict(report.delta),
            **size,
            "chunks": report.size,
            "generation": current.generation_id,
            "did": "wrote the difference" if report.delta.touched else "nothing: it was current",
            "seconds": round(report.seconds, 3),
            **served,
            **report.details,
            **rebuilt,
        },
        data_version=data_version(
            current.generation_id,
            report.version,
            *((generation.generation_id, other.version) for generation, other in others),
        ),
    )
