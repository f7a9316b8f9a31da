"""The registry: which views and versions there are, what is told of them, and what goes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ml_assets.delta import Delta
from ml_assets.errors import FeatureViewError
from ml_assets.features.definition import Feature, FeatureView, describe, fingerprint
from ml_assets.features.offline import drop_table, rows_left_out, statistics, stored_views
from ml_assets.features.views import VIEWS
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.roles import authorize
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.online import OnlineStore
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


def page(view: FeatureView) -> str:
    """The documentation of a view, in Markdown; it follows from the definition."""
    rows = [
        f"| `{f.name}` | {f.dtype} | {f.unit or '-'} | {_range(f)} | {f.nulls} | {f.description} |"
        for f in view.features
    ]
    about = {
        "entity": view.entity,
        "version": view.version,
        "uses": ", ".join(sorted(view.uses)),
        "ttl": view.ttl or "none",
        "owner": view.owner or "none",
        "source": type(view.source).__name__.lower() if view.source else "code of ml_assets",
    }
    return "\n".join(
        [
            f"{view.description}.",
            "",
            *(f"- {name}: {value}" for name, value in about.items()),
            "",
            "| feature | type | unit | range | nulls | what it is |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def listed(duck: duckdb.Connection | None) -> list[dict[str, Any]]:
    """The views of the code, and the earlier versions of which values are kept; with their rows."""
    stored = stored_views(duck) if duck else {}
    rows = [
        {
            "view": view.name,
            "version": view.version,
            "entity": view.entity,
            "features": len(view.features),
            "uses": ", ".join(sorted(view.uses)),
            "rows": stored.pop(view.key, 0),
            "standing": "current",
        }
        for view in VIEWS.values()
    ]
    for key, count in stored.items():
        name, _, version = key.rpartition("_v")
        kept = dict.fromkeys(rows[0], None) if rows else {}
        row = {"view": name, "version": int(version), "rows": count, "standing": "earlier"}
        rows.append({**kept, **row})
    return rows


def shown(duck: duckdb.Connection | None, view: FeatureView) -> dict[str, Any]:
    """The definition of a view, its lineage, statistics of its current values, rows left out."""
    has_table = duck is not None and view.key in stored_views(duck)
    source = view.source
    return {
        **describe(view),
        "fingerprint": fingerprint(view),
        "lineage": {
            "reads": list(source.reads) if source else ["documents", "chunks", "changes"],
            "table": [view.table],
            "feeds": [_FED[use] for use in sorted(view.uses)],
        },
        "statistics": statistics(duck, view) if duck is not None and has_table else [],
        "left_out": {} if duck is None else rows_left_out(duck, view),
    }


_FED = {"training": "training_set", "serving": "online_features", "monitoring": "feature_drift"}


def drop_version(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    online: OnlineStore,
    name: str,
    version: int,
    actor: str,
    reason: str,
) -> int | None:
    """Drop the values of a version, offline and online; the number of offline rows, None: none.

    Its definition stays in the registry, so that the number is never given to another.

    Raises:
        FeatureViewError: the code still has this version.
        RoleError: the actor is no approver.
    """
    key = f"{name}_v{version}"
    if key in {view.key for view in VIEWS.values()}:
        raise FeatureViewError(
            f"version {version} is the current one",
            where=f"feature view {name}",
            do="Take the view out of the code, or give it the next version, and run first",
        )
    rows = stored_views(duck).get(key)
    if rows is not None:
        authorize(connection, actor, "drop by hand", f"feature view {key}")
        with connection.transaction():
            subject = f"feature view {key}"
            append(connection, Entry(actor, "drop", subject, reason, {"rows": rows}))
            online.delete_many(key, [*online.revisions(key)])
            drop_table(duck, key)
    return rows


def _range(feature: Feature) -> str:
    low, high = feature.minimum, feature.maximum
    if low is None and high is None:
        return "any"
    if high is None:
        return f"from {low:g}"
    return f"to {high:g}" if low is None else f"{low:g} to {high:g}"


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
