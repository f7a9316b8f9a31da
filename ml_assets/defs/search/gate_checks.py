"""The gates of a generation as blocking checks: nothing is published past a failed one."""

import dagster as dg

from ml_assets.defs.resources import EncoderResource, PostgresResource
from ml_assets.defs.search.assets import current_generation
from ml_assets.search.generation import published_generation
from ml_assets.search.publishing.gates import Gate, ndcg_gate, reach_gate, recall_gate
from ml_assets.settings import Settings


@dg.asset_check(asset="search_evaluation", blocking=True)
def vector_indexes_agree_with_exact_search(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """recall@10 against exact search, of live vectors and judged queries, has its minimum."""
    with postgres.connect() as connection:
        measured = current_generation(connection, settings, encoder.space).measured or {}
    return _result(recall_gate(measured, settings.min_recall, settings.recall_minima))


@dg.asset_check(asset="search_evaluation", blocking=True)
def indexes_reach_their_chunks(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """Each of 200 live chunks is among the first 10 of its own vector, in each vector index."""
    with postgres.connect() as connection:
        measured = current_generation(connection, settings, encoder.space).measured or {}
    return _result(reach_gate(measured))


@dg.asset_check(asset="search_evaluation", blocking=True)
def hybrid_is_not_worse_than_published(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """Hybrid nDCG@10 loses to the published generation at most the margin, noise aside.

    What the queries cannot tell fails as a warning, which does not block; so does what is withdrawn
    and will not be published anyway.
    """
    with postgres.connect() as connection:
        current = current_generation(connection, settings, encoder.space)
        published = published_generation(connection)
    gate = ndcg_gate(current, published, settings.ndcg_margin, settings.seed)
    return _result(gate, blocks=not current.withdrawn)


def _result(gate: Gate, *, blocks: bool = True) -> dg.AssetCheckResult:
    error = blocks and gate.outcome == "blocked"
    return dg.AssetCheckResult(
        passed=gate.outcome == "passed",
        severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
        metadata={"said": gate.said, **gate.figures},
    )
