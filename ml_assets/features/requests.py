"""Features of what is in no store: computed from a request as they are from a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_assets.documents.normalize import normalize
from ml_assets.errors import SourceError
from ml_assets.features.definition import Columns, FeatureView
from ml_assets.features.sources.corpus import entity_of
from ml_assets.features.text import text_features
from ml_assets.features.views import views_for
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores.online import Value


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


def features_of_text(
    text: str,
    title: str,
    metadata: Mapping[str, Any],
    read: Callable[[str, str], Mapping[str, Value]],
) -> dict[str, Value]:
    """The features of a text that is in no store, under `view__feature`; None: not known.

    `read` gives the latest online values of an entity, by the key of a view; none where there is
    no such entity.

    Raises:
        SourceError: the text is empty.
        FeatureViewError: a function of the user's own fails.
    """
    if not (seen := normalize(text)).strip():
        raise SourceError("the text is empty", do="Give a text with a word")
    row = {"title": normalize(title), "text": seen, **metadata}
    features: dict[str, Value] = {}
    for view in views_for("serving"):
        values: Mapping[str, Value] = {}
        entity = entity_of(row.get(view.entity_column))
        if (computed := request_features(view, [row])) is not None:
            values = {name: column[0] for name, column in computed.items()}
        elif entity is not None:
            values = read(view.key, entity)
        names = zip(view.columns, view.qualified, strict=True)
        features |= {qualified: values.get(name) for name, qualified in names}
    return features
