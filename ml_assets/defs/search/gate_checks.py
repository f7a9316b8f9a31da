"""The gates of a generation as blocking checks: nothing is published past a failed one."""

import dagster as dg

from ml_assets.defs.resources import EncoderResource, PostgresResource
from ml_assets.defs.search.assets import current_generation
from ml_assets.releases.gates import Gate
from ml_assets.releases.pointer import withdrawals
from ml_assets.search.evaluation.measurement import Measurement, read_measurements
from ml_assets.search.publishing.gates import ndcg_gate, reach_gate, recall_gate
from ml_assets.search.publishing.publish import reference_of
from ml_assets.settings import Settings


@dg.asset_check(asset="search_evaluation", blocking=True)
def vector_indexes_agree_with_exact_search(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """recall@10 against exact search, of live vectors and judged queries, has its minimum."""
    measurement = _measured(postgres, settings, encoder)
    return _result(recall_gate(measurement, settings.min_recall, settings.recall_minima))


@dg.asset_check(asset="search_evaluation", blocking=True)
def indexes_reach_their_chunks(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """Each of 200 live chunks is among the first 10 of its own vector, in each vector index."""
    return _result(reach_gate(_measured(postgres, settings, encoder)))


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
        identity = current_generation(connection, settings, encoder.space).generation_id
        measurement = read_measurements(connection, identity).latest
        reference = reference_of(connection, identity)
        withdrawn = identity in withdrawals(connection, "generation_id")
    gate = ndcg_gate(measurement, reference, settings.ndcg_margin, settings.seed)
    return _result(gate, blocks=not withdrawn)


def _measured(
    postgres: PostgresResource, settings: Settings, encoder: EncoderResource
) -> Measurement | None:
    """The last measurement of the generation that the settings describe."""
    with postgres.connect() as connection:
        identity = current_generation(connection, settings, encoder.space).generation_id
        return read_measurements(connection, identity).latest


def _result(gate: Gate, *, blocks: bool = True) -> dg.AssetCheckResult:
    error = blocks and gate.outcome == "block"
    return dg.AssetCheckResult(
        passed=gate.outcome == "pass",
        severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
        metadata={"message": gate.message, **gate.numbers, **({"do": gate.do} if error else {})},
    )
