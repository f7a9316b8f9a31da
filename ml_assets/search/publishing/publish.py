"""Publishing a generation past its gates: by a run, or by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from ml_assets.documents.sources import open_source
from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.space import current_space
from ml_assets.errors import GateError
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.evaluation.measurement import measure_generation, present_state
from ml_assets.search.generation import (
    deciding,
    find_generation,
    kept_generation,
    publish,
    published_generation,
    record_evaluation,
)
from ml_assets.search.indexes.consistency import compare_with_tables
from ml_assets.search.indexes.kinds import index_versions
from ml_assets.search.indexes.opening import Indexes, text_index, vector_indexes
from ml_assets.search.model import Generation
from ml_assets.search.publishing.gates import Gate, measured_gates, refuse_blocked, same_chunks_gate
from ml_assets.search.publishing.lifecycle import bring_up_to_date
from ml_assets.settings import Settings
from ml_assets.stores import postgres


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run decided of a generation: whether the pointer moved, and what the gates said."""

    generation: Generation
    moved: bool
    gates: Sequence[Gate]


def publish_measured(
    connection: postgres.Connection,
    settings: Settings,
    identity: str,
    judged: JudgedQueries | None,
    reason: str,
) -> Decision:
    """Publish a generation as a run does: past the gates, unless a person rolled back from it.

    All is read while nobody else decides: a rollback that goes on is waited for, and holds. Before
    the pointer moves, all indexes are compared whole with the tables.

    Raises:
        NothingToDoError: there is no such generation, or its indexes were dropped.
        GateError: its last measurement is not of the present state, or a gate blocks.
    """
    with deciding(connection):
        generation = kept_generation(connection, identity)
        if generation.withdrawn:
            return Decision(generation, False, ())
        _refuse_outdated(generation, present_state(connection, generation, judged, settings))
        gates = measured_gates(generation, published_generation(connection), settings)
        refuse_blocked(identity, gates)
        if generation.state != "published":
            gates.append(_compared(connection, settings, generation))
            refuse_blocked(identity, gates)
        measured = generation.measured or {}
        moved = publish(connection, identity, measured, settings.actor, reason, gates=gates)
    return Decision(generation, moved, gates)


def _refuse_outdated(generation: Generation, state: str) -> None:
    if not generation.measured or generation.measured.get("state") != state:
        said = "has changed since it was measured" if generation.measured else "was never measured"
        raise GateError(
            f"generation {generation.generation_id} {said}, so it is not published",
            where="search",
            do="Materialize `search_evaluation` first",
        )


def _compared(connection: postgres.Connection, settings: Settings, generation: Generation) -> Gate:
    with Indexes(settings).open_all(connection, generation) as opened:
        rows = compare_with_tables(connection, list(opened.values()), whole=True)
    return same_chunks_gate(rows)


def publish_gated(
    connection: postgres.Connection, settings: Settings, identity: str, reason: str
) -> list[Gate]:
    """Publish a generation by hand, through the gates that a run has; they are returned.

    Its indexes are brought up to date first, and it is measured anew. Where the settings name the
    model of another vector space, its queries cannot be encoded here: its nDCG is then that of its
    last measurement, which the gate does not compare with one on other documents.

    Raises:
        NothingToDoError: there is no such generation, or its indexes were dropped.
        GateError: it was never measured, lacks vectors, or a gate blocks.
    """
    with deciding(connection):
        return _publish_gated(connection, settings, identity, reason)


def _publish_gated(
    connection: postgres.Connection, settings: Settings, identity: str, reason: str
) -> list[Gate]:
    generation = kept_generation(connection, identity)
    if not generation.measured:
        raise GateError(
            f"generation {identity} was never measured, so it is not published",
            where="search",
            do="Run `ml-assets run` with the settings that describe it",
        )
    held = bring_up_to_date(connection, settings, generation)
    if generation.space_id == current_space(settings).space_id:
        measured = _measure_whole(connection, settings, generation)
    else:
        measured = _measure_recall(connection, settings, generation)
    fresh = find_generation(connection, identity)
    gates = [*measured_gates(fresh, published_generation(connection), settings), held]
    refuse_blocked(identity, gates)
    publish(connection, identity, measured, settings.actor, reason, gates=gates)
    return gates


def _measure_whole(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Mapping[str, Any]:
    """Measure it anew, and what is served on the same documents, if the encoder fits that too."""
    judged = open_source(settings.source, settings).judged_queries()
    load = cache(partial(load_encoder, settings))
    served = published_generation(connection)
    if served and served.space_id == generation.space_id:
        measure_generation(connection, Indexes(settings), served, judged, load)
    measured, _ = measure_generation(
        connection, Indexes(settings), generation, judged, load, anew=True
    )
    return measured


def _measure_recall(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Mapping[str, Any]:
    """Measure anew what needs no encoder; what was judged on other documents tells of no index."""
    with Indexes(settings).open_all(connection, generation) as opened:
        found = recall_against_exact(
            connection, generation, vector_indexes(opened), seed=settings.seed
        )
        documents = index_versions(connection, generation)[text_index(opened).kind]
    measured = {
        **(generation.measured or {}),
        "recall": found.recall,
        "reached": found.reached,
        "sampled": found.sampled,
    }
    if measured.get("documents") != documents:
        measured["judged_recall"] = {}
    record_evaluation(connection, generation.generation_id, measured)
    return measured
