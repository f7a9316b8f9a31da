"""Assembles the code location; tests call it with resources of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import dagster as dg

from ml_assets.defs.assets import PREFIX, asset_of, data_version, key, modules
from ml_assets.defs.executor import in_turn
from ml_assets.defs.jobs import JOBS
from ml_assets.defs.resources import build_resources
from ml_assets.defs.schedules import daily_drift, daily_refresh, daily_search_quality
from ml_assets.defs.sensors import (
    alerts_sensor,
    automation,
    collections_sensor,
    labels_sensor,
    predictions_sensor,
    workers_sensor,
)
from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.errors import UserError
from ml_assets.features.definition import fingerprint
from ml_assets.features.views import VIEWS, training_views
from ml_assets.operations.state import code_of
from ml_assets.search.indexes.kinds import KINDS, index_parameters
from ml_assets.settings import Settings, load_settings
from ml_assets.training.families.registry import FAMILIES


def build_definitions(
    settings: Settings | None = None,
    resource_overrides: Mapping[str, object] | None = None,
    executor: dg.ExecutorDefinition | None = None,
) -> dg.Definitions:
    """The whole project for one deployment: `settings`, or those of the environment.

    Runs take turns, unless the caller has an `executor` and excludes the others itself.
    """
    settings = settings or load_settings()
    loaded = dg.load_assets_from_modules(modules("assets"), key_prefix=PREFIX)
    checks = dg.load_asset_checks_from_modules(modules("checks"), asset_key_prefix=PREFIX)
    return dg.Definitions(
        assets=_deployed(cast("list[dg.AssetsDefinition]", loaded), settings),
        asset_checks=checks,
        jobs=JOBS,
        schedules=[daily_refresh, daily_drift, daily_search_quality],
        sensors=[
            collections_sensor,
            labels_sensor,
            predictions_sensor,
            workers_sensor,
            alerts_sensor,
            automation,
        ],
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=executor or in_turn(settings, checks),
    )


def _deployed(
    assets: Sequence[dg.AssetsDefinition], settings: Settings
) -> list[dg.AssetsDefinition]:
    """The assets without the indexes that the settings do not choose; each with its code version.

    That is another one with the code of its room, and with what decides its results beside it.
    """
    chosen = index_parameters(settings)
    others = {key(f"{kind}_index") for kind in KINDS if kind not in chosen}

    parameters = _parameters(settings)
    owners = [owner.strip() for owner in settings.owners.split(",")]

    def deployed(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.path[-1]
        version = data_version(code_of(spec.group_name or ""), parameters.get(name)).value
        deps = [dep for dep in spec.deps if dep.asset_key not in others]
        return spec.replace_attributes(deps=deps, code_version=version, owners=owners)

    return [asset.map_asset_specs(deployed) for asset in assets if asset.key not in others]


def _parameters(settings: Settings) -> dict[str, object]:
    """What decides the results of assets beside code and data, by asset."""
    try:
        chunker, space = current_chunker(settings).fingerprint, current_space(settings).space_id
    except UserError:  # a run will tell it; the other assets can be seen and run all the same
        chunker = space = ""
    views = {asset_of(view): fingerprint(view) for view in VIEWS.values()}
    families = [family.fingerprint for family in FAMILIES]
    kinds = index_parameters(settings)
    return {
        "raw_documents": settings.max_document_bytes,
        "chunks": chunker,
        "embeddings": space,
        **{f"{kind}_index": parameters for kind, parameters in kinds.items()},
        **views,
        "feature_definitions": [*views.values()],
        "training_set": (training_views(), settings.seed),
        "candidate_models": families,
    }
