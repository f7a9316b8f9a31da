"""The benchmark of the feature store: our own side of it, on a few rows."""

from pathlib import Path

import numpy as np
import pytest

from bench import features
from bench.features import Size


@pytest.fixture(scope="module")
def size() -> Size:
    return Size(labels=300, rows=2_000, entities=150, reads=3)


def test_both_sides_are_set_side_by_side(
    tmp_path: Path, size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"join": [9.0], "rows": [299.0], "materialize": [9.0], "reads": [9.0, 9.0]}
    monkeypatch.setattr(features, "feast", lambda *_: theirs)
    monkeypatch.setattr(features, "cached", lambda work: [])
    rows = {row.what: row for row in features.measure(tmp_path, size, 2)}
    join = rows["point-in-time join, 300 x 2,000 x 8"]
    assert (len(join.measured.samples), join.reached) == (2, True)
    kept = rows["point-in-time join, 300 x 2,000 x 8: rows kept"]
    assert (kept.measured.median, kept.against and kept.against.median) == (300, 299)
    assert rows["materialize 150 x 8"].ratio is not None
    read = rows["read 100 entities, SQLite"]
    assert len(read.measured.samples) == 6
    assert read.against
    assert read.against.median == 9000, "milliseconds"
    redis = rows["read 100 entities, Redis"]
    assert str(redis.limit) == "≤ 3 ms"


def test_without_feast_our_side_is_measured_alone(
    tmp_path: Path, size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "FEAST", tmp_path / "absent")
    monkeypatch.setattr(features, "cached", lambda work: [])
    monkeypatch.setattr(features, "find_program", lambda name: None)
    rows = features.measure(tmp_path, size, 1)
    assert not any(row.against for row in rows)
    kept, *others = [row.reached for row in rows if row.reached is not None]
    assert kept
    assert not others, "what is compared with nobody is not judged"


def test_rows_and_labels_are_the_same_each_time(tmp_path: Path, size: Size) -> None:
    first, labels = features.make(tmp_path, size)
    again, _ = features.make(tmp_path, size)
    assert first.equals(again)
    assert first["driver"].nunique() == size.entities
    assert len(labels) == size.labels
    assert np.isfinite(first[list(features.VIEW.columns)].to_numpy()).all()
