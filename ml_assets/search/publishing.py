"""Publishing a generation past its gates: by a run, or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml_assets.search.gates import Gate, all_gates, refuse_blocked
from ml_assets.search.generation import (
    deciding,
    kept_generation,
    publish,
    published_generation,
)
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run decided of a generation: whether the pointer moved, and what the gates said."""

    generation: Generation
    moved: bool
    gates: Sequence[Gate]


def publish_measured(
    connection: postgres.Connection, settings: Settings, identity: str, reason: str
) -> Decision:
    """Publish a generation as a run does: past the gates, unless a person rolled back from it.

    All is read while nobody else decides: a rollback that goes on is waited for, and holds.

    Raises:
        NothingToDoError: there is no such generation, or its indexes were dropped.
        GateError: it was never measured, or a gate blocks.
    """
    with deciding(connection):
        generation = kept_generation(connection, identity)
        if generation.withdrawn:
            return Decision(generation, False, ())
        gates = all_gates(generation, published_generation(connection), settings)
        refuse_blocked(identity, gates)
        moved = publish(connection, identity, generation.measured or {}, settings.actor, reason)
    return Decision(generation, moved, gates)
