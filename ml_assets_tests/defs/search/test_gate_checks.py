"""The gates as checks: what they read, and what blocks."""

from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.search.assets import current_generation
from ml_assets.defs.search.gate_checks import (
    hybrid_is_not_worse_than_published,
    indexes_reach_their_chunks,
    vector_indexes_agree_with_exact_search,
)
from ml_assets.embeddings.refresh import ensure_space
from ml_assets.search.generation import publish, record_evaluation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.search.corpus import generation_of

Stores = dict[str, Any]


@pytest.fixture
def stores(
    resources: dict[str, object],
    connection: postgres.Connection,
    settings: Settings,
) -> Stores:
    """The resources of the checks, with a current generation that was not measured yet."""
    ensure_space(connection, SPACE)
    current_generation(connection, settings, SPACE)
    return {name: resources[name] for name in ("settings", "encoder", "postgres")}


def measured(connection: postgres.Connection, settings: Settings, **figures: Any) -> None:
    record_evaluation(
        connection, current_generation(connection, settings, SPACE).generation_id, figures
    )


@pytest.mark.parametrize(
    ("evaluation", "passed"),
    [
        ({"recall": {"pgvector": 1.0, "chroma": 0.95}}, True),
        ({"recall": {"pgvector": 1.0, "chroma": 0.949}}, False),
        ({"recall": {"chroma": 1.0}, "judged_recall": {"chroma": 0.8}}, False),
        ({}, False),
    ],
)
def test_recall_is_held_against_the_minimum(
    connection: postgres.Connection,
    settings: Settings,
    stores: Stores,
    evaluation: dict[str, Any],
    passed: bool,
) -> None:
    measured(connection, settings, **evaluation)
    result = vector_indexes_agree_with_exact_search(**stores)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed == passed
    assert result.metadata["minimum"].value == 0.95
    assert passed or result.severity == dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize(("reached", "passed"), [(0.95, True), (0.94, False)])
def test_chunks_that_cannot_be_reached_block(
    connection: postgres.Connection,
    settings: Settings,
    stores: Stores,
    reached: float,
    passed: bool,
) -> None:
    measured(connection, settings, reached={"pgvector": reached}, sampled=200)
    result = indexes_reach_their_chunks(**stores)
    assert result.passed == passed
    assert passed or result.severity == dg.AssetCheckSeverity.ERROR


def by_query(*values: float) -> dict[str, Any]:
    return {"hybrid": {str(number): value for number, value in enumerate(values)}}


@pytest.mark.parametrize(
    ("ndcg", "passed", "blocks"),
    [
        ([0.5] * 40, True, False),
        ([0.4] * 40, False, True),
        ([0.0, 0.9] * 20, False, False),
    ],
)
def test_a_worse_search_blocks_and_an_unclear_one_warns(
    connection: postgres.Connection,
    settings: Settings,
    stores: Stores,
    ndcg: list[float],
    passed: bool,
    blocks: bool,
) -> None:
    old = generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))
    publish(connection, old.generation_id, {"ndcg": by_query(*[0.5] * 40)}, "ann", "first")
    measured(connection, settings, ndcg=by_query(*ndcg))
    result = hybrid_is_not_worse_than_published(**stores)
    assert result.passed == passed
    assert (result.severity == dg.AssetCheckSeverity.ERROR) == blocks
    connection.execute("update search_generations set withdrawn = '{}' where state = 'building'")
    withdrawn = hybrid_is_not_worse_than_published(**stores)
    assert withdrawn.passed == passed
