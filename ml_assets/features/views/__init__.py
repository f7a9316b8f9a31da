"""The feature views: one module each, found here by being here.

A module holds its definition, and what computes its values where no kind of source does.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from ml_assets.features.definition import FeatureView, Use, fingerprint


def defined_in(package: ModuleType) -> Iterator[FeatureView]:
    """The views in the modules of a package, by name of the module."""
    for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        for value in vars(import_module(f"{package.__name__}.{name}")).values():
            if isinstance(value, FeatureView):
                yield value


VIEWS: dict[str, FeatureView] = {view.name: view for view in defined_in(import_module(__name__))}
"""Every view, by name."""


def views_for(use: Use) -> tuple[FeatureView, ...]:
    """The views that permit `use`."""
    return tuple(view for view in VIEWS.values() if use in view.uses)


def training_views() -> dict[str, str]:
    """What models are trained on: the fingerprint of each view, by its key."""
    return {view.key: fingerprint(view) for view in views_for("training")}
