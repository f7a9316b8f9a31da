"""What a feature view is: which features, of what, from where, in which range, for which use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from math import isnan
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from ml_assets.errors import FeatureViewError, NothingToDoError

if TYPE_CHECKING:
    from ml_assets.features.sources.corpus import Corpus, State

Entity = str
"""`document`, `collection`, or a key of the documents' metadata, such as `author_id`."""
Use = Literal["training", "serving", "monitoring"]
Dtype = Literal["bigint", "double", "boolean", "varchar"]
Nulls = Literal["allowed", "refused"]

OWN_COLUMNS = frozenset({"entity_id", "event_time", "known_time", "removed", "value_hash", "rowid"})
"""What every offline table has beside the features."""

_WORKING_COLUMNS = frozenset(
    {"place", "action", "input_hash", "text_hash", "new_hash", "differs", "known_since", "gone"}
    | {"first_time", "changed_time", "removed_time", "state_time", "candidate_time", "latest_time"}
)
"""What stands beside the features while they are compared."""

_OF_A_SPINE = (
    *("document_id", "event_time", "known_time", "document_time"),
    *("title", "text", "label"),
)
"""Columns that a spine, or a request, has beside the keys."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_KEY = re.compile(r"\w[\w .-]{0,99}")


Columns = Mapping[str, Sequence[Any]]
"""Features by name, a value per row."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a view; a bound that is None is open. Null means: not known."""

    name: str
    dtype: Dtype
    description: str
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    nulls: Nulls = "allowed"

    @property
    def is_number(self) -> bool:
        """Whether it has a range, and a model can read it."""
        return self.dtype in ("bigint", "double")


class Source(Protocol):
    """Where the values of a view come from; `features.sources` has the kinds."""

    @property
    def has_history(self) -> bool:
        """Whether it gives the values of an entity at several times, each with its event time."""

    @property
    def has_own(self) -> bool:
        """Whether a document is among what the values of its author, its product … are made of."""

    @property
    def tells_when_known(self) -> bool:
        """Whether it says of a row when it was known; else it is known from when it is read."""

    def meaning(self) -> dict[str, Any]:
        """All of it that gives the values their meaning, as JSON takes it; no secrets."""

    @property
    def reads(self) -> Sequence[str]:
        """The relations, files or databases that it reads."""

    def uses(self, field: str) -> bool:
        """Whether values may be made of this field of documents; metadata as `metadata.KEY`."""

    def stamp(self) -> str:
        """What another is once something was written that it reads outside of the corpus."""

    def of_request(self, view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> Columns | None:
        """The features of rows that are in no store; None: it takes more than a row to tell."""

    def state(self, corpus: Corpus) -> State:
        """What tells whether anything that it reads has changed."""

    def stage(self, corpus: Corpus, view: FeatureView) -> None:
        """Fill the temporary table `staged` as `sources.corpus.shape` does."""


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Features of one kind of entity that are computed together and versioned as one.

    Without a source, the code of its own module computes the values.
    """

    name: str
    version: int
    entity: Entity
    description: str
    features: tuple[Feature, ...]
    uses: frozenset[Use]
    ttl: timedelta | None = None
    source: Source | None = None
    owner: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be stored, or would leak.

        Raises:
            FeatureViewError: a name, a range or a use that cannot be.
        """
        if problem := _problem(self):
            raise FeatureViewError(
                problem, where=f"feature view {self.name}", do="Correct its definition"
            )

    @property
    def key(self) -> str:
        """Name and version: what values are stored under."""
        return f"{self.name}_v{self.version}"

    @property
    def table(self) -> str:
        """The wide table of the offline store."""
        return f"features_{self.key}"

    @property
    def entity_column(self) -> str:
        """The column of a spine, of a query, and of documents, that names the entity."""
        return "document_id" if self.entity == "document" else self.entity

    @property
    def has_history(self) -> bool:
        """Whether an entity has values at several event times, which come and go on their own."""
        return self.source is not None and self.source.has_history

    @property
    def is_strict(self) -> bool:
        """Whether only rows before a document was there may be joined to it: it is in the others.

        A view over documents of the same author holds the document itself, and its label.
        """
        return self.entity != "document" and self.source is not None and self.source.has_own

    @property
    def tells_when_known(self) -> bool:
        """Whether what was known after a document came may not be joined to it."""
        return (
            self.entity != "document" and self.source is not None and self.source.tells_when_known
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features, as in the table."""
        return tuple(feature.name for feature in self.features)

    @property
    def qualified(self) -> tuple[str, ...]:
        """The names of the features beside those of other views: `view__feature`."""
        return tuple(f"{self.name}__{column}" for column in self.columns)


def fingerprint(view: FeatureView) -> str:
    """Return the sha256 (hex) of all that gives the values their meaning; wording is left out.

    What was added to definitions later counts where it is set, so that earlier ones keep theirs.
    """
    meaning: dict[str, Any] = {
        "name": view.name,
        "version": view.version,
        "entity": view.entity,
        "features": [[f.name, f.dtype, f.minimum, f.maximum] for f in view.features],
        "uses": sorted(view.uses),
        "ttl_seconds": _seconds(view.ttl),
    }
    units = {f.name: f.unit for f in view.features if f.unit}
    refused = [f.name for f in view.features if f.nulls == "refused"]
    source = view.source and view.source.meaning()
    later = {"units": units, "nulls_refused": refused, "source": source}
    meaning |= {name: value for name, value in later.items() if value}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def describe(view: FeatureView) -> dict[str, Any]:
    """The definition as JSON takes it."""
    return {
        "name": view.name,
        "version": view.version,
        "entity": view.entity,
        "description": view.description,
        "features": [asdict(feature) for feature in view.features],
        "uses": sorted(view.uses),
        "ttl_seconds": _seconds(view.ttl),
        "source": view.source and view.source.meaning(),
        "owner": view.owner,
    }


def unknown_entity(view: FeatureView, entity: str) -> NothingToDoError:
    """The error of who asks for an entity of which there are no values."""
    look = f"check the {view.entity_column}"
    if view.entity == "document":
        look = "see the ids in `ml-assets search --json`"
    what = f"{view.name} has no values of {entity!r}"
    return NothingToDoError(what, do=f"Run `ml-assets run`, or {look}")


def _seconds(ttl: timedelta | None) -> float | None:
    return None if ttl is None else ttl.total_seconds()


def _problem(view: FeatureView) -> str:
    """What is wrong with a definition; empty: nothing."""
    names = [feature.name for feature in view.features]
    for name in (view.name, *names):
        if not _NAME.fullmatch(name):
            return f"{name!r} is not a name of small letters, digits and _, 48 at most"
    if view.name in ("document", "collection", "online", "label"):
        return f"the name {view.name} is taken by ml_assets"
    if own := (OWN_COLUMNS | _WORKING_COLUMNS).intersection(names):
        return f"a feature cannot be called {min(own)}: every view has that column"
    if len(set(names)) < len(names) or not names:
        return "it has no features" if not names else "two of its features have one name"
    if type(view.version) is not int:
        return f"version {view.version!r} is no whole number"
    if view.version < 1:
        return f"version {view.version} is less than 1"
    if not {*get_args(Use)}.issuperset(view.uses):
        return f"its uses, {sorted(view.uses)}, are not among {', '.join(get_args(Use))}"
    if not _KEY.fullmatch(view.entity) or view.entity in _OF_A_SPINE:
        return f"{view.entity!r} is neither document, collection nor a key of metadata"
    if view.ttl is not None and view.ttl <= timedelta(0):
        return f"a ttl of {view.ttl} leaves nothing; without one, values never get too old"
    for feature in view.features:
        for value, known in ((feature.dtype, get_args(Dtype)), (feature.nulls, get_args(Nulls))):
            if value not in known:
                return f"{value!r} of {feature.name} is none of {', '.join(known)}"
        if not feature.is_number and (feature.minimum, feature.maximum) != (None, None):
            return f"{feature.name} is of type {feature.dtype}, which has no range"
        low, high = feature.minimum, feature.maximum
        if any(bound is not None and isnan(bound) for bound in (low, high)):
            return f"a bound of {feature.name} is no number"
        if low is not None and high is not None and low > high:
            return f"the range of {feature.name}, {low} to {high}, is empty"
        if "training" in view.uses and not feature.is_number:
            return f"{feature.name} is of type {feature.dtype}; models are trained on numbers"
    if view.source is not None and not hasattr(view.source, "stage"):
        return f"its source, {view.source!r}, is no Query, Function or Table"
    if "training" in view.uses and view.is_strict and not view.has_history:
        return "its values of now hold the document itself: for training, give an event time"
    return ""
