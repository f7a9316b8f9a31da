"""The kind `faiss` of the registry; its library is imported when an index is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, closing
from typing import Any

from ml_assets.search.indexes.contract import AnyIndex, IndexKind
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import remove_others


def _parameters(settings: Settings) -> Mapping[str, Any] | None:
    name, _, index = settings.vector_index.partition("-")
    return {"index": index, "layout": 1} if name == "faiss" else None


def _open(
    settings: Settings, connection: postgres.Connection, generation: Generation
) -> AbstractContextManager[AnyIndex]:
    from ml_assets.search.indexes.faiss.index import FaissIndex

    return closing(FaissIndex(settings.faiss_folder, generation))


def _tidy(settings: Settings, kept: Collection[str]) -> None:
    remove_others(settings.faiss_folder, kept)


KIND = IndexKind(
    "faiss",
    description="The FAISS index of the generation, equal to the embedded chunks.",
    technology="faiss",
    answers="vector",
    parameters=_parameters,
    open=_open,
    tidy=_tidy,
)
