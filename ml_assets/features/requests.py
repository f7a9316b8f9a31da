"""Features of what is in no store: computed from a request as they are from a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets.documents.normalize import normalize
from ml_assets.errors import SourceError
from ml_assets.features.definition import Columns, FeatureView
from ml_assets.features.sources.corpus import entity_of
from ml_assets.features.text import text_features
from ml_assets.features.views import views_for
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores.online import Reading, Value, Values


def request_features(view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> Columns | None:
    """What `view` tells of rows with `title` and `text`, by the code that tells it of documents.

    None: its values are of what is stored, and have to be read. Of `document_text` the distance to
    the nearest document is unknown: it takes the vectors.

    Raises:
        FeatureViewError: a function of the user's own fails.
    """
    if view.name == DOCUMENT_TEXT.name:
        seen = ["\n".join(filter(None, (row.get("title"), row["text"]))) for row in rows]
        described = [text_features(text) for text in seen]
        return {name: [each.get(name) for each in described] for name in view.columns}
    return None if view.source is None else view.source.of_request(view, rows)


@dataclass(frozen=True, slots=True)
class Described:
    """Features of rows that are in no store, under `view__feature`: a value of each row.

    A value is None where it is not known. `unknown` says of each row, by the name of a view, why
    no values of its entity were there to be read.
    """

    values: dict[str, list[Value]]
    unknown: list[dict[str, str]]


Read = Callable[[str, Sequence[str]], Reading]
"""Gives the latest online values of entities, by the key of a view."""


def describe_rows(
    views: Iterable[FeatureView], rows: Sequence[Mapping[str, Any]], read: Read
) -> Described:
    """The features of rows with `title`, `text` and metadata: computed where that can be, or read.

    Raises:
        FeatureViewError: a function of the user's own fails.
        StoreError: the online store cannot be used.
    """
    described = Described({}, [{} for _ in rows])
    for view in views:
        columns = request_features(view, rows)
        if columns is None:
            columns, reasons = _stored(view, rows, read)
            for unknown, reason in zip(described.unknown, reasons, strict=True):
                if reason:
                    unknown[view.name] = reason
        for name, qualified in zip(view.columns, view.qualified, strict=True):
            described.values[qualified] = list(columns.get(name) or [None] * len(rows))
    return described


def features_of_text(
    text: str, title: str, metadata: Mapping[str, Any], read: Read
) -> dict[str, Value]:
    """The features of a text that is in no store, under `view__feature`; None: not known.

    Raises:
        SourceError: the text is empty.
        FeatureViewError: a function of the user's own fails.
        StoreError: the online store cannot be used.
    """
    if not (seen := normalize(text)).strip():
        raise SourceError("the text is empty", do="Give a text with a word")
    row = {**metadata, "title": normalize(title), "text": seen}
    values = describe_rows(views_for("serving"), [row], read).values
    return {name: value for name, (value,) in values.items()}


def _stored(
    view: FeatureView, rows: Sequence[Mapping[str, Any]], read: Read
) -> tuple[Columns, list[str]]:
    """The latest values of what rows name, and of each row why there are none; empty: there are."""
    if "serving" not in view.uses:
        return {}, ["it is not for serving"] * len(rows)
    entities = [entity_of(row.get(view.entity_column)) for row in rows]
    asked = [entity for entity in dict.fromkeys(entities) if entity is not None]
    reading = read(view.key, asked) if asked else Reading(None)
    nothing: Values = {}
    found = [
        nothing if entity is None else reading.values.get(entity, nothing) for entity in entities
    ]
    columns = {name: [values.get(name) for values in found] for name in view.columns}
    return columns, [_why_unknown(view, entity, reading) for entity in entities]


def _why_unknown(view: FeatureView, entity: str | None, reading: Reading) -> str:
    if entity is None:
        return f"no {view.entity_column} was given"
    if ended := reading.expired.get(entity):
        return f"the values of {entity!r} held till {ended:%Y-%m-%d %H:%M:%S} UTC"
    return "" if entity in reading.values else f"there are no values of {entity!r}"
