"""The gates as checks: what they read, and what blocks."""

from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.search.assets import current_generation
from ml_assets.defs.search.checks import search_gates
from ml_assets.search.evaluation.measurement import record_measurement
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder, ensure_partitions
from ml_assets_tests.graph import by_hand
from ml_assets_tests.monitoring.alerting.examples import critical_alert
from ml_assets_tests.search.corpus import generation_of
from ml_assets_tests.search.measurements import measurement, publish, withdraw

Stores = dict[str, Any]


@pytest.fixture
def stores(
    resources: dict[str, object],
    connection: postgres.Connection,
    settings: Settings,
) -> Stores:
    """The resources of the checks, with a current generation that was not measured yet."""
    ensure_partitions(connection)
    current(connection, settings)
    own = {name: resources[name] for name in ("settings", "postgres")}
    return {**own, "encoder": by_hand(settings, HashEncoder())}


def check(name: str, stores: Stores) -> dg.AssetCheckResult:
    """The result of one gate; there is one of each."""
    results = list(search_gates(**stores))
    (result,) = (result for result in results if result.check_name == name)
    assert {result.check_name for result in results} == {
        key.name for key in search_gates.check_keys
    }
    assert isinstance(result, dg.AssetCheckResult)
    return result


def current(connection: postgres.Connection, settings: Settings) -> str:
    encoder = by_hand(settings, HashEncoder())
    return current_generation(connection, settings, encoder).generation_id


def measured(connection: postgres.Connection, settings: Settings, **changed: Any) -> None:
    identity = current(connection, settings)
    record_measurement(connection, identity, measurement(**changed))


@pytest.mark.parametrize(
    ("changed", "passed"),
    [
        ({"recall": {"pgvector": 0.95, "chroma": 1.0}}, True),
        ({"recall": {"pgvector": 0.949, "chroma": 1.0}}, False),
        ({"recall": {"pgvector": 1.0}, "judged_recall": {"pgvector": 0.8}}, False),
        (None, False),
    ],
)
def test_recall_is_compared_with_the_minimum(
    connection: postgres.Connection,
    settings: Settings,
    stores: Stores,
    changed: dict[str, Any] | None,
    passed: bool,
) -> None:
    if changed is not None:
        measured(connection, settings, **changed)
    result = check("vector_indexes_agree_with_exact_search", stores)
    assert result.passed == passed
    assert result.metadata["minimum"].value == 0.95
    assert passed or result.severity == dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize("changed", ["recall", "reached"])
def test_an_index_that_does_not_answer_warns(
    connection: postgres.Connection, settings: Settings, stores: Stores, changed: str
) -> None:
    measured(connection, settings)
    assert check("indexes_beside_are_as_good", stores).passed
    measured(connection, settings, **{changed: {"pgvector": 1.0, "chroma": 0.9}})
    for name in ("vector_indexes_agree_with_exact_search", "indexes_reach_their_chunks"):
        assert check(name, stores).passed
    warning = check("indexes_beside_are_as_good", stores)
    assert (warning.passed, warning.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "ML_ASSETS_VECTOR_INDEX" in str(warning.metadata["do"].value)


def test_an_open_critical_alert_blocks(
    connection: postgres.Connection, settings: Settings, stores: Stores
) -> None:
    measured(connection, settings)
    assert check("no_critical_alert_is_open", stores).passed
    with critical_alert(connection):
        result = check("no_critical_alert_is_open", stores)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "ml-assets alerts resolve model_lost_accuracy/a" in str(result.metadata["do"].value)
    (spec,) = (each for each in search_gates.check_specs if each.name == result.check_name)
    assert spec.blocking


@pytest.mark.parametrize(("reached", "passed"), [(0.95, True), (0.94, False)])
def test_chunks_that_cannot_be_reached_block(
    connection: postgres.Connection,
    settings: Settings,
    stores: Stores,
    reached: float,
    passed: bool,
) -> None:
    measured(connection, settings, reached={"pgvector": reached}, sampled=200)
    result = check("indexes_reach_their_chunks", stores)
    assert result.passed == passed
    assert passed or result.severity == dg.AssetCheckSeverity.ERROR
    # A worse nDCG of what is withdrawn is let pass, an index that is broken is not.
    identity = current(connection, settings)
    withdraw(connection, identity, "it got worse")
    assert check("indexes_reach_their_chunks", stores).severity == result.severity


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
    publish(connection, old, hybrid=[0.5] * 40)
    measured(connection, settings, hybrid=ndcg)
    gate, compared = "hybrid_is_not_worse_than_published", "hybrid_is_compared_with_published"
    result = check(gate, stores)
    assert result.passed != blocks
    assert not blocks or result.severity == dg.AssetCheckSeverity.ERROR
    assert check(compared, stores).passed == (passed or blocks)
    identity = current(connection, settings)
    withdraw(connection, identity, "it got worse")
    assert check(gate, stores).passed
    warning = check(compared, stores)
    assert warning.passed == passed
    if not passed:
        assert warning.severity == dg.AssetCheckSeverity.WARN
        assert warning.metadata["queries"].value == 40
    (spec,) = (each for each in search_gates.check_specs if each.name == compared)
    assert not spec.blocking
