"""Measuring a generation: what was measured, on which state, and whether it must be again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.search.evaluation import K
from ml_assets.search.exact import recall_against_exact
from ml_assets.search.judged_filters import fields_of, measure_filters
from ml_assets.search.judging import ask_all, half_of, measure_methods
from ml_assets.search.model import Engine, Generation, VectorIndex
from ml_assets.search.tuning import candidates, tune
from ml_assets.settings import Settings

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

VERSION = 4
"""Raise it when the measuring changes, so that generations are measured again."""

_DECIDES = {"vector_index", "fusion", "feedback", "rerank_model", "rerank_top", "seed"}


def evaluation_state(
    generation: Generation,
    versions: Mapping[str, str],
    judged: JudgedQueries | None,
    settings: Settings,
) -> str:
    """A hash over all that the measurements depend on: same state, same result.

    `versions` are the content versions of the indexes (`SyncReport.version`).
    """
    chosen = sorted(settings.model_dump(include=_DECIDES).items())
    parts = (VERSION, generation.generation_id, sorted(versions.items()), judged, chosen)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def evaluate_generation(
    engine: Engine,
    vector_indexes: Mapping[str, VectorIndex],
    judged: JudgedQueries | None,
    load: Callable[[], Encoder],
    settings: Settings,
    *,
    state: str,
) -> dict[str, Any]:
    """Measure recall against exact search, and every method on the judged queries.

    `load` is called only when there are judged queries. The result is JSON: `state`, `recall` by
    index on `sampled` live vectors, `judged_recall` likewise on judged queries, the part of those
    vectors that is `reached` by itself, the `fusion` to serve and how it was chosen (`tuning`),
    `judged_queries`, `missing_documents` (judged, but not in the corpus), `k`, `seconds`, and what
    `measure_methods` and `measure_filters` say.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    started = time.perf_counter()
    asked = ask_all(engine, judged, load, settings.feedback) if judged else []
    tuning, reporting = half_of(asked, "tuning"), half_of(asked, "reporting")
    tuned = tune(
        [(one.found, one.query.relevant) for one in tuning],
        candidates(settings.fusion, settings.feedback),
    )
    served = replace(engine, fusion=tuned.fusion)
    fields = fields_of(engine.connection, asked)
    recall = recall_against_exact(
        engine.connection,
        engine.generation,
        vector_indexes,
        np.array([one.vector for one in asked]) if asked else None,
        k=K,
        seed=settings.seed,
    )
    return {
        "state": state,
        "k": K,
        "recall": recall.recall,
        "sampled": recall.sampled,
        "reached": recall.reached,
        "judged_recall": recall.judged_recall,
        "fusion": asdict(tuned.fusion),
        "tuning": asdict(tuned),
        **measure_methods(served, {"tuning": tuning, "reporting": reporting}, settings.seed),
        **measure_filters(served, reporting, fields, settings.seed),
        "judged_queries": len(asked),
        "missing_documents": len(
            {name for one in asked for name in one.query.relevant} - set(fields)
        ),
        "seconds": round(time.perf_counter() - started, 3),
    }
