"""Assets of the group `search`: the indexes of one generation, its measurements, its publishing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from ml_assets.defs.assets import asset
from ml_assets.defs.automation import ON_NEW_DATA, ON_NEW_DATA_OR_WEAR
from ml_assets.defs.metadata import data_version, table
from ml_assets.defs.resources import EncoderResource, PostgresResource, SourceResource
from ml_assets.defs.search.metadata import quality_metadata
from ml_assets.defs.search.sync import sync_generations
from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.embeddings.space import VectorSpace
from ml_assets.progress import StageProgress
from ml_assets.search.evaluation.measurement import measure_generation
from ml_assets.search.generation import ensure_generation, published_generation
from ml_assets.search.indexes.contract import IndexKind
from ml_assets.search.indexes.kinds import KINDS, index_parameters
from ml_assets.search.indexes.opening import Indexes
from ml_assets.search.model import Generation
from ml_assets.search.publishing.lifecycle import generations_to_sync
from ml_assets.search.publishing.publish import publish_measured
from ml_assets.search.publishing.retention import drop_expired
from ml_assets.settings import Settings
from ml_assets.stores import postgres as store


def current_generation(
    connection: store.Connection, settings: Settings, space: VectorSpace
) -> Generation:
    """The generation of the space that the settings describe; created when it is new."""
    return ensure_generation(connection, space.space_id, index_parameters(settings))


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
        with postgres.connect() as connection, progress.stage(f"{kind.name} index") as step:
            current = current_generation(connection, settings, encoder.space)
            generations = generations_to_sync(connection, current)
            return sync_generations(connection, indexes, generations, kind.name, step)

    return index


INDEX_ASSETS = [_index_asset(kind) for kind in KINDS.values()]
"""The asset of every kind of index, chosen by the settings or not."""


@asset(
    kinds={"python"},
    deps=INDEX_ASSETS,
    automation_condition=ON_NEW_DATA,
    pool="chroma",
)
def search_evaluation(
    settings: dg.ResourceParam[Settings],
    source: dg.ResourceParam[SourceResource],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    indexes: dg.ResourceParam[Indexes],
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Recall against exact search, and the quality of each method, with intervals."""
    judged = source.open().judged_queries()
    with postgres.connect() as connection, progress.stage("search evaluation"):
        current, *served = generations_to_sync(
            connection, current_generation(connection, settings, encoder.space)
        )
        # What is served is measured on the same documents, if the encoder fits: they are compared.
        for other in served:
            if other.space_id == current.space_id:
                measure_generation(connection, indexes, other, judged, encoder.load)
        evaluation, fresh = measure_generation(connection, indexes, current, judged, encoder.load)
    return _evaluated(current, evaluation, judged, "yes" if fresh else "no: nothing changed since")


@asset(
    kinds={"postgres"},
    deps=["search_evaluation"],
    automation_condition=ON_NEW_DATA,
    pool="chroma",
)
def published_search(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    source: dg.ResourceParam[SourceResource],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.MaterializeResult:
    """The pointer to the generation that is served; moved only past the gates.

    A generation that a person rolled back from is left to a person. What was retired for its time
    is dropped.
    """
    judged = source.open().judged_queries()
    reason = f"run {context.run.run_id}"
    with postgres.connect() as connection:
        identity = current_generation(connection, settings, encoder.space).generation_id
        decision = publish_measured(connection, settings, identity, judged, reason)
        generation = decision.generation
        dropped, waiting = drop_expired(connection, settings, generation)
        served = published_generation(connection)
    serves = served.generation_id if served else None
    return dg.MaterializeResult(
        metadata={
            "generation": serves or "none",
            "vector_space": served.space_id if served else "none",
            "pointer_moved": decision.moved,
            "gates": table([{**asdict(gate), "figures": gate.numbers} for gate in decision.gates]),
            **_withdrawn(generation),
            **({"dropped": ", ".join(dropped)} if dropped else {}),
            **({"drop_waits_for_a_reader": ", ".join(waiting)} if waiting else {}),
        },
        data_version=data_version(serves, (generation.measured or {}).get("state")),
    )


def _withdrawn(generation: Generation) -> dict[str, str]:
    if not generation.withdrawn:
        return {}
    said = (
        f"{generation.generation_id} by {generation.withdrawn['actor']}:"
        f" {generation.withdrawn['reason']}; `ml-assets publish` would serve it again"
    )
    return {"withdrawn": said}


def _evaluated(
    generation: Generation,
    evaluation: Mapping[str, Any],
    judged: JudgedQueries | None,
    measured: str,
) -> dg.MaterializeResult:
    recall = {
        f"{what}_{name}": value
        for what in ("recall", "judged_recall", "reached")
        for name, value in evaluation[what].items()
    }
    quality = quality_metadata(evaluation, judged or ()) if evaluation["methods"] else {}
    return dg.MaterializeResult(
        metadata={
            "generation": generation.generation_id,
            "measured": measured,
            **recall,
            "sampled_vectors": evaluation["sampled"],
            "judged_queries": evaluation["judged_queries"],
            "judged_documents_missing": evaluation["missing_documents"],
            "fusion": dg.MetadataValue.json(dict(evaluation["fusion"])),
            "tuning": dg.MetadataValue.json(dict(evaluation["tuning"])),
            **quality,
            "seconds": evaluation["seconds"],
        },
        data_version=data_version(generation.generation_id, evaluation["state"]),
    )
