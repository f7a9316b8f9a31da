"""A measurement as a document of JSON: exact, strict, and of one version."""

import json
from typing import Any

import pytest

from ml_assets.errors import StoreError
from ml_assets.search.evaluation.measurement import (
    VERSION,
    Comparison,
    MethodQuality,
    Tuned,
    as_json,
    from_json,
    read_measurements,
    record_measurement,
)
from ml_assets.search.model import Fusion, Generation
from ml_assets.stores import postgres
from ml_assets_tests.search.measurements import measurement

WHOLE = measurement(
    tuning=Tuned(Fusion("rrf", 0.5), 50, 0.1, 0.2, 0.1, 1 / 3),
    quality=MethodQuality(
        {"hybrid": {"reporting": {"ndcg@10": 2 / 3, "queries": 3}}},
        {"hybrid": {"reporting": {"ndcg@10": (0.1, 0.9)}}},
        {"hybrid": {"1": 1.0, "2": 0.0}},
        Comparison("hybrid", "vector", 0.1, (-0.1, 0.3), 2, 1, 0),
    ),
)


def test_it_comes_back_as_it_was(connection: postgres.Connection, generation: Generation) -> None:
    assert from_json(json.loads(json.dumps(as_json(WHOLE)))) == WHOLE
    record_measurement(connection, generation.generation_id, WHOLE)
    measured = read_measurements(connection, generation.generation_id)
    assert (measured.latest, measured.published) == (WHOLE, None)
    assert WHOLE.ndcg == 2 / 3


def test_of_another_version_is_not_measured() -> None:
    assert from_json(None) is None
    assert from_json({}) is None
    assert from_json({"state": "1", "recall": {}}) is None
    assert from_json({**as_json(WHOLE), "version": VERSION - 1}) is None


def changed(path: str, value: object = None, *, drop: bool = False) -> dict[str, Any]:
    document = as_json(WHOLE)
    *parents, last = path.split(".")
    at = document
    for parent in parents:
        at = at[parent]
    if drop:
        del at[last]
    else:
        at[last] = value
    return document


@pytest.mark.parametrize("path", ["recal", "tuning.gains", "tuning.fusion.weight", "quality.x"])
def test_an_unknown_key_is_an_error(path: str) -> None:
    with pytest.raises(StoreError, match=path.split(".")[0]):
        from_json(changed(path, 1.0))


@pytest.mark.parametrize(
    "path", ["recall", "k", "tuning.gain", "tuning.fusion.feedback", "quality.ndcg"]
)
def test_a_missing_key_is_an_error(path: str) -> None:
    with pytest.raises(StoreError, match=path.split(".")[0]):
        from_json(changed(path, drop=True))


@pytest.mark.parametrize(
    ("path", "value"),
    [("recall", {"chroma": "good"}), ("recall", 1.0), ("tuning.fusion.method", "magic")],
)
def test_a_value_of_another_type_is_an_error(path: str, value: object) -> None:
    with pytest.raises(StoreError, match=path.split(".")[0]):
        from_json(changed(path, value))
