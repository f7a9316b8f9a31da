"""Publishing a generation past its gates: by a run, or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from ml_assets.documents.collections import documents_version
from ml_assets.documents.sources import open_source
from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.space import current_space
from ml_assets.errors import GateError
from ml_assets.releases import audit, pointer
from ml_assets.releases.gates import Decision, Gate, refuse_blocked
from ml_assets.releases.holds import alerts_gate, holding_alerts
from ml_assets.releases.roles import authorize
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.evaluation.measurement import (
    Measurement,
    read_measurements,
    record_measurement,
    record_published,
)
from ml_assets.search.evaluation.measuring import measure_generation, present_state
from ml_assets.search.generation import kept_generation
from ml_assets.search.indexes.kinds import Indexes, vector_indexes
from ml_assets.search.model import Generation
from ml_assets.search.publishing.gates import Reference, measured_gates
from ml_assets.search.publishing.lifecycle import bring_up_to_date, compare_indexes
from ml_assets.search.publishing.quality import definition, subject
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres


def publish_measured(
    connection: postgres.Connection,
    indexes: Indexes,
    identity: str,
    judged: JudgedQueries | None,
    reason: str,
) -> Decision:
    """Publish a generation as a run does: past the gates, unless a person rolled back from it.

    All is read while nobody else decides: a rollback that goes on is waited for, and stays. Before
    the pointer moves, all indexes are compared whole with the tables.

    Raises:
        NothingToDoError: there is no such generation, or its indexes were dropped.
        GateError: its last measurement is not of the present state, or a gate blocks.
    """
    authorize(connection, indexes.settings.actor, "publish", subject(identity))
    redis_url = secret(indexes.settings.redis_url)
    with pointer.deciding_alone(connection, redis_url):
        generation = kept_generation(connection, identity)
        withdrawn = pointer.withdrawals(connection, "generation_id").get(identity)
        if withdrawn:
            return Decision(False, False, f"{withdrawn}; `ml-assets publish` would serve it again")
        state = present_state(connection, generation, judged, indexes.settings)
        measurement = _latest(connection, generation, state)
        return _publish(connection, indexes, generation, measurement, reason)


def publish_by_hand(
    connection: postgres.Connection, indexes: Indexes, identity: str, reason: str
) -> Decision:
    """Publish a generation as a person does, through the gates that a run has.

    Its indexes are brought up to date first, and it is measured anew. Where the settings name the
    model of another vector space, its queries cannot be encoded here: its nDCG is then that of its
    last measurement, which the gate does not compare with one on other documents.

    Raises:
        NothingToDoError: there is no such generation, or its indexes were dropped.
        GateError: it was never measured, lacks vectors, or a gate blocks.
    """
    settings = indexes.settings
    authorize(connection, settings.actor, "publish by hand", subject(identity))
    with pointer.deciding_alone(connection, secret(settings.redis_url)):
        generation = kept_generation(connection, identity)
        earlier = _latest(connection, generation)
        compared = bring_up_to_date(connection, indexes, generation)
        if generation.space_id == current_space(settings).space_id:
            judged = open_source(settings.source, settings).judged_queries()
            measurement, _ = measure_generation(
                connection, indexes, generation, judged, lambda: load_encoder(settings), anew=True
            )
        else:
            measurement = _measure_recall(connection, indexes, generation, earlier)
        return _publish(connection, indexes, generation, measurement, reason, compared)


def reference_of(connection: postgres.Connection, identity: str) -> Reference:
    """What the gates compare a generation with: the one that is served now."""
    served = pointer.present_parts(connection).generation_id
    if served is None:
        return Reference()
    measured = read_measurements(connection, served)
    if served == identity:
        return Reference(True, True, measured.published)
    return Reference(True, False, measured.latest or measured.published)


def publishing_gates(
    connection: postgres.Connection,
    identity: str,
    measurement: Measurement | None,
    settings: Settings,
) -> list[Gate]:
    """The gates on a measurement, and on alerts where another generation would be served."""
    reference = reference_of(connection, identity)
    alerts = () if reference.itself else holding_alerts(connection)
    return [*measured_gates(measurement, reference, settings), alerts_gate(alerts)]


def serve(
    connection: postgres.Connection,
    generation: Generation,
    measurement: Measurement,
    gates: Sequence[Gate],
    actor: str,
    reason: str,
) -> bool:
    """Serve a generation that passed its gates, with the fusion it was measured with.

    One that is served already only has its fusion and measurement refreshed; an audit entry `tune`
    tells when the fusion becomes another one by that. Returns whether the pointer moved.
    """
    identity, fusion = generation.generation_id, asdict(measurement.fusion)
    details = {"fusion": fusion, "gates": [asdict(gate) for gate in gates]}
    details |= definition(generation)
    entry = audit.Entry(actor, "publish", subject(identity), reason, details)
    with pointer.turn(connection):
        before = kept_generation(connection, identity)
        record_published(connection, identity, measurement)
        if pointer.present_parts(connection).generation_id != identity:
            pointer.publish(
                connection,
                lambda parts: replace(parts, space_id=generation.space_id, generation_id=identity),
                entry,
            )
            return True
        if before.fusion != measurement.fusion:
            tuned = {**details, "previous_fusion": asdict(before.fusion)}
            audit.append(connection, replace(entry, action="tune", details=tuned))
    return False


def _publish(
    connection: postgres.Connection,
    indexes: Indexes,
    generation: Generation,
    measurement: Measurement,
    reason: str,
    compared: Gate | None = None,
) -> Decision:
    """Serve a generation past its gates; `compared`: that of its indexes, if it was asked."""
    settings, identity = indexes.settings, generation.generation_id
    reference = reference_of(connection, identity)
    gates = publishing_gates(connection, identity, measurement, settings)
    refuse_blocked(gates, f"generation {identity} is not published")
    if not compared and not reference.itself:
        compared = compare_indexes(connection, indexes, generation)
    gates += [compared] if compared else []
    moved = serve(connection, generation, measurement, gates, settings.actor, reason)
    return Decision(True, moved, reason, gates)


def _latest(
    connection: postgres.Connection, generation: Generation, state: str | None = None
) -> Measurement:
    """The last measurement of a generation, of this state if one is given."""
    measurement = read_measurements(connection, generation.generation_id).latest
    if measurement and state in (None, measurement.state):
        return measurement
    problem = "has changed since it was measured" if measurement else "was never measured"
    raise GateError(
        f"generation {generation.generation_id} {problem}, so it is not published",
        where="search",
        do="Materialize `search_evaluation`, or run `ml-assets run` with the settings that describe"
        " the generation",
    )


def _measure_recall(
    connection: postgres.Connection, indexes: Indexes, generation: Generation, earlier: Measurement
) -> Measurement:
    """Measure anew what needs no encoder; what was judged on other documents tells of no index."""
    with indexes.open_all(connection, generation) as opened:
        vectors, seed = vector_indexes(opened), indexes.settings.seed
        report = recall_against_exact(connection, generation, vectors, seed=seed)
        documents = documents_version(connection)
    judged = earlier.judged_recall if earlier.documents == documents else {}
    measurement = replace(earlier, **{**asdict(report), "judged_recall": judged})
    record_measurement(connection, generation.generation_id, measurement)
    return measurement
