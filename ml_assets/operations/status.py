"""How things stand: the numbers behind `ml-assets status` and the summary of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_assets.documents.collections import GONE, count_rows, read_collections
from ml_assets.embeddings.refresh import count_vectors
from ml_assets.embeddings.space import current_space
from ml_assets.errors import mask_secrets
from ml_assets.features.drift.results import DayComparison, how_it_came, read_comparisons
from ml_assets.operations.pending import keep_standing, present_finish
from ml_assets.registry.decisions import challenger_standing
from ml_assets.registry.versions import champion
from ml_assets.releases.pointer import present_parts, services
from ml_assets.releases.roles import read_roles
from ml_assets.search.evaluation.measurement import as_json, read_measurements
from ml_assets.search.publishing.listing import described_generation, list_generations
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, postgres
from ml_assets.training.experiments import left_out, read_candidates
from ml_assets.training.labels.review import read_review
from ml_assets.training.training_set import current_hash, size_of


def read_status(settings: Settings) -> dict[str, Any]:
    """Counts, collections, generations, candidates of the current training set, the champion."""
    with postgres.connect_reader(settings) as connection:
        return _status(connection, settings)


def _status(connection: postgres.Connection, settings: Settings) -> dict[str, Any]:
    space = current_space(settings)
    generations = list_generations(connection, settings, described_generation(settings))
    return {
        "source": mask_secrets(settings.source),
        "home": str(settings.home),
        "vector_space": {"id": space.space_id, "model": space.model},
        "by_collection": [
            asdict(row)
            for row in read_collections(connection)
            if row.fingerprint != GONE or row.read_error
        ],
        "generations": [asdict(generation) for generation in generations[:5]],
        **_standing(connection, settings),
        "roles": _roles(connection, settings.actor),
    }


def _standing(connection: postgres.Connection, settings: Settings) -> dict[str, Any]:
    """The part of it that the summary of a run shows: what runs alone change, for whoever asks."""
    published = present_parts(connection).generation_id
    measured = read_measurements(connection, published).published if published else None
    return {
        **count_rows(connection),
        "vectors": count_vectors(connection, current_space(settings)),
        "measurement": as_json(measured) if measured else None,
        **_trained(connection, settings.duckdb_file, settings.training_seconds),
        "champion": _champion(connection),
        "challenger": _challenger(connection),
    }


def read_standing(settings: Settings) -> dict[str, Any]:
    """How things stand after a run, for its summary.

    After one that ended well it is kept beside its finish, so that the next run, if nobody wrote
    until then, need not look again.
    """
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        finish = present_finish(connection)
        standing = _standing(connection, settings)
        if finish:
            keep_standing(connection, finish, json.dumps(standing, default=_iso))
    return standing


def _iso(value: datetime) -> str:
    """A time, or a day, as JSON keeps it."""
    return value.isoformat()


def _champion(connection: postgres.Connection) -> dict[str, Any] | None:
    version = champion(connection)
    if version is None:
        return None
    service = services(connection, "model_version")[str(version.version)]
    return {
        "model_name": version.name,
        "version": version.version,
        "family": version.candidate.family,
        "metrics": version.metrics,
        "promoted_at": service.served_from,
        "actor": service.actor,
        "reason": service.reason,
    }


def _challenger(connection: postgres.Connection) -> dict[str, Any] | None:
    """Why the version that was registered last is not served; None: it is, or there is none."""
    standing = challenger_standing(connection)
    return asdict(standing) if standing else None


def _roles(connection: postgres.Connection, actor: str) -> dict[str, Any]:
    """How many actors have a role, and that of the present one; None: it has none."""
    roles = {row.actor: row.role for row in read_roles(connection)}
    return {"actors": len(roles), "actor": actor, "role": roles.get(actor)}


def _trained(connection: postgres.Connection, duckdb_file: Path, seconds: float) -> dict[str, Any]:
    """The candidates of the current training set, labels in doubt, and what drifted.

    `left_out`: which families are not trained within so many seconds, and why. `label_review`,
    `drift` None: no run has looked at them.
    """
    if not duckdb_file.exists():
        return {"candidates": [], "left_out": [], "label_review": None, "drift": None}
    with duckdb.connect(duckdb_file, read_only=True) as duck:
        current, review = current_hash(duck), read_review(duck)
        size = size_of(duck, current)
        compared = read_comparisons(duck)
    names = ("family", "run_id", "training_set_hash", "metrics")
    candidates = read_candidates(connection, current) if current else []
    left = left_out(connection, current, *size, seconds) if candidates else {}
    counts = None
    if review and review.training_set_hash == current:
        counts = {"documents": review.documents, "in_doubt": review.doubtful}
    return {
        "candidates": [{name: getattr(row, name) for name in names} for row in candidates],
        "left_out": [*left.values()],
        "label_review": counts,
        "drift": _drift(compared) if compared else None,
    }


def _drift(compared: Sequence[DayComparison]) -> dict[str, Any]:
    """What was found of the last day that was compared, what drifted strongest first."""
    return {
        "day": compared[0].day,
        "references": {each.reference: each.comparison.message for each in compared},
        "drifted": [
            {**asdict(finding), "came": how, "summary": str(finding)}
            for finding, how in how_it_came(compared)
        ],
    }
