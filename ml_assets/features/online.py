"""The online copy: the latest offline values of every live entity, under its id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ml_assets.delta import Delta
from ml_assets.features.offline import current_rows
from ml_assets.features.views import FeatureView
from ml_assets.stores import duckdb
from ml_assets.stores.online import OnlineStore, Value
from ml_assets.stores.sql import statement

_BATCH = 5000


def refresh_online(
    duck: duckdb.Connection, online: OnlineStore, views: Iterable[FeatureView]
) -> Delta:
    """Make the online values of `views` the latest offline ones; only differences are written."""
    return sum((_refresh_view(duck, online, view) for view in views), Delta())


def online_differences(
    duck: duckdb.Connection, online: OnlineStore, view: FeatureView
) -> dict[str, list[str]]:
    """Compare every value online with offline: ids that are `missing`, `extra`, `different`."""
    offline_ids = _revisions(duck, view).keys()
    online_ids = online.revisions(view.key).keys()
    different = [
        entity_id
        for batch in _batches(sorted(offline_ids & online_ids))
        for stored in [online.get_many(view.key, batch)]
        for entity_id, values in _values(duck, view, batch).items()
        if stored.get(entity_id) != values
    ]
    return {
        "missing": sorted(offline_ids - online_ids),
        "extra": sorted(online_ids - offline_ids),
        "different": different,
    }


def _refresh_view(duck: duckdb.Connection, online: OnlineStore, view: FeatureView) -> Delta:
    wanted = _revisions(duck, view)
    present = online.revisions(view.key)
    gone = present.keys() - wanted.keys()
    added = wanted.keys() - present.keys()
    changed = {id_ for id_, known in present.items() if wanted.get(id_, known) != known}
    for batch in _batches(sorted(added | changed)):
        online.put_many(view.key, _values(duck, view, batch), wanted)
    online.delete_many(view.key, gone)
    unchanged = len(wanted) - len(added) - len(changed)
    return Delta(len(added), len(changed), len(gone), unchanged)


def _revisions(duck: duckdb.Connection, view: FeatureView) -> dict[str, str]:
    text = statement("duckdb/features/revisions").format(current=current_rows(view))
    return dict(duck.execute(text).fetchall())


def _values(
    duck: duckdb.Connection, view: FeatureView, entity_ids: Sequence[str]
) -> dict[str, dict[str, Value]]:
    text = statement("duckdb/features/values").format(
        current=current_rows(view), columns=", ".join(view.columns)
    )
    rows = duck.execute(text, {"entity_ids": list(entity_ids)}).fetchall()
    return {row[0]: dict(zip(view.columns, row[1:], strict=True)) for row in rows}


def _batches(entity_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(entity_ids), _BATCH):
        yield entity_ids[start : start + _BATCH]
