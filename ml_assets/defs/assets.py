"""What all assets share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from ml_assets.defs.metadata import data_version
from ml_assets.training.model import TrainingSet

NO_TRAINING_SET = "nothing to train on"

Function = Callable[..., Any]


def asset(**own: Any) -> Callable[[Function], dg.AssetsDefinition]:
    """Make an asset of the group that its folder is named after; `own` is what is its alone.

    A range of partitions, and what follows it, is one run: so says the backfill policy of every
    asset. The code version rises when equal input gives other output.
    """

    def define(function: Function) -> dg.AssetsDefinition:
        shared = {
            "group_name": function.__module__.split(".")[-2],
            "owners": ["team:ml-platform"],
            "code_version": "1",
            "backfill_policy": dg.BackfillPolicy.single_run(),
        }
        made: dg.AssetsDefinition = dg.asset(**{**shared, **own})(function)
        return made

    return define


def nothing_to_train_on(current: TrainingSet | None) -> dg.MaterializeResult:
    """What an asset reports when there is no training set: nothing was written, and why."""
    reason = current.reason if current else "training_set was not materialized yet"
    return dg.MaterializeResult(
        metadata={"outcome": f"{NO_TRAINING_SET}: {reason}; nothing was written"},
        data_version=data_version(NO_TRAINING_SET),
    )
