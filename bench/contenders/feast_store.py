"""Feast 0.67, in an environment of its own: `python feast_store.py FOLDER OFFLINE_STORE READS`.

FOLDER has rows.parquet and labels.parquet. Prints one line of JSON; imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from datetime import timedelta
from pathlib import Path


def main() -> None:
    """Join, materialize and read; say what each took, in seconds."""
    folder, offline, reads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.environ["FEAST_USAGE"] = "False"
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    features = [f"f{number}" for number in range(8)]
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.STRING)
    source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name="stats",
        entities=[driver],
        schema=[Field(name=name, dtype=Float64) for name in features],
        source=source,
        ttl=timedelta(days=3650),
        online=True,
    )
    place = folder / offline
    place.mkdir()
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(place / "registry.db"),
            online_store={"type": "sqlite", "path": str(place / "online.db")},
            offline_store={"type": offline},
            entity_key_serialization_version=3,
        )
    )
    labels = pd.read_parquet(folder / "labels.parquet")
    names = [f"stats:{name}" for name in features]
    taken: dict[str, list[float]] = {}
    with contextlib.redirect_stdout(sys.stderr):
        store.apply([driver, view])
        began = time.perf_counter()
        joined = store.get_historical_features(entity_df=labels, features=names).to_df()
        taken["join"] = [time.perf_counter() - began]
        taken["rows"] = [len(joined)]
        latest = pd.read_parquet(folder / "rows.parquet", columns=["event_timestamp"])
        start, end = latest["event_timestamp"].min(), latest["event_timestamp"].max()
        began = time.perf_counter()
        day = timedelta(days=1)
        store.materialize((start - day).to_pydatetime(), (end + day).to_pydatetime())
        taken["materialize"] = [time.perf_counter() - began]
        ids = sorted(set(labels["driver"]))
        draw = random.Random(0)
        taken["reads"] = []
        for _ in range(reads):
            asked = [{"driver": each} for each in draw.sample(ids, 100)]
            began = time.perf_counter()
            given = store.get_online_features(features=names, entity_rows=asked).to_dict()
            taken["reads"].append(time.perf_counter() - began)
            assert None not in given["f0"]
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
