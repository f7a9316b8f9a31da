"""The kind `chroma` of the registry; its library is imported when an index is opened."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ml_assets.search.indexes.contract import AnyIndex, IndexKind
from ml_assets.search.model import Generation
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, postgres


def _parameters(settings: Settings) -> Mapping[str, Any]:
    return {
        "index": "hnsw",
        "distance": "cosine",
        "layout": 3,
        "m": settings.hnsw_m,
        "ef_construction": settings.hnsw_ef_construction,
        "ef_search": settings.hnsw_ef_search,
    }


@contextmanager
def _open(
    settings: Settings, connection: postgres.Connection, generation: Generation
) -> Iterator[AnyIndex]:
    from ml_assets.search.indexes.chroma.index import ChromaIndex

    disk = None if settings.chroma_url else chroma.embedded_folder(settings.home)
    with chroma.connect(secret(settings.chroma_url), settings.home) as client:
        yield ChromaIndex(client, generation, disk=disk)


def _keep(settings: Settings) -> AbstractContextManager[object]:
    """A client of the embedded store: all of one folder share what the first has loaded."""
    return nullcontext() if settings.chroma_url else chroma.connect(None, settings.home)


def _tidy(settings: Settings, kept: Collection[str]) -> None:
    if not settings.chroma_url:
        chroma.purge(settings.home)


KIND = IndexKind(
    "chroma",
    description="The Chroma collection of the generation, equal to the embedded chunks.",
    technology="chroma",
    answers="vector",
    parameters=_parameters,
    open=_open,
    keep=_keep,
    is_graph=True,
    pool="chroma",
    tidy=_tidy,
)
