"""The online store, and caches of vectors of queries and of answers of models."""

from __future__ import annotations

from ml_assets.features.views import VIEWS
from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.settings import secret
from ml_assets.stores import cache, online

_FILE = "the file was written anew"
_SERVER = "deleted; what its server keeps in memory, logs and snapshots is not shown"


def erase(place: Place, subject: Subject) -> list[Removed]:
    """Delete the values of the documents, and empty the caches: who asks has it computed again.

    A key of a cache is a hash: it does not tell of which text it is.

    Raises:
        StoreError: a store does not answer, or somebody reads its file for too long.
    """
    url, removed = secret(place.settings.online_url), 0
    if url or (place.home / online.FILE).exists():
        with online.connect(url, place.home) as store:
            for view in store.views():
                if view not in _OTHERS:
                    removed += len(store.get_rows(view, subject.documents))
                    store.delete_many(view, subject.documents)
        if not url:
            online.purge(place.home)
    of_caches = _clear(place)
    return [
        Removed("online store", "entities", removed, _SERVER if url else _FILE),
        Removed("caches", "values", 0, of_caches),
    ]


def _clear(place: Place) -> str:
    url = secret(place.settings.cache_url)
    if not url and not (place.home / cache.FILE).exists():
        return "there are none"
    with cache.connect(url, place.home) as opened:
        cleared = opened.clear()
    if not cleared:
        return "not shown: Memcached keeps them until they end, or it is emptied"
    return f"all were deleted: {_SERVER if url else _FILE}"


_OTHERS = {view.key for view in VIEWS.values() if view.entity != "document"}
"""Views of other entities, whose ids may be as that of a document."""
