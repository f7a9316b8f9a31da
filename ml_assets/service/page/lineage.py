"""What saw a document: search generations by their vectors, model versions by their time.

Which documents a model was trained on is in its training set, which the service does not open: of
a version is told only whether it could have seen what was there when it was registered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_assets.documents.model import Document
from ml_assets.registry.versions import Registered, registered_versions
from ml_assets.search.generation import count_vectors, find_generation
from ml_assets.search.publishing.listing import ListedGeneration, list_generations
from ml_assets.settings import Settings
from ml_assets.stores import postgres


@dataclass(frozen=True, slots=True)
class Lineage:
    """Generations with how many chunks of a document each has; versions that came after it.

    `versions`: those registered since its last change, none of a document without a label.
    """

    generations: Sequence[tuple[ListedGeneration, int]]
    versions: Sequence[Registered]
    changed_at: datetime


def readable_generations(
    connection: postgres.Connection, settings: Settings
) -> list[ListedGeneration]:
    """The generations that have their indexes, the published one first."""
    listed = list_generations(connection, settings, described="")
    return [generation for generation in listed if generation.state != "dropped"]


def lineage_of(
    connection: postgres.Connection,
    settings: Settings,
    document: Document,
    history: Sequence[Mapping[str, Any]],
) -> Lineage:
    """The lineage of a live document with its history, the oldest entry first."""
    changed_at = history[-1]["changed_at"]
    generations = [
        (listed, count_vectors(connection, generation, document.document_id))
        for listed in readable_generations(connection, settings)
        for generation in [find_generation(connection, listed.generation_id)]
    ]
    versions = registered_versions(connection) if document.label else []
    later = [version for version in versions if version.registered_at >= changed_at]
    return Lineage(generations, later, changed_at)
