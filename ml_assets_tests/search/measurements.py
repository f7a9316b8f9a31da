"""Measurements that pass every gate, but for what a test changes, and publishing with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ml_assets.operations.rollback import roll_back
from ml_assets.releases import pointer
from ml_assets.search.evaluation.measurement import Measurement, MethodQuality, Tuned
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Generation
from ml_assets.search.publishing.publish import serve
from ml_assets.settings import Settings
from ml_assets.stores import mlflow, postgres


def measurement(
    hybrid: Sequence[float] = (), fusion: Fusion = DEFAULT_FUSION, **changed: Any
) -> Measurement:
    """A good one; `hybrid` is nDCG@10 of the hybrid method, one per reporting query."""
    by_query = {str(number): float(value) for number, value in enumerate(hybrid)}
    given: dict[str, Any] = {
        "state": "1",
        "recall": {"pgvector": 1.0, "chroma": 0.97},
        "reached": {"pgvector": 1.0, "chroma": 0.99},
        "sampled": 20,
        "judged_recall": {"pgvector": 0.99, "chroma": 0.96},
        "documents": "of then",
        "tuning": Tuned(fusion, 0),
        "tuning_basis": "",
        "quality": MethodQuality(ndcg={"hybrid": by_query} if by_query else {}),
        "judged_queries": len(by_query),
        "missing_documents": 0,
        "seconds": 0.5,
    }
    return Measurement(**{**given, **changed})


def publish(
    connection: postgres.Connection,
    generation: Generation,
    actor: str = "run",
    reason: str = "run",
    **changed: Any,
) -> bool:
    """Publish a generation as one that passed its gates; return whether the pointer moved."""
    return serve(connection, generation, measurement(**changed), [], actor, reason)


def served(connection: postgres.Connection) -> str | None:
    """The id of the generation that is served."""
    return pointer.present_parts(connection).generation_id


def back(
    connection: postgres.Connection, settings: Settings, reason: str, to: str | None = None
) -> pointer.Release:
    """Roll back, to the first release that named a generation if one is given."""
    release = None
    if to is not None:
        named = [one for one in pointer.list_releases(connection) if one.parts.generation_id == to]
        release = named[-1].release_id
    return roll_back(connection, settings, mlflow.Tracking("unused"), reason, release)


def withdraw(connection: postgres.Connection, identity: str, reason: str) -> None:
    """Withdraw a generation, as a rollback from it does."""
    connection.execute(
        "insert into withdrawals (part, identity, actor, reason)"
        " values ('generation_id', %s, 'ann', %s)",
        [identity, reason],
    )


def age_releases(connection: postgres.Connection, days: int) -> None:
    """Pretend that all was built and served so many days earlier."""
    connection.execute(
        "update search_generations set created_at = created_at - %s", [timedelta(days=days)]
    )
    connection.execute("alter table releases disable trigger user")
    oldest_first = -1 if days > 0 else 1
    for release in pointer.list_releases(connection)[::oldest_first]:
        connection.execute(
            "update releases set"
            " served = tstzrange(lower(served) - %(time)s, upper(served) - %(time)s)"
            " where release_id = %(id)s",
            {"time": timedelta(days=days), "id": release.release_id},
        )
    connection.execute("alter table releases enable trigger user")
