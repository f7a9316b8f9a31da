"""The data check of generations: each that was served is as the audit log tells.

What it is follows from its id only as long as the settings describe it (`register_generation`); of
one that is kept beside it, the log alone knows.
"""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ml_assets.problem import Problem
from ml_assets.releases import audit
from ml_assets.releases.pointer import present_parts
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_SUBJECT = "search_generation:"
_COLUMNS = ("space_id", "parameters", "fusion")


def subject(identity: str) -> str:
    """The name of a generation in the audit log."""
    return f"{_SUBJECT}{identity}"


def definition(generation: Generation) -> dict[str, Any]:
    """What an entry of the log keeps of a generation beside its fusion."""
    return {"space_id": generation.space_id, "parameters": generation.parameters}


def unlike_the_log(connection: postgres.Connection, described: str = "") -> list[Problem]:
    """Served generations that another hand changed or removed; none where the log is broken.

    What was served before the log told what it is, is not compared; nor is the one that is served
    if the settings describe it: publishing writes it anew.
    """
    if audit.verify(connection):
        return []
    logged, kept = _logged(connection), _kept(connection)
    if described and described == present_parts(connection).generation_id:
        logged.pop(described, None)
    altered = [
        identity
        for identity, row in kept.items()
        if identity in logged and _restored(row, logged[identity]) != row
    ]
    return [
        *Problem.of("missing_generations", sorted(logged.keys() - kept.keys())),
        *Problem.of("altered_generations", sorted(altered)),
    ]


def restore_from_log(connection: postgres.Connection) -> None:
    """Write the generations again that are not as the audit log tells, if it is sound itself."""
    if not unlike_the_log(connection):
        return
    logged, kept = _logged(connection), _kept(connection)
    for identity, entry in logged.items():
        row = kept.get(identity)
        restored = _restored(row or {"created_at": entry["served_at"]}, entry)
        if restored != row:
            jsons = {name: Jsonb(restored[name]) for name in ("parameters", "fusion")}
            bound = {**restored, **jsons, "generation_id": identity}
            connection.execute(statement("postgres/search/publishing/restore_generation"), bound)


def _restored(row: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The row as the log tells it; one that is dropped was dropped after it was built last."""
    dropped_at = row.get("dropped_at", entry["dropped_at"])
    if dropped_at and not (entry["dropped_at"] and entry["dropped_at"] >= row["created_at"]):
        dropped_at = None
    return {**row, **{name: entry[name] for name in _COLUMNS}, "dropped_at": dropped_at}


def _logged(connection: postgres.Connection) -> dict[str, dict[str, Any]]:
    """What the log tells of every generation of which it tells what it is, by its id."""
    generations: dict[str, dict[str, Any]] = {}
    for entry in audit.read_subjects(connection, _SUBJECT):
        identity = entry.subject.removeprefix(_SUBJECT)
        if entry.action == "drop" and identity in generations:
            generations[identity]["dropped_at"] = entry.logged_at
        elif "parameters" in entry.details:
            fusion = {"fusion": entry.details["fusion"]}
            first = {"served_at": entry.logged_at, "dropped_at": None, **entry.details}
            # What it is never changes: a later entry is of what another hand may have changed.
            generations[identity] = {**generations.get(identity, first), **fusion}
    return generations


def _kept(connection: postgres.Connection) -> dict[str, dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(statement("postgres/search/publishing/definitions")).fetchall()
    return {row.pop("generation_id"): row for row in rows}
