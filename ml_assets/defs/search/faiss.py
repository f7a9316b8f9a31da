"""The asset `faiss_index`: in the graph only where the settings choose FAISS, an optional extra."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing

import dagster as dg

from ml_assets.defs.assets import asset
from ml_assets.defs.automation import ON_NEW_DATA
from ml_assets.defs.resources import PostgresResource
from ml_assets.defs.search.assets import current_generation
from ml_assets.defs.search.sync import sync_generations
from ml_assets.progress import StageProgress
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.model import Generation
from ml_assets.search.publishing.lifecycle import generations_to_sync
from ml_assets.settings import Settings


@asset(kinds={"faiss"}, deps=["embeddings"], automation_condition=ON_NEW_DATA)
def faiss_index(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """The FAISS index of the generation, equal to the embedded chunks."""
    with postgres.connect() as connection, progress.stage("faiss index") as step:
        current = current_generation(connection, settings)
        generations = generations_to_sync(connection, current)

        def open_index(generation: Generation) -> AbstractContextManager[FaissIndex]:
            return closing(FaissIndex(settings.faiss_folder, connection, generation))

        held = [one for one in generations if "faiss" in one.parameters]
        return sync_generations(connection, held, open_index, step)


def with_faiss(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with `faiss_index` among them, which `search_evaluation` then measures, too."""
    return [faiss_index, *(asset.map_asset_specs(_after_faiss) for asset in assets)]


def _after_faiss(spec: dg.AssetSpec) -> dg.AssetSpec:
    if spec.key != dg.AssetKey("search_evaluation"):
        return spec
    return spec.merge_attributes(deps=[faiss_index])
