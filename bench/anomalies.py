"""Which labelled anomalies of a series are found, and what else: `python -m bench.anomalies FILE`.

The Parquet file has a time, a value, and whether it is in a window that somebody labelled, as the
series of the Numenta Anomaly Benchmark have. A window is found by what begins or ends in it; the
rest are false alarms.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from ml_assets.monitoring.anomalies import DAY, Anomaly, find_anomalies, regular

MONTH = 30 * DAY
Window = tuple[datetime, datetime]


def windows(times: Sequence[datetime], inside: Sequence[bool]) -> Iterator[Window]:
    """The first and the last time of each labelled window."""
    for labelled, group in groupby(zip(times, inside, strict=True), key=lambda each: each[1]):
        if labelled:
            members = [at for at, _ in group]
            yield members[0], members[-1]


def meets(anomaly: Anomaly, window: Window) -> bool:
    """Whether any of an anomaly lies in a window."""
    return anomaly.begin <= window[1] and window[0] <= anomaly.end


def main() -> None:
    """Print each window, and each false alarm."""
    parser = argparse.ArgumentParser(prog="python -m bench.anomalies", description=__doc__)
    parser.add_argument("file", type=Path)
    names = ("event_timestamp", "value", "is_anomaly_window")
    parser.add_argument("--columns", nargs=3, default=names, metavar=("TIME", "VALUE", "LABEL"))
    asked = parser.parse_args()
    frame = pd.read_parquet(asked.file, columns=[*asked.columns])
    times = [at.to_pydatetime() for at in frame[asked.columns[0]]]
    values = frame[asked.columns[1]].astype(float)
    step = min(np.diff(np.unique(np.array(times))))
    series = regular([*zip(times, values, strict=True)], step, times[-1] + step)
    found = find_anomalies(series, float(values.std()) / 20)
    labelled = [*windows(times, frame[asked.columns[2]])]
    table = Table("window", "found", "by", "largest deviation")
    for window in labelled:
        by = [anomaly for anomaly in found if meets(anomaly, window)]
        largest = max((abs(anomaly.score) for anomaly in by), default=0.0)
        kinds = ", ".join(sorted({anomaly.kind for anomaly in by}))
        table.add_row(f"{window[0]} to {window[1]}", "yes" if by else "no", kinds, f"{largest:.1f}")
    false = [each for each in found if not any(meets(each, window) for window in labelled)]
    for each in false:
        table.add_row(f"{each.begin} to {each.end}", "false", each.kind, f"{abs(each.score):.1f}")
    months = (times[-1] - times[0]) / MONTH
    missed = sum(not any(meets(each, window) for each in found) for window in labelled)
    console = Console()
    console.print(table)
    console.print(
        f"{len(labelled) - missed} of {len(labelled)} windows found;"
        f" {len(false) / months:.1f} false alarms a month"
    )


if __name__ == "__main__":
    main()
