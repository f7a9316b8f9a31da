"""Generations: sets of indexes that are built, measured, and published by one pointer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from psycopg.types.json import Jsonb

from ml_assets.errors import GateError, NothingToDoError, SpaceMismatchError
from ml_assets.releases.audit import append_audit
from ml_assets.search.model import Generation, Parameters
from ml_assets.search.publishing.gates import Gate
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive
from ml_assets.stores.sql import statement


def generation_id(space_id: str, parameters: Parameters) -> str:
    """16 hex digits over the vector space, the index kinds and their parameters."""
    definition = json.dumps([space_id, parameters], sort_keys=True)
    return hashlib.sha256(definition.encode()).hexdigest()[:16]


def ensure_generation(
    connection: postgres.Connection, space_id: str, parameters: Parameters
) -> Generation:
    """Find the generation of this space and these parameters, or create it.

    Raises:
        SpaceMismatchError: nothing was ever embedded in this space.
    """
    identity = generation_id(space_id, parameters)
    if not connection.execute(
        "select 1 from embedding_spaces where space_id = %s", [space_id]
    ).fetchone():
        raise SpaceMismatchError(
            f"there is no vector space {space_id}",
            where="embedding_spaces",
            do="Materialize `embeddings` first",
        )
    postgres.run(
        connection,
        statement("postgres/search/generation/register_generation"),
        {"generation_id": identity, "space_id": space_id, "parameters": Jsonb(parameters)},
    )
    return find_generation(connection, identity)


def find_generation(connection: postgres.Connection, identity: str) -> Generation:
    """Return a generation by its id.

    Raises:
        NothingToDoError: there is none of this id.
    """
    row = postgres.run(
        connection,
        statement("postgres/search/generation/find_generation"),
        {"generation_id": identity, "state": None},
    ).fetchone()
    if row is None:
        raise NothingToDoError(f"there is no search generation {identity}", where="search")
    return Generation(*row)


def kept_generation(connection: postgres.Connection, identity: str) -> Generation:
    """Return a generation that has its indexes.

    Raises:
        NothingToDoError: there is none of this id, or its indexes were dropped.
    """
    generation = find_generation(connection, identity)
    if generation.state == "dropped":
        raise NothingToDoError(
            f"the indexes of generation {identity} were dropped",
            where="search",
            do="Set the settings that describe it, and run `ml-assets run`",
        )
    return generation


def published_generation(connection: postgres.Connection) -> Generation | None:
    """Return the generation that is served, or None before the first was published."""
    row = postgres.run(
        connection,
        statement("postgres/search/generation/find_generation"),
        {"generation_id": None, "state": "published"},
    ).fetchone()
    return Generation(*row) if row else None


def record_evaluation(
    connection: postgres.Connection, identity: str, evaluation: Mapping[str, Any]
) -> None:
    """Keep a fresh measurement of a generation; what is served stays until `publish`."""
    connection.execute(
        "update search_generations set measured = %s where generation_id = %s",
        [Jsonb(dict(evaluation)), identity],
    )


def deciding(connection: postgres.Connection) -> AbstractContextManager[None]:
    """Be the only one, over all processes, who decides what is served and what is dropped.

    From bringing a generation up to date until the pointer has moved, nobody drops it.
    """
    return exclusive(connection, "ml_schema.search_generations")


def publish(
    connection: postgres.Connection,
    identity: str,
    evaluation: Mapping[str, Any],
    actor: str,
    reason: str,
    *,
    action: Literal["publish", "rollback"] = "publish",
    gates: Sequence[Gate] = (),
) -> bool:
    """Serve a generation: one pointer, flipped in one transaction, with an audit entry.

    The generation served before is retired; by a rollback it is withdrawn, too. One that is served
    already only has its evaluation refreshed; an audit entry `tune` tells when its fusion becomes
    another one by that. Returns whether the pointer moved. The gates are not asked here:
    `publishing` asks them before, and what they said goes into the audit entry.

    Raises:
        GateError: the generation was never measured.
        NothingToDoError: there is no such generation, or its indexes were dropped.
    """
    if not evaluation:
        raise GateError(
            f"generation {identity} was never measured, so it is not published",
            where="search",
            do="Materialize `search_evaluation` first",
        )
    with connection.transaction():
        # Two publishers take turns; the second sees what the first published.
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.search_generations'))")
        generation = kept_generation(connection, identity)
        connection.execute(
            "update search_generations set evaluation = %s where generation_id = %s",
            [Jsonb(dict(evaluation)), identity],
        )
        fusion = asdict(find_generation(connection, identity).fusion)
        details = {"fusion": fusion, "gates": [asdict(gate) for gate in gates]}
        audited = partial(
            append_audit,
            connection,
            actor=actor,
            subject=f"search_generation:{identity}",
            reason=reason,
        )
        if generation.state == "published":
            if fusion != (previous := asdict(generation.fusion)):
                audited(action="tune", details={**details, "previous_fusion": previous})
            return False
        before = _move_pointer(connection, identity, actor, reason, withdraws=action == "rollback")
        audited(
            action=action,
            details={"space_id": generation.space_id, "previous": before, **details},
        )
    return True


def _move_pointer(
    connection: postgres.Connection, identity: str, actor: str, reason: str, *, withdraws: bool
) -> str | None:
    """Serve another generation, inside a transaction; return the id of the one served before."""
    before = published_generation(connection)
    withdrawn = {"actor": actor, "reason": reason, "at": datetime.now(UTC).isoformat()}
    postgres.run(
        connection,
        statement("postgres/search/generation/retire_published"),
        {"withdrawn": Jsonb(withdrawn) if withdraws else None},
    )
    postgres.run(
        connection,
        statement("postgres/search/generation/mark_published"),
        {"generation_id": identity, "actor": actor},
    )
    # The active release says what is served together; its model stays.
    connection.execute("update releases set generation_id = %s where active", [identity])
    return before.generation_id if before else None
