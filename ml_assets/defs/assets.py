"""What assets and checks share: how they are made, and metadata in one form."""

from __future__ import annotations

import hashlib
import io
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import wraps
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.releases.gates import Gate
from ml_assets.training.model import TrainingSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_TRAINING_SET = "nothing to train on"

Function = Callable[..., Any]


def asset(**own: Any) -> Callable[[Function], dg.AssetsDefinition]:
    """Make an asset of the group that its folder is named after; `own` is what is its alone.

    A range of partitions, and what follows it, is one run: so says the backfill policy of every
    asset. What it took is metadata, in seconds, unless the asset has a measure of its own.
    """

    def define(function: Function) -> dg.AssetsDefinition:
        shared = {
            "group_name": function.__module__.split(".")[-2],
            "owners": ["team:ml-platform"],
            "backfill_policy": dg.BackfillPolicy.single_run(),
        }
        timed = function if isgeneratorfunction(function) else _timed(function)
        made: dg.AssetsDefinition = dg.asset(**{**shared, **own})(timed)
        return made

    return define


def _timed(function: Callable[..., dg.MaterializeResult]) -> Function:
    @wraps(function)
    def timed(*arguments: Any, **resources: Any) -> dg.MaterializeResult:
        started = time.perf_counter()
        result = function(*arguments, **resources)
        seconds = {"seconds": round(time.perf_counter() - started, 2)}
        return result._replace(metadata={**seconds, **(result.metadata or {})})

    return timed


def nothing_to_train_on(current: TrainingSet | None) -> dg.MaterializeResult:
    """What an asset reports when there is no training set: nothing was written, and why."""
    reason = current.reason if current else "training_set was not materialized yet"
    return dg.MaterializeResult(
        metadata={"outcome": f"{NO_TRAINING_SET}: {reason}; nothing was written"},
        data_version=data_version(NO_TRAINING_SET),
    )


def table(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """A small markdown table; the keys of the first row are its header."""
    if not rows:
        return dg.MetadataValue.md("_no rows_")
    header = list(rows[0])
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(_cell(row[key]) for key in header) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def gate_table(gates: Sequence[Gate]) -> dg.MarkdownMetadataValue:
    """The verdict of each gate, with the numbers it compared."""
    return table([{**asdict(gate), "numbers": gate.compared} for gate in gates])


def plot(figure: Figure) -> dg.MarkdownMetadataValue:
    """A matplotlib figure as an inline PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return dg.MetadataValue.md(
        f"![plot](data:image/png;base64,{b64encode(buffer.getvalue()).decode()})"
    )


def data_version(*parts: object) -> dg.DataVersion:
    """A data version that changes when one of `parts` does."""
    return dg.DataVersion(hashlib.sha256(repr(parts).encode()).hexdigest()[:16])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
