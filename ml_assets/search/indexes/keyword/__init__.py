"""The kind `keyword` of the registry; its library is imported when an index is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, closing
from typing import Any

from ml_assets.search.indexes.contract import AnyIndex, IndexKind
from ml_assets.search.indexes.keyword.spelling import VERSION
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import remove_others


def _parameters(settings: Settings) -> Mapping[str, Any]:
    return {
        "analyzer": "pairs where no spaces are written, lowercase, accents folded, stems",
        # A term counts by its better field, plus this part of the other: both were chosen on the
        # tuning halves of `python_docs` and SciFact.
        "title_boost": 1.0,
        "tie_breaker": 0.1,
        "layout": VERSION,
    }


def _open(
    settings: Settings, connection: postgres.Connection, generation: Generation
) -> AbstractContextManager[AnyIndex]:
    from ml_assets.search.indexes.keyword.index import KeywordIndex

    return closing(KeywordIndex(settings.keyword_folder, generation))


def _tidy(settings: Settings, kept: Collection[str]) -> None:
    # A shared folder outside of the home may be that of another deployment, too.
    if settings.keyword_folder.is_relative_to(settings.home):
        remove_others(settings.keyword_folder, kept)


KIND = IndexKind(
    "keyword",
    description="The BM25 index of the generation, equal to the embedded chunks.",
    technology="tantivy",
    answers="text",
    parameters=_parameters,
    open=_open,
    pool="keyword",
    tidy=_tidy,
)
