"""What a column of the source feeds: documents, chunks, indexes, features, training sets, models.

Told by how things are made, not by their values: which column is which field of a document is what
the settings say now, and a field that no live document has feeds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ml_assets.documents.sources.open import open_source
from ml_assets.errors import NothingToDoError
from ml_assets.features.definition import FeatureView
from ml_assets.features.views import VIEWS
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.operations.governance.nodes import (
    Lineage,
    Node,
    generation_node,
    releases_with,
    version_node,
)
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.versions import read_version, registered_versions
from ml_assets.releases.pointer import list_releases
from ml_assets.search.publishing.listing import list_generations
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

ALL = "*"

Made = Mapping[str, Sequence[str]]
"""Of each column the fields of documents that it is made of."""

_OWN = {name: (name,) for name in ("collection", "label", "created_at")}
_SEEN = ("title", "text")
"""What a model sees of a document."""

_CHUNKS: Made = {
    "chunk_id": ("document_id",),
    "heading": _SEEN,
    "text": ("text",),
    "collection": ("collection",),
    "created_at": ("created_at",),
}
_ENTRIES: Made = {
    "chunk_id": ("document_id",),
    "title": _SEEN,
    "text": ("text",),
    "embedding": _SEEN,
    **_OWN,
}
"""What an index keeps of a chunk, and of metadata each key."""

_TRAINED: Made = {
    "document_id": ("document_id",),
    "label": ("label",),
    "group_id": ("group",),
    "split": ("group", *_SEEN),
    "label_time": ("created_at",),
    "text_hash": _SEEN,
}
"""Beside the features, which are called as in the training set."""

COLUMNS_OF_ACTIVITY: Made = {
    "document_count": ("document_id",),
    "chunk_count": _SEEN,
    "mean_characters": ("text",),
    "median_characters": ("text",),
    "label_count": ("label",),
    "added": ("document_id",),
    "changed": ("document_id",),
    "removed_documents": ("document_id",),
}
_BUILT_IN: Mapping[str, Made] = {
    DOCUMENT_TEXT.name: dict.fromkeys(DOCUMENT_TEXT.columns, _SEEN),
    COLLECTION_ACTIVITY.name: COLUMNS_OF_ACTIVITY,
}
"""The views whose values code of this project computes."""


def trace_column(connection: postgres.Connection, settings: Settings, name: str) -> Lineage:
    """What a column of the source feeds, as the settings map it; `*`: all columns, as one.

    Raises:
        NothingToDoError: the source reads no such column.
        SettingError, SourceError: the setting of the source cannot be read.
    """
    source = open_source(settings.source, settings)
    columns = source.columns()
    named = {name: columns[name]} if name in columns else columns
    if name not in columns and name != ALL:
        raise NothingToDoError(
            f"no column {name!r} is read from it",
            where=source.name,
            do=f"Read are: {', '.join(columns)}",
        )
    becomes = {
        field: tuple(column for column, fed in named.items() if field in fed)
        for field in dict.fromkeys(chain.from_iterable(named.values()))
    }
    counts = {field: _count(connection, field) for field in becomes}
    fields = [field for field, count in counts.items() if count]
    documents = Node("table", "documents", counts, becomes)
    made = list(_made(connection, settings, fields)) if fields else []
    releases = releases_with(list_releases(connection), made)
    of = Node("column", name, {"source": source.name})
    return Lineage(of, [Node("source", source.name)], [documents, *made, *releases])


def _made(
    connection: postgres.Connection, settings: Settings, fields: Sequence[str]
) -> Iterable[Node]:
    """What is made of these fields of documents, nearest first."""
    if columns := _fed(_CHUNKS, fields):
        yield Node("table", "chunks", columns=columns)
    keys = {field: (field,) for field in fields if field.startswith("metadata.")}
    if columns := _fed({**_ENTRIES, **keys}, fields):
        for listed in list_generations(connection, settings, described=""):
            if listed.state != "dropped":
                node = generation_node(listed)
                yield Node(node.kind, node.name, node.facts, columns)
    views = {view.name: _of_view(view, fields) for view in VIEWS.values()}
    yield from (node for node in views.values() if node)
    versions = [
        version
        for listed in registered_versions(connection, most=1 << 31)
        if (version := read_version(connection, listed.version))
    ]
    sets = {
        each.candidate.training_set_hash: _of_training_set(each, views, fields) for each in versions
    }
    yield from (node for node in sets.values() if node)
    for version in versions:
        trained = sets[version.candidate.training_set_hash]
        if trained:
            decided = tuple(
                dict.fromkeys([*chain.from_iterable(trained.columns.values()), *trained.decided_by])
            )
            node = version_node(version)
            yield Node(node.kind, node.name, node.facts, decided_by=decided)


def _of_view(view: FeatureView, fields: Sequence[str]) -> Node | None:
    """A view, with its features that are made of the fields; those it is joined or grouped by."""
    source = view.source
    made = (
        _BUILT_IN.get(view.name, {})
        if source is None
        else {name: [field for field in fields if source.uses(field)] for name in view.columns}
    )
    key = view.entity_column
    named = key if key in ("document_id", "collection") else f"metadata.{key}"
    return _node("feature view", view.key, _fed(made, fields), [f for f in fields if f == named])


def _of_training_set(
    version: ModelVersion, views: Mapping[str, Node | None], fields: Sequence[str]
) -> Node | None:
    """The training set of a version; a view of an earlier version counts as the present one."""
    columns = _fed(_TRAINED, fields)
    decided: list[str] = []
    for key in version.feature_views:
        name = key.rpartition("_v")[0]
        if view := views.get(name):
            columns |= {f"{name}__{feature}": of for feature, of in view.columns.items()}
            decided += view.decided_by
    return _node("training set", version.candidate.training_set_hash, columns, decided)


def _node(kind: str, name: str, columns: Made, decided_by: Iterable[str]) -> Node | None:
    """A node, if any field has to do with it."""
    decided = tuple(dict.fromkeys(decided_by))
    return Node(kind, name, {}, columns, decided) if columns or decided else None


def _fed(made: Made, fields: Iterable[str]) -> dict[str, Sequence[str]]:
    """The columns that are made of these fields, of these alone."""
    wanted = {*fields}
    fed = {name: tuple(field for field in of if field in wanted) for name, of in made.items()}
    return {name: of for name, of in fed.items() if of}


def _count(connection: postgres.Connection, field: str) -> int:
    """How many live documents have a field."""
    bound: dict[str, Any] = {"field": field, "key": field.partition(".")[2]}
    text = statement("postgres/documents/documents_with")
    return postgres.read_counts(connection, text, bound)["documents"]
