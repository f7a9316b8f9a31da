"""The online copy: the latest offline values of every live entity, under its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ml_assets.delta import Delta
from ml_assets.features.definition import FeatureView
from ml_assets.features.offline import query_current, read_current
from ml_assets.stores import duckdb
from ml_assets.stores.online import OnlineStore, Value

_BATCH = 5000


def refresh_online(duck: duckdb.Connection, online: OnlineStore, view: FeatureView) -> Delta:
    """Make the online values of `view` the latest offline ones; only differences are written."""
    wanted, present = _revisions(duck, view), online.revisions(view.key)
    gone = present.keys() - wanted.keys()
    added = wanted.keys() - present.keys()
    changed = {id_ for id_, known in present.items() if wanted.get(id_, known) != known}
    for values in _values(duck, view, sorted(added | changed)):
        online.put_many(view.key, values, wanted)
    online.delete_many(view.key, gone)
    unchanged = len(wanted) - len(added) - len(changed)
    return Delta(len(added), len(changed), len(gone), unchanged)


def online_differences(
    duck: duckdb.Connection, online: OnlineStore, view: FeatureView
) -> dict[str, list[str]]:
    """Compare every value online with offline: ids that are `missing`, `extra`, `different`."""
    offline_ids = _revisions(duck, view).keys()
    online_ids = online.revisions(view.key).keys()
    different: list[str] = []
    for values in _values(duck, view, sorted(offline_ids & online_ids)):
        stored = online.get_many(view.key, list(values))
        different += (id_ for id_ in values if stored.get(id_) != values[id_])
    return {
        "missing": sorted(offline_ids - online_ids),
        "extra": sorted(online_ids - offline_ids),
        "different": different,
    }


def count_behind(duck: duckdb.Connection, online: OnlineStore, view: FeatureView) -> int:
    """Of how many entities the online store has other values than the latest, or none."""
    wanted, present = _revisions(duck, view), online.revisions(view.key)
    return sum(present.get(entity) != revision for entity, revision in wanted.items())


def _revisions(duck: duckdb.Connection, view: FeatureView) -> dict[str, str]:
    return dict(query_current(duck, view, "revisions").fetchall())


def _values(
    duck: duckdb.Connection, view: FeatureView, entity_ids: Sequence[str]
) -> Iterator[dict[str, dict[str, Value]]]:
    """The values of the entities, in batches."""
    for start in range(0, len(entity_ids), _BATCH):
        bound = {"entity_ids": list(entity_ids[start : start + _BATCH])}
        yield {row.pop("entity_id"): row for row in read_current(duck, view, "values", bound)}
