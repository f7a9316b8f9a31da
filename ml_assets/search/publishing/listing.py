"""Every generation, as `ml-assets search-generations` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg.rows import dict_row

from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.releases.pointer import Withdrawal, present_parts, services, withdrawals
from ml_assets.search.evaluation.measurement import read_measurements
from ml_assets.search.generation import generation_id
from ml_assets.search.indexes.kinds import generation_parameters, text_kinds
from ml_assets.search.model import CHUNKING, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

State = Literal["built", "published", "retired", "dropped"]


@dataclass(frozen=True, slots=True)
class ListedGeneration:
    """A generation, its life and its quality.

    differs: the parameters in which it differs from the published one; nothing while none is.
    drop_at: when its indexes may be dropped; None for one that is served, described or dropped.
    """

    generation_id: str
    space_id: str
    model: str
    chunks: int
    state: State
    created_at: datetime
    published_at: datetime | None
    published_by: str | None
    retired_at: datetime | None
    withdrawn: Withdrawal | None
    described_by_settings: bool
    indexes: Sequence[str]
    differs: Mapping[str, Any]
    recall: Mapping[str, float]
    ndcg: float | None
    drop_at: datetime | None


def described_generation(settings: Settings) -> str:
    """The id of the generation that the settings describe, whether it was built or not."""
    parameters = generation_parameters(settings, current_chunker(settings))
    return generation_id(current_space(settings).space_id, parameters)


def count_generations(connection: postgres.Connection) -> dict[str, float]:
    """How many generations have indexes, `kept`, and how many had them once, `dropped`."""
    query = "select count(dropped_at), count(*) from search_generations"
    dropped, known = connection.execute(query).fetchone() or (0, 0)
    return {"kept": known - dropped, "dropped": dropped}


def list_generations(
    connection: postgres.Connection, settings: Settings, described: str
) -> list[ListedGeneration]:
    """Every generation, the published one first, then those that were served last."""
    text = statement("postgres/search/publishing/list_generations")
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(text, {"text_kinds": text_kinds()}).fetchall()
    served = services(connection, "generation_id")
    withdrawn = withdrawals(connection, "generation_id")
    published = present_parts(connection).generation_id
    reference = {row["generation_id"]: row["parameters"] for row in rows}.get(published)
    kept = timedelta(days=settings.keep_generations_days)

    def listed(row: dict[str, Any]) -> ListedGeneration:
        identity, parameters = row["generation_id"], row.pop("parameters")
        service, dropped = served.get(identity), row.pop("dropped")
        retired_at = service.served_until if service else None
        state: State = "published" if identity == published else "retired" if service else "built"
        goes = not dropped and identity not in (published, described)
        since = max(row["created_at"], retired_at or row["created_at"])
        measured = read_measurements(connection, identity)
        measurement = measured.latest or measured.published
        return ListedGeneration(
            **row,
            state="dropped" if dropped else state,
            published_at=service.served_from if service else None,
            published_by=service.actor if service else None,
            retired_at=retired_at,
            withdrawn=withdrawn.get(identity),
            described_by_settings=identity == described,
            indexes=sorted(parameters.keys() - {CHUNKING}),
            differs=differing(parameters, reference) if reference else {},
            recall=measurement.recall if measurement else {},
            ndcg=measurement.ndcg if measurement else None,
            drop_at=since + kept if goes else None,
        )

    def place(row: ListedGeneration) -> tuple[bool, float]:
        return row.state != "published", -(row.published_at or row.created_at).timestamp()

    return sorted(map(listed, rows), key=place)


def expired(connection: postgres.Connection, described: str, days: float) -> list[str]:
    """The generations that were kept for `days`, but for the one the settings describe.

    Since they were served last; those that were never served, or built again, since they were
    built.
    """
    served = services(connection, "generation_id")
    until = [service.served_until for service in served.values()]
    bound = {"served": [*served], "until": until, "days": days, "described": described}
    rows = connection.execute(statement("postgres/search/publishing/expired"), bound)
    return [identity for (identity,) in rows]


def differing(parameters: Parameters, reference: Parameters) -> dict[str, Any]:
    """`kind.parameter` → value, where the reference has another one, or none.

    What only the reference has is None: `kind` for an index that is not built here.
    """
    own, others = _flat(parameters), _flat(reference)
    return {
        name if (kind := name.partition(".")[0]) in parameters else kind: own.get(name)
        for name in {**own, **others}
        if own.get(name) != others.get(name)
    }


def _flat(parameters: Parameters) -> dict[str, Any]:
    return {
        f"{kind}.{name}": value
        for kind, values in parameters.items()
        for name, value in values.items()
    }
