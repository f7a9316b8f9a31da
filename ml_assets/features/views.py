"""Feature views: which features there are, of what, in which range, and for which use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

from ml_assets.delta import Delta
from ml_assets.errors import FeatureViewError
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

Entity = Literal["document", "collection"]
Use = Literal["training", "serving", "monitoring"]

ENTITY_COLUMN: dict[Entity, str] = {"document": "document_id", "collection": "collection"}
"""The column of a spine that names the entity."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a view; a bound that is None is open. Null means: not known."""

    name: str
    dtype: Literal["bigint", "double"]
    description: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Features of one kind of entity that are computed together and versioned as one."""

    name: str
    version: int
    entity: Entity
    description: str
    features: tuple[Feature, ...]
    uses: frozenset[Use]
    ttl: timedelta | None = None

    @property
    def key(self) -> str:
        """Name and version: what values are stored under."""
        return f"{self.name}_v{self.version}"

    @property
    def table(self) -> str:
        """The wide table of the offline store."""
        return f"features_{self.key}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features, as in the table."""
        return tuple(feature.name for feature in self.features)

    @property
    def qualified(self) -> tuple[str, ...]:
        """The names of the features beside those of other views: `view__feature`."""
        return tuple(f"{self.name}__{column}" for column in self.columns)


DOCUMENT_TEXT = FeatureView(
    name="document_text",
    version=2,
    entity="document",
    description="How long, varied, technical and readable a document is, and how much like others",
    features=(
        Feature("characters", "bigint", "characters of title and text", 1),
        Feature("words", "bigint", "runs of letters, apostrophes and hyphens inside kept", 0),
        Feature("sentences", "bigint", "stretches ended by . ! ? or an empty line", 0),
        Feature("mean_word_length", "double", "letters per word", 1),
        Feature("lexical_diversity", "double", "moving-average type-token ratio, 50 words", 0, 1),
        Feature("code_share", "double", "share of the non-empty lines that look like code", 0, 1),
        Feature("digit_share", "double", "share of the characters that are digits", 0, 1),
        Feature("punctuation_share", "double", "share of punctuation and symbols", 0, 1),
        Feature("reading_ease", "double", "Flesch reading ease; higher is easier", None, 121.23),
        Feature("nearest_distance", "double", "1 - cosine to the nearest other document", 0, 2),
    ),
    uses=frozenset({"training", "serving", "monitoring"}),
)

COLLECTION_ACTIVITY = FeatureView(
    name="collection_activity",
    version=1,
    entity="collection",
    description="How large a collection is and how it has changed",
    features=(
        Feature("document_count", "bigint", "live documents", 0),
        Feature("chunk_count", "bigint", "chunks of the live documents", 0),
        Feature("mean_characters", "double", "mean characters of a document", 1),
        Feature("median_characters", "double", "median characters of a document", 1),
        Feature("label_count", "bigint", "different labels", 0),
        Feature("added", "bigint", "documents added so far, by the change log", 0),
        Feature("changed", "bigint", "documents changed so far", 0),
        Feature("removed_documents", "bigint", "documents removed so far", 0),
    ),
    # Not for training: where the collection is the label, its features give the label away.
    uses=frozenset({"serving", "monitoring"}),
)

VIEWS: dict[str, FeatureView] = {view.name: view for view in (DOCUMENT_TEXT, COLLECTION_ACTIVITY)}


def views_for(use: Use) -> tuple[FeatureView, ...]:
    """The views that permit `use`."""
    return tuple(view for view in VIEWS.values() if use in view.uses)


def fingerprint(view: FeatureView) -> str:
    """Return the sha256 (hex) of all that gives the values their meaning; wording is left out."""
    meaning = _definition(view)
    del meaning["description"]
    meaning["features"] = [[f.name, f.dtype, f.minimum, f.maximum] for f in view.features]
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def training_views() -> dict[str, str]:
    """What models are trained on: the fingerprint of each view, by its key."""
    return {view.key: fingerprint(view) for view in views_for("training")}


def refresh_definitions(
    connection: postgres.Connection, views: Iterable[FeatureView] = tuple(VIEWS.values())
) -> Delta:
    """Write the definitions of `views` to `feature_definitions`; earlier versions stay.

    Raises:
        FeatureViewError: a view changed and its version did not; nothing is written.
    """
    with connection.transaction():
        return sum((_write_definition(connection, view) for view in views), Delta())


def _write_definition(connection: postgres.Connection, view: FeatureView) -> Delta:
    values = {
        "view": view.name,
        "version": view.version,
        "entity": view.entity,
        "fingerprint": fingerprint(view),
        "definition": json.dumps(_definition(view), sort_keys=True),
    }
    text = statement("postgres/features/read_definition")
    known = connection.execute(text, values).fetchone()
    # Where the definition is this one, another hand changed its fingerprint.
    if known and known[0] != values["fingerprint"] and not known[1]:
        raise FeatureViewError(
            f"its definition changed, but it is still version {view.version}",
            where=f"feature view {view.name}",
            do=f"Set its version to {view.version + 1}, with a migration for its table",
        )
    if known and known[2]:
        return Delta(unchanged=1)
    connection.execute(statement("postgres/features/write_definition"), values)
    return Delta(changed=1) if known else Delta(added=1)


def _definition(view: FeatureView) -> dict[str, object]:
    definition = asdict(view)
    ttl = definition.pop("ttl")
    seconds = None if ttl is None else ttl.total_seconds()
    return {**definition, "uses": sorted(view.uses), "ttl_seconds": seconds}
