"""The measurement of a generation: a type, and how it is kept as JSON beside the generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError

from ml_assets.errors import StoreError
from ml_assets.search.evaluation.metrics import NDCG, K, Metrics
from ml_assets.search.model import Fusion
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

VERSION = 8
"""Raise it when the measuring or the fields change, so that generations are measured again."""

Interval: TypeAlias = tuple[float, float]
"""The 95 % interval of a mean over queries."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The chosen fusion, and why: nDCG@10 of the tuning queries.

    `gain` is what the way of choosing gained over the default on queries that it did not see, and
    `error` the standard error of that.
    """

    fusion: Fusion
    queries: int
    default: float = 0.0
    chosen: float = 0.0
    gain: float = 0.0
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One method against another on the same queries; `difference` is the mean, with interval."""

    method: str
    against: str
    difference: float
    interval: Interval
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class MethodQuality:
    """Every method on the judged queries.

    `methods` and `intervals`: method → half → metric. On the reporting half, `ndcg`: method → query
    → nDCG@10, and `comparison` of hybrid with the better single index.
    """

    methods: Mapping[str, Mapping[str, Metrics]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]] = field(default_factory=dict)
    ndcg: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """All that was measured of a generation.

    state: a hash over all that the measurement depends on; empty: it has to be measured again.
    recall: recall@k by index, against exact search, on `sampled` live vectors.
    reached: the part of these vectors that an index finds by themselves.
    judged_recall: recall@k by index, on the judged queries.
    documents: the version of the documents it was measured on.
    tuning: the fusion to serve, and why; chosen on `tuning_basis`, a hash.
    missing_documents: judged, but not in the corpus.
    """

    state: str
    recall: Mapping[str, float]
    reached: Mapping[str, float]
    sampled: int
    judged_recall: Mapping[str, float]
    documents: str
    tuning: Tuned
    tuning_basis: str
    quality: MethodQuality
    judged_queries: int
    missing_documents: int
    seconds: float
    k: int = K
    version: int = VERSION

    @property
    def fusion(self) -> Fusion:
        """The fusion to serve."""
        return self.tuning.fusion

    @property
    def hybrid(self) -> Mapping[str, float]:
        """nDCG@10 of the hybrid method, by reporting query."""
        return self.quality.ndcg.get("hybrid", {})

    @property
    def ndcg(self) -> float | None:
        """The mean nDCG@10 of the hybrid method on the reporting queries; None without any."""
        reporting = self.quality.methods.get("hybrid", {}).get("reporting")
        return reporting[NDCG] if reporting else None


@dataclass(frozen=True, slots=True)
class Measurements:
    """The last measurement of a generation, and the one it was published with last, if any."""

    latest: Measurement | None = None
    published: Measurement | None = None


@dataclass(frozen=True, slots=True)
class KeptMeasurement:
    """What is kept of every measurement.

    quality: method → metric → mean over the reporting queries. recall: by index, against exact
    search. latency: p50_ms and p95_ms of a search, where there were queries.
    """

    generation_id: str
    measured_at: datetime
    documents: str
    queries: int
    quality: Mapping[str, Metrics]
    recall: Mapping[str, float]
    latency: Mapping[str, float]


def as_json(measurement: Measurement) -> dict[str, Any]:
    """The measurement as a document of JSON."""
    document: dict[str, Any] = _adapter().dump_python(measurement, mode="json")
    return document


def from_json(document: Mapping[str, Any] | None) -> Measurement | None:
    """Read a document; None for one of another version, which counts as not measured.

    Raises:
        StoreError: it is of this version, but has an unknown key, lacks one, or has a wrong type.
    """
    if document is None or document.get("version") != VERSION:
        return None
    try:
        measurement = _adapter().validate_python(document)
        own = as_json(measurement)
        names = own.keys() | document.keys()
        wrong = sorted(name for name in names if own.get(name) != document.get(name))
        if not wrong:
            return measurement
        problem = f"a key is unknown or missing in {', '.join(wrong)}"
    except ValidationError as error:
        (first, *_) = error.errors()
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise StoreError(
        f"a measurement cannot be read ({problem})",
        where="ml_schema.search_generations",
        do="Set its column measured or evaluation to null, and run `ml-assets run --all`",
    )


def read_measurements(connection: postgres.Connection, generation_id: str) -> Measurements:
    """The measurements of a generation.

    What another version of the code measured is none, nor is what was changed since it was kept.
    """
    bound = {"generation_id": generation_id}
    row = connection.execute(statement("postgres/search/evaluation/measurements"), bound).fetchone()
    return Measurements(*map(from_json, row)) if row else Measurements()


def record_measurement(
    connection: postgres.Connection, generation_id: str, measurement: Measurement
) -> None:
    """Keep a fresh measurement of a generation; what is served stays until it is published."""
    bound = {"generation_id": generation_id, "document": Jsonb(as_json(measurement))}
    connection.execute(statement("postgres/search/evaluation/record_measured"), bound)


def keep_measurement(
    connection: postgres.Connection,
    generation_id: str,
    measurement: Measurement,
    seconds: Sequence[float],
) -> None:
    """Add a measurement to those of two years; `seconds` are those of single searches.

    What is older goes, but the last of each generation.
    """
    import numpy as np

    quantiles = np.quantile(seconds, [0.5, 0.95]) if seconds else ()
    milliseconds = [1000 * float(value) for value in quantiles]
    methods = measurement.quality.methods
    bound = {
        "generation_id": generation_id,
        "documents": measurement.documents,
        "queries": measurement.judged_queries,
        "quality": Jsonb({k: v["reporting"] for k, v in methods.items() if "reporting" in v}),
        "recall": Jsonb(dict(measurement.recall)),
        "latency": Jsonb(dict(zip(("p50_ms", "p95_ms"), milliseconds, strict=False))),
    }
    connection.execute(statement("postgres/search/evaluation/keep_measurement"), bound)
    connection.execute(statement("postgres/search/evaluation/forget_measurements"))


def kept_measurements(connection: postgres.Connection, until: datetime) -> list[KeptMeasurement]:
    """The last measurement before `until` of each day (UTC) and generation, by its time."""
    with connection.cursor(row_factory=class_row(KeptMeasurement)) as cursor:
        text = statement("postgres/search/evaluation/kept_measurements")
        return cursor.execute(text, {"until": until}).fetchall()


def record_published(
    connection: postgres.Connection, generation_id: str, measurement: Measurement
) -> None:
    """Keep what a generation is published with; it is served with this fusion from now on.

    The same is not written again: every write asks other hosts to look at all they hold.
    """
    document = as_json(measurement)
    bound = {
        "generation_id": generation_id,
        "document": Jsonb(document),
        "fusion": Jsonb(document["tuning"]["fusion"]),
    }
    connection.execute(statement("postgres/search/evaluation/record_published"), bound)


@cache
def _adapter() -> TypeAdapter[Measurement]:
    return TypeAdapter(Measurement)
