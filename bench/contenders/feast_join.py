"""Feast's point-in-time join, run by the Python of its own environment."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

folder, repetitions = Path(sys.argv[1]), int(sys.argv[2])
(folder / "feature_store.yaml").write_text(
    "project: bench\nprovider: local\nregistry: registry.db\n"
    "offline_store: {type: dask}\nonline_store: {type: sqlite, path: online.db}\n"
    "entity_key_serialization_version: 3\n"
)
store = FeatureStore(repo_path=str(folder))
driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp")
names = [f"f{number}" for number in range(8)]
view = FeatureView(
    name="bench",
    entities=[driver],
    ttl=timedelta(days=365),
    schema=[Field(name=name, dtype=Float64) for name in names],
    source=source,
)
store.apply([driver, view])
labels = pd.read_parquet(folder / "labels.parquet")
seconds = []
for _ in range(repetitions):
    started = time.perf_counter()
    asked = store.get_historical_features(labels, [f"bench:{name}" for name in names])
    joined = asked.to_df()
    seconds.append(time.perf_counter() - started)
print(json.dumps({"seconds": seconds, "rows": len(joined)}))
