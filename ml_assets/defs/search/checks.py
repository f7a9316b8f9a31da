"""Checks of the group `search`."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import dagster as dg

from ml_assets.defs.assets import check, gate_result, problems_result, table, tried_again
from ml_assets.defs.resources import EncoderResource, PostgresResource
from ml_assets.defs.search.assets import current_generation
from ml_assets.errors import OutageError, StoreError
from ml_assets.problem import Problem
from ml_assets.releases import quality as releases
from ml_assets.releases.holds import HOLDS
from ml_assets.releases.pointer import withdrawals
from ml_assets.search.answering.engine import open_engine, search_vector
from ml_assets.search.evaluation.exact import find_probe
from ml_assets.search.evaluation.measurement import read_measurements
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes.consistency import compare_with_tables
from ml_assets.search.indexes.kinds import Indexes, altered_entries
from ml_assets.search.indexes.wear import MAX_DEAD_SHARE, measure_wear
from ml_assets.search.publishing import quality as generations
from ml_assets.search.publishing.gates import same_chunks_gate
from ml_assets.search.publishing.publish import publishing_gates
from ml_assets.settings import Settings

_NOT_WORSE = "hybrid_is_not_worse_than_published"
_GATES = {
    "vector_indexes_agree_with_exact_search": "recall@10 against exact search, of live vectors and"
    " judged queries, has its minimum in the vector index that answers.",
    "indexes_reach_their_chunks": "Each of 200 live chunks is among the first 10 of its own vector,"
    " in the vector index that answers.",
    _NOT_WORSE: "Hybrid nDCG@10 loses to the published generation at most the margin, noise aside."
    " It passes when the queries cannot tell, and what is withdrawn: that is not published anyway.",
    HOLDS: "No critical alert is open that nobody silenced, or the generation is served already.",
}
"""The gates on a measurement, and what each of them asks."""

_COMPARED = dg.AssetCheckSpec(
    "hybrid_is_compared_with_published",
    asset="search_evaluation",
    description="The queries tell whether hybrid loses to the published generation.",
)
_BESIDE = dg.AssetCheckSpec(
    "indexes_beside_are_as_good",
    asset="search_evaluation",
    description="What does not answer searches has its recall and reaches its chunks as well.",
)
"""The warnings of the gates. Automation holds back what follows a blocking check that failed, as a
warning too, so that they have to be checks of their own."""


@check(asset="search_evaluation", blocking=True, pool="chroma")
def indexes_hold_the_live_chunks(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    indexes: dg.ResourceParam[Indexes],
    thorough: dg.ResourceParam[bool],
) -> dg.AssetCheckResult:
    """Each index, asked itself, holds exactly the live chunks, in their present revision.

    A large index is asked for their number, and for the revisions of 10,000; in a run with `--all`,
    or after the stores were changed behind its back, for all that it holds.
    """
    with postgres.connect() as connection:
        generation = current_generation(connection, settings, encoder)
        with indexes.open_all(connection, generation) as opened:
            rows = compare_with_tables(connection, list(opened.values()), whole=thorough)
            problems = [
                problem
                for kind, index in opened.items()
                if thorough
                for problem in Problem.of(f"altered_in_{kind}", altered_entries(connection, index))
            ]
    gate = same_chunks_gate(rows)
    if gate.outcome != "pass":
        problems += Problem.of("indexes_without_the_live_chunks", [gate.message])
    result = problems_result(problems, generation=generation.generation_id)
    return result._replace(metadata={**result.metadata, "indexes": table(rows)})


@check(asset="search_evaluation")
def indexes_are_not_worn(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """Few entries are dead beside the live ones, and the graphs reach their chunks.

    When it fails, automation has the index built anew; so has the next run by hand.
    """
    with postgres.connect() as connection:
        generation = current_generation(connection, settings, encoder)
        latest = read_measurements(connection, generation.generation_id).latest
        wear = measure_wear(connection, generation, latest.reached if latest else {})
    rows = [{**asdict(graph), "worn": graph.is_worn} for graph in wear]
    return dg.AssetCheckResult(
        passed=not any(row["worn"] for row in rows),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"indexes": table(rows), "most_dead_share": MAX_DEAD_SHARE},
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset="search_evaluation", blocking=True, description=asks)
        for name, asks in _GATES.items()
    ]
    + [_COMPARED, _BESIDE]
)
@tried_again
def search_gates(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> Iterator[dg.AssetCheckResult]:
    """The gates of a generation as blocking checks: nothing is published past a failed one."""
    with postgres.connect() as connection:
        identity = current_generation(connection, settings, encoder).generation_id
        measurement = read_measurements(connection, identity).latest
        gates = publishing_gates(connection, identity, measurement, settings)
        withdrawn = identity in withdrawals(connection, "generation_id")
    compared = dg.AssetCheckResult(check_name=_COMPARED.name, passed=True)
    beside = dg.AssetCheckResult(check_name=_BESIDE.name, passed=True)
    for gate in gates:
        spared = withdrawn and gate.name == _NOT_WORSE and gate.outcome == "block"
        if spared or gate.outcome == "cannot tell":
            warning = gate_result(replace(gate, outcome="cannot tell"))
            compared = warning._replace(check_name=_COMPARED.name)
            yield warning._replace(passed=True)
        elif gate.outcome == "warn":
            warning = gate_result(gate)
            beside = warning._replace(check_name=_BESIDE.name)
            yield warning._replace(passed=True)
        else:
            yield gate_result(gate)
    yield compared
    yield beside


@check(asset="search_evaluation", blocking=True)
def releases_are_as_logged(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> dg.AssetCheckResult:
    """Each release is as the audit log tells: its parts, its time, who served it and why.

    So is each generation that was ever served: a rollback would serve it again. Asked before the
    next one is published.
    """
    with postgres.connect() as connection:
        described = current_generation(connection, settings, encoder).generation_id
        problems = releases.unlike_the_log(connection)
        problems += generations.unlike_the_log(connection, described)
    return problems_result(problems)


@check(asset="published_search", blocking=True)
def published_search_answers(
    postgres: PostgresResource, indexes: dg.ResourceParam[Indexes]
) -> dg.AssetCheckResult:
    """A generation is published, and finds a document by its own first words and vector."""
    with postgres.connect() as connection:
        generation = published_generation(connection)
        probe = find_probe(connection, generation) if generation else None
        if generation is None or probe is None:
            reason = "there is no document" if generation else "no generation is published"
            return dg.AssetCheckResult(passed=False, metadata={"reason": reason})
        try:
            with open_engine(connection, indexes, generation) as engine:
                result = search_vector(engine, probe.text, probe.vector)
        except OutageError:
            raise
        except StoreError as error:
            return dg.AssetCheckResult(passed=False, metadata={"reason": str(error)})
    hits = [hit.document_id for hit in result.hits]
    return dg.AssetCheckResult(
        passed=probe.document_id in hits,
        metadata={
            "generation": generation.generation_id,
            "query": probe.text,
            "expected": probe.document_id,
            "hits": hits,
        },
    )
