from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.features.assets import (
    collection_features,
    document_features,
    feature_definitions,
    online_features,
)
from ml_assets.documents.model import Document
from ml_assets_tests.fakes import SPACE, MemorySource
from ml_assets_tests.graph import Run, shown

FEATURES = [feature_definitions, document_features, collection_features, online_features]


@pytest.fixture
def compute(
    materialize: Run,
    resources: dict[str, object],
    instance: dg.DagsterInstance,
) -> Run:
    """Materialize documents to vectors, and then the features."""

    def run() -> dg.ExecuteInProcessResult:
        assert materialize().success
        return dg.materialize(FEATURES, resources=resources, instance=instance)

    return run


def metadata(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(name)
    return {key: value.value for key, value in event.metadata.items()}


def data_versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {
        asset.key.to_user_string(): str(event.tags["dagster/data_version"])
        for asset in FEATURES
        for event in result.asset_materializations_for_node(asset.key.to_user_string())
        if event.tags
    }


def counts(found: dict[str, Any]) -> tuple[int, int, int, int]:
    return (found["added"], found["changed"], found["removed"], found["unchanged"])


def test_features_from_definitions_to_the_online_store(compute: Run, source: MemorySource) -> None:
    source.documents = [Document("x", "a", "One."), Document("y", "b", "Two two.")]
    result = compute()
    assert counts(metadata(result, "feature_definitions")) == (2, 0, 0, 0)
    assert counts(metadata(result, "document_features")) == (2, 0, 0, 0)
    assert counts(metadata(result, "collection_features")) == (2, 0, 0, 0)
    assert counts(metadata(result, "online_features")) == (4, 0, 0, 0)
    found = metadata(result, "document_features")
    assert found["vector_space"] == SPACE.space_id
    assert "reading_ease" in shown(found["statistics"])
    assert found["seconds"] >= 0


def test_a_second_run_says_that_nothing_changed(compute: Run, source: MemorySource) -> None:
    source.documents = [Document("x", "a", "One."), Document("y", "b", "Two two.")]
    first = compute()
    second = compute()
    for name, unchanged in [
        ("feature_definitions", 2),
        ("document_features", 2),
        ("collection_features", 2),
        ("online_features", 4),
    ]:
        found = metadata(second, name)
        assert counts(found) == (0, 0, 0, unchanged)
        assert found["outcome"] == "nothing changed, nothing written"
    assert data_versions(first) == data_versions(second)
    source.documents = [Document("x", "a", "One edited."), Document("y", "b", "Two two.")]
    third = data_versions(compute())
    changed = {name for name, version in data_versions(second).items() if third[name] != version}
    assert changed == {"document_features", "collection_features", "online_features"}
