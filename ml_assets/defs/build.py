"""Assembles the code location; tests call it with resources of their own."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import dagster as dg

import ml_assets.defs as room
from ml_assets.defs.jobs import JOBS
from ml_assets.defs.resources import build_resources
from ml_assets.defs.schedules import daily_refresh
from ml_assets.defs.search.faiss import with_faiss
from ml_assets.defs.sensors import automation, collections_sensor
from ml_assets.settings import Settings, load_settings


def build_definitions(
    settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """The whole project for one deployment: `settings`, or those of the environment."""
    settings = settings or load_settings()
    loaded = [
        asset
        for asset in dg.load_assets_from_modules(_modules("assets"))
        if isinstance(asset, dg.AssetsDefinition)
    ]
    return dg.Definitions(
        assets=with_faiss(loaded) if settings.uses_faiss else loaded,
        asset_checks=dg.load_asset_checks_from_modules(_modules("checks", "gate_checks")),
        jobs=JOBS,
        schedules=[daily_refresh],
        sensors=[collections_sensor, automation],
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


def _modules(*names: str) -> list[ModuleType]:
    """The modules of these names in the folder of every asset group."""
    groups = [one.name for one in pkgutil.iter_modules(room.__path__) if one.ispkg]
    return [
        import_module(f"{room.__name__}.{group}.{module.name}")
        for group in sorted(groups)
        for module in pkgutil.iter_modules([str(Path(path) / group) for path in room.__path__])
        if module.name in names
    ]
