"""Assets of the group `search`: the indexes of one generation, its measurements, its publishing."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from ml_assets.defs.assets import DAILY, asset, audit_head, data_version, gate_table
from ml_assets.defs.automation import ON_NEW_DATA, ON_NEW_DATA_OR_WEAR
from ml_assets.defs.resources import EncoderResource, OpenSource, PostgresResource
from ml_assets.defs.search.metadata import quality_metadata
from ml_assets.embeddings.refresh import forget_outdated_vectors, restore_space
from ml_assets.errors import DamagedStoreError
from ml_assets.progress import Progress, StageProgress
from ml_assets.search.evaluation.measurement import read_measurements
from ml_assets.search.evaluation.measuring import measure_generation
from ml_assets.search.generation import ensure_generation, published_generation
from ml_assets.search.indexes.contract import IndexKind
from ml_assets.search.indexes.kinds import (
    KINDS,
    Indexes,
    generation_parameters,
    sync_index,
    touch_index,
)
from ml_assets.search.indexes.wear import rebuild_if_worn
from ml_assets.search.model import Generation
from ml_assets.search.publishing.lifecycle import drop_expired, generations_to_sync
from ml_assets.search.publishing.publish import publish_measured
from ml_assets.settings import Settings
from ml_assets.stores import postgres as store


def current_generation(
    connection: store.Connection, settings: Settings, encoder: EncoderResource
) -> Generation:
    """The generation that the settings describe; created when it is new."""
    parameters, space = generation_parameters(settings, encoder.chunker()), encoder.space()
    restore_space(connection, space)
    return ensure_generation(connection, space.space_id, parameters)


def _index_asset(kind: IndexKind) -> dg.AssetsDefinition:
    @asset(
        name=f"{kind.name}_index",
        description=kind.description,
        kinds={kind.technology},
        deps=["chunks", "embeddings"] if kind.answers == "text" else ["embeddings"],
        automation_condition=ON_NEW_DATA_OR_WEAR if kind.is_graph else ON_NEW_DATA,
        pool=kind.pool,
    )
    def index(
        settings: dg.ResourceParam[Settings],
        encoder: dg.ResourceParam[EncoderResource],
        postgres: PostgresResource,
        indexes: dg.ResourceParam[Indexes],
        progress: dg.ResourceParam[StageProgress],
    ) -> dg.MaterializeResult:
        with postgres.connect() as connection, progress(f"{kind.name} index") as step:
            current = current_generation(connection, settings, encoder)
            generations = generations_to_sync(connection, current)
            try:
                return _sync(connection, indexes, generations, kind.name, step)
            except DamagedStoreError as damaged:
                shutil.rmtree(damaged.path)  # all of it is made from the tables, at the next try
                raise

    return index


INDEX_ASSETS = [_index_asset(kind) for kind in KINDS.values()]
"""The asset of every kind of index, chosen by the settings or not."""


@asset(kinds={"python"}, deps=INDEX_ASSETS, automation_condition=ON_NEW_DATA, pool="chroma")
def search_evaluation(
    settings: dg.ResourceParam[Settings],
    source: dg.ResourceParam[OpenSource],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    indexes: dg.ResourceParam[Indexes],
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Recall against exact search, and the quality of each method, with intervals."""
    judged = source().judged_queries()
    with postgres.connect() as connection, progress("search evaluation"):
        current = current_generation(connection, settings, encoder)
        measurement, fresh = measure_generation(connection, indexes, current, judged, encoder.load)
    recall = {
        f"{name}_{index}": value
        for name in ("recall", "judged_recall", "reached")
        for index, value in getattr(measurement, name).items()
    }
    return dg.MaterializeResult(
        metadata={
            "generation": current.generation_id,
            "measured": "yes" if fresh else "no: nothing changed since",
            **recall,
            "sampled_vectors": measurement.sampled,
            "judged_queries": measurement.judged_queries,
            "judged_documents_missing": measurement.missing_documents,
            "fusion": dg.MetadataValue.json(asdict(measurement.fusion)),
            "tuning": dg.MetadataValue.json(asdict(measurement.tuning)),
            **quality_metadata(measurement.quality, judged or ()),
            "seconds": measurement.seconds,
        },
        data_version=data_version(current.generation_id, measurement.state),
    )


@asset(
    kinds={"postgres"},
    deps=["search_evaluation"],
    freshness_policy=DAILY,
    automation_condition=ON_NEW_DATA,
    pool="chroma",
)
def published_search(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    source: dg.ResourceParam[OpenSource],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    indexes: dg.ResourceParam[Indexes],
) -> dg.MaterializeResult:
    """The pointer to the generation that is served; moved only past the gates.

    A generation that a person rolled back from is left to a person. What was retired for its time
    is dropped.
    """
    judged = source().judged_queries()
    reason = f"run {context.run.run_id}"
    with postgres.connect() as connection:
        current = current_generation(connection, settings, encoder)
        decision = publish_measured(connection, indexes, current.generation_id, judged, reason)
        dropped, waiting = drop_expired(connection, indexes, current)
        served = published_generation(connection)
        latest = read_measurements(connection, current.generation_id).latest
        head = audit_head(connection)
    serves = served.generation_id if served else None
    return dg.MaterializeResult(
        metadata={
            "generation": serves or "none",
            "vector_space": served.space_id if served else "none",
            "pointer_moved": decision.changed,
            "gates": gate_table(decision.gates),
            **({} if decision.served else {"withdrawn": decision.reason}),
            **({"dropped": ", ".join(dropped)} if dropped else {}),
            **({"drop_waits_for_a_reader": ", ".join(waiting)} if waiting else {}),
            **head,
        },
        data_version=data_version(serves, latest.state if latest else None),
    )


def _sync(
    connection: store.Connection,
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
    shown: dict[str, Any] = {}
    versions = []
    for generation in generations:
        if kind not in generation.parameters:
            continue
        identity = generation.generation_id
        latest = read_measurements(connection, identity).latest
        with indexes.open(connection, generation, kind) as index:
            touch_index(index)
            report = sync_index(connection, index, step)
            rebuilt = rebuild_if_worn(connection, index, latest.reached if latest else {})
        numbers = {
            "generation": identity,
            **asdict(report.delta),
            "chunks": report.size,
            "seconds": round(report.seconds, 3),
        }
        if generation == generations[0]:
            did = "wrote the difference" if report.delta.touched else "nothing: it was current"
            size = {} if report.bytes is None else {"bytes": report.bytes}
            shown |= {**numbers, "did": did, **size, **report.details}
        else:
            shown |= {f"served_{name}": value for name, value in numbers.items()}
        if rebuilt:
            shown[f"maintenance_{identity}"] = rebuilt
        versions.append((identity, report.version))
    return dg.MaterializeResult(
        metadata=shown, data_version=data_version(*versions[0], *versions[1:])
    )
