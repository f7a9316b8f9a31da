"""Assembles the code location; tests call it with resources of their own."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import cast

import dagster as dg

import ml_assets.defs as room
from ml_assets.defs.executor import in_turn
from ml_assets.defs.jobs import JOBS
from ml_assets.defs.resources import build_resources
from ml_assets.defs.schedules import daily_refresh
from ml_assets.defs.sensors import automation, collections_sensor
from ml_assets.search.indexes.kinds import KINDS, index_parameters
from ml_assets.settings import Settings, load_settings


def build_definitions(
    settings: Settings | None = None,
    resource_overrides: Mapping[str, object] | None = None,
    executor: dg.ExecutorDefinition | None = None,
) -> dg.Definitions:
    """The whole project for one deployment: `settings`, or those of the environment.

    Runs take turns, unless the caller has an `executor` and excludes the others itself.
    """
    settings = settings or load_settings()
    loaded = dg.load_assets_from_modules(_modules("assets"))
    checks = dg.load_asset_checks_from_modules(_modules("checks"))
    return dg.Definitions(
        assets=_without_other_indexes(cast("list[dg.AssetsDefinition]", loaded), settings),
        asset_checks=checks,
        jobs=JOBS,
        schedules=[daily_refresh],
        sensors=[collections_sensor, automation],
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=executor or in_turn(settings, checks),
    )


def _without_other_indexes(
    assets: Sequence[dg.AssetsDefinition], settings: Settings
) -> list[dg.AssetsDefinition]:
    """The assets without the indexes that the settings do not choose, and what depends on them."""
    chosen = index_parameters(settings)
    others = {dg.AssetKey(f"{kind}_index") for kind in KINDS if kind not in chosen}

    def without(spec: dg.AssetSpec) -> dg.AssetSpec:
        deps = [dep for dep in spec.deps if dep.asset_key not in others]
        return spec.replace_attributes(deps=deps)

    return [asset.map_asset_specs(without) for asset in assets if asset.key not in others]


def _modules(name: str) -> list[ModuleType]:
    """The modules of this name, of every asset group that has one."""
    groups = [group.name for group in pkgutil.iter_modules(room.__path__) if group.ispkg]
    names = [f"{room.__name__}.{group}.{name}" for group in groups]
    return [import_module(name) for name in names if find_spec(name)]
