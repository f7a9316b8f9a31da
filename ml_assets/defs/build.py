"""Assembles the code location; tests call it with resources of their own."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

import dagster as dg

from ml_assets.defs import assets, checks
from ml_assets.defs.faiss import with_faiss
from ml_assets.defs.jobs import JOBS
from ml_assets.defs.resources import build_resources
from ml_assets.defs.schedules import daily_refresh
from ml_assets.defs.sensors import automation, collections_sensor
from ml_assets.settings import Settings, load_settings


def build_definitions(
    settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """The whole project for one deployment: `settings`, or those of the environment."""
    settings = settings or load_settings()
    loaded = [
        asset
        for asset in dg.load_assets_from_modules(_modules(assets))
        if isinstance(asset, dg.AssetsDefinition)
    ]
    return dg.Definitions(
        assets=with_faiss(loaded) if settings.uses_faiss else loaded,
        asset_checks=dg.load_asset_checks_from_modules(_modules(checks)),
        jobs=JOBS,
        schedules=[daily_refresh],
        sensors=[collections_sensor, automation],
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [import_module(f"{package.__name__}.{name}") for name in sorted(names)]
