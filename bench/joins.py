"""The point-in-time join beside Feast's, on one table: `python -m bench.joins --feast PYTHON`.

Feast wants an environment of its own (`pip install feast==0.67.0`), whose Python is named; without
it, ml_assets alone is measured. Prints one table, and writes bench/results/joins.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import PROJECT, say
from bench.rows import Figure
from ml_assets.features import Feature, FeatureView, Table
from ml_assets.features.join import point_in_time_join
from ml_assets.features.offline import create_table
from ml_assets.stores import duckdb

LABELS, ROWS, ENTITIES, FEATURES = 200_000, 1_000_000, 100_000, 8
NAMES = [f"f{number}" for number in range(FEATURES)]
VIEW = FeatureView(
    name="bench",
    version=1,
    entity="driver",
    description="Random numbers",
    features=tuple(Feature(name, "double", "") for name in NAMES),
    uses=frozenset({"training"}),
    source=Table("rows.parquet", "driver", "event_timestamp"),
)


def generate(folder: Path) -> None:
    """Write the rows and the labels, drawn with a seed, as both read them."""
    import numpy as np
    import pandas as pd

    chance = np.random.default_rng(0)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    seconds = chance.integers(0, 90 * 86_400, ROWS)
    rows = pd.DataFrame(
        {
            "driver": chance.integers(0, ENTITIES, ROWS),
            "event_timestamp": start + pd.to_timedelta(seconds, unit="s"),
            **{name: chance.random(ROWS) for name in NAMES},
        }
    )
    rows.drop_duplicates(["driver", "event_timestamp"]).to_parquet(folder / "rows.parquet")
    asked = chance.integers(0, 90 * 86_400, LABELS)
    pd.DataFrame(
        {
            "driver": chance.integers(0, ENTITIES, LABELS),
            "event_timestamp": start + pd.to_timedelta(asked, unit="s"),
            "label": chance.integers(0, 2, LABELS),
        }
    ).to_parquet(folder / "labels.parquet")


def ours(folder: Path, repetitions: int) -> tuple[Figure, Any]:
    """The seconds of each join, and the last result; the rows are in the offline store before."""
    import pandas as pd

    spine = pd.read_parquet(folder / "labels.parquet")
    spine = spine.rename(columns={"event_timestamp": "event_time"})
    samples = []
    with duckdb.connect(folder / "offline.duckdb") as duck:
        create_table(duck, VIEW)
        duck.execute(
            f"insert into {VIEW.table} by name select * exclude (driver, event_timestamp),"  # noqa: S608
            " driver::varchar as entity_id, event_timestamp as event_time,"
            " event_timestamp as known_time, false as removed, '' as value_hash"
            " from read_parquet(?)",
            [str(folder / "rows.parquet")],
        )
        for _ in range(repetitions):
            started = time.perf_counter()
            joined = point_in_time_join(duck, spine, [VIEW])
            samples.append(time.perf_counter() - started)
    return Figure("ml_assets", tuple(samples), count=LABELS, things="labels"), joined


def feast(python: str, folder: Path, repetitions: int) -> tuple[Figure, dict[str, Any]]:
    """The seconds of Feast's `get_historical_features`, in its own environment."""
    script = PROJECT / "bench" / "contenders" / "feast_join.py"
    command = [python, str(script), str(folder), str(repetitions)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return Figure("Feast", tuple(told["seconds"]), count=LABELS, things="labels"), told


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feast", default="", help="Python of an environment with feast")
    parser.add_argument("--repetitions", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml_assets-joins-") as name:
        folder = Path(name)
        generate(folder)
        own, joined = ours(folder, asked.repetitions)
        result: dict[str, Any] = {"labels": LABELS, "rows": ROWS, "ml_assets": own.samples}
        say(f"{own}; {LABELS - len(joined)} rows lost")
        if asked.feast:
            peer, told = feast(asked.feast, folder, asked.repetitions)
            ratio = peer.median / own.median
            say(f"{peer}; {LABELS - told['rows']} rows lost")
            say(f"ml_assets is {ratio:.1f} times as fast (at least 5)")
            result |= {"feast": peer.samples, "feast_rows": told["rows"], "ratio": ratio}
    results = PROJECT / "bench" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "joins.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
