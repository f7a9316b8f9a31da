"""What a feature view is: which features, of what, in which range, and for which use."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

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


def fingerprint(view: FeatureView) -> str:
    """Return the sha256 (hex) of all that gives the values their meaning; wording is left out."""
    meaning = describe(view)
    del meaning["description"]
    meaning["features"] = [[f.name, f.dtype, f.minimum, f.maximum] for f in view.features]
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def describe(view: FeatureView) -> dict[str, object]:
    """The definition as JSON takes it."""
    definition = asdict(view)
    ttl = definition.pop("ttl")
    seconds = None if ttl is None else ttl.total_seconds()
    return {**definition, "uses": sorted(view.uses), "ttl_seconds": seconds}
