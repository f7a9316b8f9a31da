"""Features of what is in no store: computed from a request as they are from a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets.features.definition import Columns, FeatureView
from ml_assets.features.text import text_features
from ml_assets.features.views.document_text import DOCUMENT_TEXT


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
