"""What `ml-assets search-generations` tells of every generation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from psycopg.rows import dict_row

from ml_assets.embeddings.space import current_space
from ml_assets.search.evaluation.metrics import NDCG
from ml_assets.search.generation import generation_id
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.model import Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def described_generation(settings: Settings) -> str:
    """The id of the generation that the settings describe, whether it was built or not."""
    return generation_id(current_space(settings).space_id, index_parameters(settings))


def list_generations(
    connection: postgres.Connection, settings: Settings, described: str
) -> list[dict[str, Any]]:
    """Every generation, the published one first, then those that were served last.

    `differs` names the parameters in which it differs from the published one, in nothing while none
    is; `drop_at` is when its indexes may be dropped, None for one that is kept.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("postgres/search/publishing/list_generations")).fetchall()
    published = next((row["parameters"] for row in rows if row["state"] == "published"), None)
    kept = timedelta(days=settings.keep_generations_days)
    shown = []
    for row in rows:
        measured = row.pop("measured") or {}
        parameters = row.pop("parameters")
        is_described = row["generation_id"] == described
        retired = row["state"] == "retired" and not is_described
        shown.append(
            {
                **row,
                "described_by_settings": is_described,
                "indexes": sorted(parameters),
                "differs": {} if published is None else differing(parameters, published),
                "recall": measured.get("recall", {}),
                "ndcg": _ndcg(measured),
                "drop_at": row["retired_at"] + kept if retired else None,
            }
        )
    return shown


def differing(parameters: Parameters, reference: Parameters) -> dict[str, Any]:
    """`kind.parameter` → value, where the reference has another one, or none.

    What only the reference has is None: `kind` for an index that is not built here.
    """
    own, others = _flat(parameters), _flat(reference)
    lacking = {name for name in others.keys() - own.keys() if name.split(".")[0] in parameters}
    return {
        **{name: value for name, value in own.items() if value != others.get(name)},
        **dict.fromkeys(sorted(lacking)),
        **dict.fromkeys(sorted(reference.keys() - parameters.keys())),
    }


def _flat(parameters: Parameters) -> dict[str, Any]:
    return {
        f"{kind}.{name}": value
        for kind, values in parameters.items()
        for name, value in values.items()
    }


def _ndcg(measured: Mapping[str, Any]) -> float | None:
    halves = (measured.get("methods") or {}).get("hybrid") or {}
    found = halves.get("reporting", {}).get(NDCG)
    return None if found is None else float(found)
