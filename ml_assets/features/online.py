"""The online copy: the latest offline values of every live entity, under its id."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from ml_assets.delta import Delta
from ml_assets.features.definition import FeatureView
from ml_assets.features.offline import query_current, require_table
from ml_assets.stores import duckdb
from ml_assets.stores.online import OnlineStore, Row, pack
from ml_assets.stores.sql import statement

SAMPLE = 2_000
"""Entities whose values are compared: of a fault in one of 670, it has one with p = .95."""

_BATCH = 5000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def refresh_online(
    duck: duckdb.Connection, online: OnlineStore, view: FeatureView, *, anew: bool = False
) -> Delta:
    """Make the online values of `view` the latest offline ones; only differences are written.

    `anew`: all are written beside those that are read, and take their place at once. So they are
    the first time, too.

    Raises:
        FeatureViewError: it was never computed.
    """
    require_table(duck, view)
    present = online.revisions(view.key)
    if not present:
        return Delta(added=_copy_all(duck, online, view))
    wanted = _revisions(duck, view)
    gone = present.keys() - wanted.keys()
    added = wanted.keys() - present.keys()
    changed = {id_ for id_, known in present.items() if wanted.get(id_, known) != known}
    if anew:
        _copy_all(duck, online, view)
    else:
        for rows in _rows(duck, view, sorted(added | changed)):
            online.put_many(view.key, rows)
        online.delete_many(view.key, gone)
    unchanged = len(wanted) - len(added) - len(changed)
    return Delta(len(added), len(changed), len(gone), unchanged)


def _copy_all(duck: duckdb.Connection, online: OnlineStore, view: FeatureView) -> int:
    """Write all rows beside those that are read, and let them take their place; their number."""
    text = statement("duckdb/features/entities").format(table=view.table)
    ((entities,),) = duck.execute(text).fetchall()
    batches = _rows(duck, view)
    if (first := next(batches, None)) is None and not online.revisions(view.key):
        return 0
    copied = 0

    def counted() -> Iterator[dict[str, Row]]:
        nonlocal copied
        for rows in chain([first or {}], batches):
            copied += len(rows)
            yield rows

    online.replace(view.key, counted(), entities)
    return copied


def online_differences(
    duck: duckdb.Connection, online: OnlineStore, view: FeatureView, *, whole: bool = False
) -> dict[str, list[str]]:
    """Compare online with offline: ids that are `missing`, `extra`, `different`.

    All ids and revisions are compared; the values, to the last bit, of a random `SAMPLE` of them,
    or of all for the `whole`.
    """
    offline, stored = _revisions(duck, view), online.revisions(view.key)
    both = sorted(offline.keys() & stored.keys())
    different = {id_ for id_ in both if offline[id_] != stored[id_]}
    compared = both if whole or len(both) <= SAMPLE else random.sample(both, SAMPLE)
    for rows in _rows(duck, view, compared):
        found = online.get_rows(view.key, list(rows))
        different |= {id_ for id_, row in rows.items() if not _same(row, found.get(id_))}
    return {
        "missing": sorted(offline.keys() - stored.keys()),
        "extra": sorted(stored.keys() - offline.keys()),
        "different": sorted(different),
    }


def count_behind(duck: duckdb.Connection, online: OnlineStore, view: FeatureView) -> int:
    """Of how many entities the online store has other values than the latest, or none."""
    wanted, present = _revisions(duck, view), online.revisions(view.key)
    return sum(present.get(entity) != revision for entity, revision in wanted.items())


def _same(row: Row, found: Row | None) -> bool:
    return found is not None and _packed(row) == _packed(found)


def _packed(row: Row) -> bytes:
    """A store may give the values back in another order."""
    return pack(Row(dict(sorted(row.values.items())), "", row.expires_at))


def _revisions(duck: duckdb.Connection, view: FeatureView) -> dict[str, str]:
    """A revision for each entity: of values that expire it changes with their event time."""
    bound = {"expire": view.ttl is not None}
    return dict(query_current(duck, view, "revisions", bound).fetchall())


def _rows(
    duck: duckdb.Connection, view: FeatureView, entity_ids: Sequence[str] | None = None
) -> Iterator[dict[str, Row]]:
    """The rows of the entities, or of all, in batches."""
    name: str = "online_rows"
    bound: dict[str, object] = {"expire": view.ttl is not None}
    if entity_ids is not None:
        name, bound = "online_rows_of", {**bound, "entity_ids": list(entity_ids)}
    if entity_ids is None or entity_ids:
        found = query_current(duck, view, name, bound)
        while batch := found.fetchmany(_BATCH):
            yield _as_rows(view, batch)


def _as_rows(view: FeatureView, found: Sequence[tuple[Any, ...]]) -> dict[str, Row]:
    columns, ttl = view.columns, view.ttl
    return {
        entity_id: Row(
            dict(zip(columns, values, strict=True)),
            revision,
            None if ttl is None else _end(event_time, ttl),
        )
        for entity_id, revision, event_time, *values in found
    }


def _end(event_time: int, ttl: timedelta) -> datetime | None:
    """Until when values hold; None: for ever, as far as a time can tell."""
    try:
        return _EPOCH + (timedelta(0, 0, event_time) + ttl)
    except OverflowError:
        return None
