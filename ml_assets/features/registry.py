"""The registry of definitions: rows of `feature_definitions`, every version that there was."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ml_assets.delta import Delta
from ml_assets.errors import FeatureViewError
from ml_assets.features.definition import FeatureView, describe, fingerprint
from ml_assets.features.views import VIEWS
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def refresh_definitions(
    connection: postgres.Connection, views: Iterable[FeatureView] = tuple(VIEWS.values())
) -> Delta:
    """Write the definitions of `views` to `feature_definitions`; earlier versions stay.

    Raises:
        FeatureViewError: a view changed and its version did not; nothing is written.
    """
    with connection.transaction():
        return sum((_write_definition(connection, view) for view in views), Delta())


def _write_definition(connection: postgres.Connection, view: FeatureView) -> Delta:
    values = {
        "view": view.name,
        "version": view.version,
        "entity": view.entity,
        "fingerprint": fingerprint(view),
        "definition": json.dumps(describe(view), sort_keys=True),
    }
    text = statement("postgres/features/read_definition")
    known = connection.execute(text, values).fetchone()
    # Where the definition is this one, another hand changed its fingerprint.
    if known and known[0] != values["fingerprint"] and not known[1]:
        raise FeatureViewError(
            f"its definition changed, but it is still version {view.version}",
            where=f"feature view {view.name}",
            do=f"Set its version to {view.version + 1}",
        )
    if known and known[2]:
        return Delta(unchanged=1)
    connection.execute(statement("postgres/features/write_definition"), values)
    return Delta(changed=1) if known else Delta(added=1)
