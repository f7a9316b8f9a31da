"""The feature views: one module each, found here by being here, and those of the user's own.

A module holds its definition, and what computes its values where no kind of source does.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from ml_assets.errors import FeatureViewError, first_line
from ml_assets.features.definition import FeatureView, Use, fingerprint
from ml_assets.settings import load_settings

_VARIABLE = "ML_ASSETS_FEATURES"


def load_views(own: str = "") -> dict[str, FeatureView]:
    """All views by name: those of this room, and those of the module or package `own`.

    Raises:
        FeatureViewError: `own` cannot be imported, holds no view, or one of a name that is taken.
    """
    views: dict[str, FeatureView] = {}
    for view in _defined_in(import_module(__name__)):
        views[view.name] = view
    found = list(_own_views(own)) if own else []
    if own and not found:
        do = "Define a FeatureView in it, or unset the variable"
        raise FeatureViewError(f"{own} defines no feature view", where=_VARIABLE, do=do)
    for view in found:
        if views.get(view.name, view) is not view:
            what = f"there are two views of the name {view.name}"
            raise FeatureViewError(what, where=f"{_VARIABLE}={own}", do="Rename one")
        views[view.name] = view
    return views


def _own_views(own: str) -> Iterator[FeatureView]:
    try:
        yield from _defined_in(import_module(own))
    except FeatureViewError:
        raise
    # It is the user's code: whatever it raises is told in a line, with the place.
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and own.startswith(error.name or " ")
        do = "Install it, or add its folder to PYTHONPATH" if absent else "Correct it"
        what = f"{type(error).__name__}: {first_line(error)}{_place(error)}"
        raise FeatureViewError(what, where=f"{_VARIABLE}={own}", do=do) from error


def _place(error: Exception) -> str:
    """The last line of code that an error passed outside of this package."""
    place, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and "importlib" not in file:
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _defined_in(module: ModuleType) -> Iterator[FeatureView]:
    """The views of a module, or of the modules of a package, each once, by name of the module."""
    names = [module.name for module in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    modules = [import_module(f"{module.__name__}.{name}") for name in sorted(names)]
    seen: set[int] = set()
    for each in (module, *modules):
        for value in [*vars(each).values()]:
            if isinstance(value, FeatureView) and id(value) not in seen:
                seen.add(id(value))
                yield value


VIEWS = load_views(load_settings().features)
"""Every view, by name; which are a user's own is read once in a process."""


def find_view(name: str) -> FeatureView:
    """The view of that name.

    Raises:
        FeatureViewError: there is none.
    """
    if name not in VIEWS:
        raise FeatureViewError(f"there is no view {name!r}", do=f"Known: {', '.join(VIEWS)}")
    return VIEWS[name]


def views_for(use: Use) -> tuple[FeatureView, ...]:
    """The views that permit `use`."""
    return tuple(view for view in VIEWS.values() if use in view.uses)


def training_views() -> dict[str, str]:
    """What models are trained on: the fingerprint of each view, by its key."""
    return {view.key: fingerprint(view) for view in views_for("training")}
