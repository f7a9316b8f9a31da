"""The asset graph, as tests look at it."""

from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from ml_assets.defs.build import build_definitions
from ml_assets.settings import Settings

Run = Callable[..., dg.ExecuteInProcessResult]
"""Materializes with the given checks; what it returns tells how that went."""


def asset_graph(settings: Settings | None = None) -> AssetGraph:
    """Resolve the graph within an instance of its own.

    Dagster asks the instance that was opened last in this process, by whatever test, and fails
    when that one is gone.
    """
    with dg.DagsterInstance.ephemeral():
        return build_definitions(settings).resolve_asset_graph()
