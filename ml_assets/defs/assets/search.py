"""Assets of the group `search`: the indexes of one generation, its measurements, its publishing."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from typing import Any

import dagster as dg

from ml_assets.defs.automation import ON_NEW_DATA, ON_NEW_DATA_OR_WEAR
from ml_assets.defs.metadata import OWNERS, data_version
from ml_assets.defs.partitions import SINGLE_RUN
from ml_assets.defs.progress import StageProgress
from ml_assets.defs.resources import (
    ChromaResource,
    KeywordIndexResource,
    PostgresResource,
)
from ml_assets.defs.search_metadata import quality_metadata
from ml_assets.defs.search_sync import sync_generations
from ml_assets.documents.sources import open_source
from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.space import current_space
from ml_assets.search.faiss import FaissIndex
from ml_assets.search.generation import (
    ensure_generation,
    index_parameters,
    published_generation,
    record_evaluation,
)
from ml_assets.search.keyword import KeywordIndex
from ml_assets.search.lifecycle import forget_outdated_vectors, generations_to_sync
from ml_assets.search.measure import evaluate_generation, evaluation_state
from ml_assets.search.model import Engine, Generation, VectorIndex
from ml_assets.search.pgvector import PgvectorIndex
from ml_assets.search.publishing import publish_measured
from ml_assets.search.rerank import load_reranker
from ml_assets.search.retention import drop_expired
from ml_assets.settings import Settings
from ml_assets.stores import postgres as store


def current_generation(connection: store.Connection, settings: Settings) -> Generation:
    """The generation that the settings describe; created when it is new."""
    space_id = current_space(settings).space_id
    return ensure_generation(connection, space_id, index_parameters(settings))


@dg.asset(
    group_name="search",
    kinds={"postgres"},
    owners=OWNERS,
    code_version="1",
    deps=["embeddings"],
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_DATA_OR_WEAR,
)
def pgvector_index(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """The index on the vectors of the current space; PostgreSQL keeps it current once built."""
    with postgres.connect() as connection, progress.stage("pgvector index") as step:
        current = current_generation(connection, settings)
        generations = generations_to_sync(connection, current)
        for served in generations[1:]:
            forget_outdated_vectors(connection, served)

        def open_index(generation: Generation) -> AbstractContextManager[PgvectorIndex]:
            limit = settings.build_memory
            return nullcontext(PgvectorIndex(connection, generation, build_memory=limit))

        with open_index(current) as index:
            plan = index.build_plan()
        memory = {"build_bytes_estimated": plan.estimate, "build": plan.said}
        return sync_generations(connection, generations, open_index, step, memory)


@dg.asset(
    group_name="search",
    kinds={"chroma"},
    owners=OWNERS,
    code_version="1",
    deps=["embeddings"],
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_DATA_OR_WEAR,
    pool="chroma",
)
def chroma_index(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    chroma: ChromaResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """The Chroma collection of the generation, equal to the embedded chunks."""
    with postgres.connect() as connection, progress.stage("chroma index") as step:
        current = current_generation(connection, settings)
        generations = generations_to_sync(connection, current)
        return sync_generations(connection, generations, chroma.open_index, step)


@dg.asset(
    group_name="search",
    kinds={"tantivy"},
    owners=OWNERS,
    code_version="1",
    deps=["chunks", "embeddings"],
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_DATA,
    pool="keyword",
)
def keyword_index(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    keyword_index: KeywordIndexResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """The BM25 index of the generation, equal to the embedded chunks."""
    with postgres.connect() as connection, progress.stage("keyword index") as step:
        current = current_generation(connection, settings)
        generations = generations_to_sync(connection, current)
        return sync_generations(connection, generations, keyword_index.open_index, step)


@dg.asset(
    group_name="search",
    kinds={"python"},
    owners=OWNERS,
    code_version="1",
    deps=["pgvector_index", "chroma_index", "keyword_index"],
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_DATA,
    pool="chroma",
)
def search_evaluation(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    chroma: ChromaResource,
    keyword_index: KeywordIndexResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Recall against exact search, and the quality of each method, with intervals."""
    judged = open_source(settings.source, settings).judged_queries()
    with postgres.connect() as connection, progress.stage("search evaluation"):
        current, *served = generations_to_sync(connection, current_generation(connection, settings))
        # What is served is measured on the same documents, if the encoder fits: they are compared.
        for other in served:
            if other.space_id == current.space_id:
                with _engine(connection, settings, other, chroma, keyword_index) as opened:
                    _measure(*opened, judged, settings)
        with _engine(connection, settings, current, chroma, keyword_index) as opened:
            evaluation, fresh = _measure(*opened, judged, settings)
    return _evaluated(current, evaluation, judged, "yes" if fresh else "no: nothing changed since")


@dg.asset(
    group_name="search",
    kinds={"postgres"},
    owners=OWNERS,
    code_version="1",
    deps=["search_evaluation"],
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_DATA,
    pool="chroma",
)
def published_search(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
) -> dg.MaterializeResult:
    """The pointer to the generation that is served; moved only past the gates.

    A generation that a person rolled back from is left to a person. What was retired for its time
    is dropped.
    """
    with postgres.connect() as connection:
        identity = current_generation(connection, settings).generation_id
        reason = f"run {context.run.run_id}"
        decision = publish_measured(connection, settings, identity, reason)
        generation = decision.generation
        dropped, waiting = drop_expired(connection, settings, generation)
        served = published_generation(connection)
    serves = served.generation_id if served else None
    return dg.MaterializeResult(
        metadata={
            "generation": serves or "none",
            "vector_space": served.space_id if served else "none",
            "pointer_moved": decision.moved,
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


def _measure(
    engine: Engine,
    vectors: Mapping[str, VectorIndex],
    judged: JudgedQueries | None,
    settings: Settings,
) -> tuple[Mapping[str, Any], bool]:
    """Measure a generation and keep the result, unless it was measured on the same state."""
    connection, generation = engine.connection, engine.generation
    indexes = [*vectors.values(), engine.keyword]
    versions = {str(index.kind): index.version(connection) for index in indexes}
    state = evaluation_state(generation, versions, judged, settings)
    if generation.measured and generation.measured.get("state") == state:
        return generation.measured, False
    evaluation = evaluate_generation(
        engine, vectors, judged, lambda: load_encoder(settings), settings, state=state
    )
    record_evaluation(connection, generation.generation_id, evaluation)
    return evaluation, True


@contextmanager
def open_indexes(
    connection: store.Connection,
    settings: Settings,
    generation: Generation,
    chroma: ChromaResource,
    keyword_index: KeywordIndexResource,
) -> Iterator[tuple[Mapping[str, VectorIndex], KeywordIndex]]:
    """All indexes of a generation: those of vectors by their kinds, and that of words."""
    with ExitStack() as stack:
        vectors: dict[str, VectorIndex] = {
            "pgvector": PgvectorIndex(connection, generation),
            "chroma": stack.enter_context(chroma.open_index(generation)),
        }
        if "faiss" in generation.parameters:
            faiss = FaissIndex(settings.faiss_folder, connection, generation)
            vectors["faiss"] = stack.enter_context(closing(faiss))
        yield vectors, stack.enter_context(keyword_index.open_index(generation))


@contextmanager
def _engine(
    connection: store.Connection,
    settings: Settings,
    generation: Generation,
    chroma: ChromaResource,
    keyword_index: KeywordIndexResource,
) -> Iterator[tuple[Engine, Mapping[str, VectorIndex]]]:
    """An engine as it is served, and all vector indexes of its generation."""
    with open_indexes(connection, settings, generation, chroma, keyword_index) as opened:
        vectors, keyword = opened
        engine = Engine(
            connection,
            generation,
            vectors.get(settings.vector_index.partition("-")[0], vectors["pgvector"]),
            keyword,
            reranker=load_reranker(settings),
            rerank_top=settings.rerank_top,
        )
        yield engine, vectors


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
