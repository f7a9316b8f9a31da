"""Measuring a generation: on which state, and whether it must be measured again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ml_assets.documents.collections import documents_version
from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.embeddings.scripts import is_readable
from ml_assets.search.answering.model import Engine
from ml_assets.search.answering.rerank import load_reranker
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.evaluation.judged import (
    Answer,
    half_of,
    measure_methods,
    present_documents,
    query_judged,
    search_seconds,
)
from ml_assets.search.evaluation.measurement import (
    VERSION,
    Measurement,
    Tuned,
    keep_measurement,
    read_measurements,
    record_measurement,
)
from ml_assets.search.evaluation.metrics import K
from ml_assets.search.evaluation.tuning import TUNING_VERSION, candidates, tune
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes.contract import VectorIndex
from ml_assets.search.indexes.kinds import (
    Indexes,
    follow_index,
    index_versions,
    text_index,
    vector_indexes,
)
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

_DECIDES = {"vector_index", "fusion", "feedback", "rerank_model", "rerank_top", "seed"}


def present_state(
    connection: postgres.Connection,
    generation: Generation,
    judged: JudgedQueries | None,
    settings: Settings,
) -> str:
    """A hash over all that a measurement depends on now: same state, same result.

    But for the fusion, which an earlier measurement may have chosen. No model is loaded, no index
    opened.
    """
    versions = sorted(index_versions(connection, generation).items())
    chosen = sorted(settings.model_dump(include=_DECIDES).items())
    parts = (VERSION, generation.generation_id, versions, judged, chosen)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def measure_generation(
    connection: postgres.Connection,
    indexes: Indexes,
    generation: Generation,
    judged: JudgedQueries | None,
    load: Callable[[], Encoder],
    *,
    anew: bool = False,
) -> tuple[Measurement, bool]:
    """Measure a generation and keep the result, unless it was measured on the same state.

    What is served is measured before it on the same documents, if the encoder fits that too: the
    two are compared. `anew` asks for it all the same. Returns the measurement, and whether it is a
    new one.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    served = published_generation(connection)
    is_other = served and served.generation_id != generation.generation_id
    if served and is_other and served.space_id == generation.space_id:
        measure_generation(connection, indexes, served, judged, load)
    settings = indexes.settings
    state = present_state(connection, generation, judged, settings)
    latest = read_measurements(connection, generation.generation_id).latest
    if latest and latest.state == state and not anew:
        return latest, False
    with indexes.open_all(connection, generation) as opened:
        for index in opened.values():
            follow_index(connection, index)  # another host may have synced them
        vectors = vector_indexes(opened)
        engine = Engine(
            connection,
            generation,
            vectors[indexes.answering(generation)[0]],
            text_index(opened),
            reranker=load_reranker(settings),
            rerank_top=settings.rerank_top,
            reads=partial(is_readable, settings=settings),
        )
        measurement = evaluate_generation(engine, vectors, judged, load, settings, state=state)
        fused = replace(engine, fusion=measurement.fusion)
        seconds = search_seconds(fused, judged, load) if judged else []
    with connection.transaction():
        record_measurement(connection, generation.generation_id, measurement)
        keep_measurement(connection, generation.generation_id, measurement, seconds)
    return measurement, True


def evaluate_generation(
    engine: Engine,
    vector_indexes: Mapping[str, VectorIndex],
    judged: JudgedQueries | None,
    load: Callable[[], Encoder],
    settings: Settings,
    *,
    state: str,
) -> Measurement:
    """Measure recall against exact search, and every method on the judged queries.

    `load` is called only when there are judged queries.

    The fusion is frozen: the one that the generation was measured or published with is kept, with
    its numbers of then, as long as the basis is the same: a hash over the tuning queries, those of
    their answers that the corpus has, and the settings. A corpus that had none of the answers yet,
    or a part, is tuned on again when they come; other documents do not matter.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    started = time.perf_counter()
    answers = query_judged(engine, judged, load, settings.feedback) if judged else []
    present = present_documents(engine.connection, answers)
    tuning, reporting = half_of(answers, "tuning"), half_of(answers, "reporting")
    basis = _tuning_basis(tuning, present, settings)
    tuned = _choose_fusion(engine, tuning, basis, settings)
    recall = recall_against_exact(
        engine.connection,
        engine.generation,
        vector_indexes,
        np.array([answer.vector for answer in answers]) if answers else None,
        k=K,
        seed=settings.seed,
    )
    halves = {"tuning": tuning, "reporting": reporting}
    return Measurement(
        state=state,
        **asdict(recall),
        documents=documents_version(engine.connection),
        tuning=tuned,
        tuning_basis=basis,
        quality=measure_methods(replace(engine, fusion=tuned.fusion), halves, settings.seed),
        judged_queries=len(answers),
        missing_documents=len({d for answer in answers for d in answer.query.relevant} - present),
        seconds=round(time.perf_counter() - started, 3),
    )


def _tuning_basis(tuning: Sequence[Answer], present: Collection[str], settings: Settings) -> str:
    queries = [
        (query.query_id, query.text, sorted(i for i in query.relevant.items() if i[0] in present))
        for query in (answer.query for answer in tuning)
    ]
    parts = (TUNING_VERSION, settings.fusion, settings.feedback, queries)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _choose_fusion(
    engine: Engine, tuning: Sequence[Answer], basis: str, settings: Settings
) -> Tuned:
    """The fusion that was chosen before on the same basis, or the one that is chosen now."""
    earlier = read_measurements(engine.connection, engine.generation.generation_id)
    for measurement in (earlier.latest, earlier.published):
        if measurement and measurement.tuning_basis == basis:
            return measurement.tuning
    queries = [(answer.scores, answer.query.relevant) for answer in tuning]
    return tune(queries, candidates(settings.fusion, settings.feedback))
