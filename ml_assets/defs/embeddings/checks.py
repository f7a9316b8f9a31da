"""Checks of the group `embeddings`."""

import dagster as dg

from ml_assets.defs.assets import check, problems_result
from ml_assets.defs.resources import EncoderResource, PostgresResource
from ml_assets.embeddings.quality import (
    NORM_TOLERANCE,
    altered_vectors,
    measure_fidelity,
    measure_norms,
    unmatched,
)
from ml_assets.embeddings.runtimes.speed import MIN_COSINE


@check(asset="embeddings", blocking=True)
def every_chunk_has_one_vector(
    encoder: dg.ResourceParam[EncoderResource], postgres: PostgresResource
) -> dg.AssetCheckResult:
    """Every live chunk has exactly one vector of its present text."""
    with postgres.connect() as connection:
        problems = unmatched(connection, encoder.space())
    return problems_result(problems, vector_space=encoder.space().space_id)


@check(asset="embeddings", blocking=True)
def vectors_are_as_they_were_encoded(
    encoder: dg.ResourceParam[EncoderResource], postgres: PostgresResource
) -> dg.AssetCheckResult:
    """No vector was changed by another hand, and each has the dimension of its space."""
    with postgres.connect() as connection:
        return problems_result(altered_vectors(connection, encoder.space()))


@check(asset="embeddings", blocking=True)
def vectors_have_unit_norm(
    encoder: dg.ResourceParam[EncoderResource], postgres: PostgresResource
) -> dg.AssetCheckResult:
    """Every vector has norm 1 within 1e-3."""
    with postgres.connect() as connection:
        smallest, largest = measure_norms(connection, encoder.space())
    return dg.AssetCheckResult(
        passed=smallest >= 1 - NORM_TOLERANCE and largest <= 1 + NORM_TOLERANCE,
        metadata={"smallest": smallest, "largest": largest, "tolerance": NORM_TOLERANCE},
    )


@check(asset="embeddings", blocking=True)
def vectors_agree_with_float32(
    encoder: dg.ResourceParam[EncoderResource], postgres: PostgresResource
) -> dg.AssetCheckResult:
    """Sampled texts, encoded again in float32, have a cosine of 0.9995 or more to their vectors."""
    with postgres.connect() as connection:
        fidelity = measure_fidelity(connection, encoder.space(), encoder.load_float32)
    return dg.AssetCheckResult(
        passed=fidelity.worst_cosine >= MIN_COSINE,
        metadata={
            "worst_cosine": fidelity.worst_cosine,
            "chunk": fidelity.worst_chunk or "none",
            "sampled": fidelity.sampled,
            "at_least": MIN_COSINE,
        },
    )
