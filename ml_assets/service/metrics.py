"""What Prometheus reads of the service, over all of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ml_assets.stores.cache import CacheStatistics

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_TAKEOVER_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The metrics of one application; with a `folder` it shows those of all its processes."""

    def __init__(self, folder: Path | None = None) -> None:
        """Begin to count."""
        self._folder = folder
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "ml_assets_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "ml_assets_request_seconds",
            "Seconds from request to answer",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "ml_assets_refused", "Requests refused: busy, late, rate", ["reason"], registry=registry
        )
        self._takeover = Histogram(
            "ml_assets_takeover_seconds",
            "Seconds from the publication of a release until a process answers from it",
            buckets=_TAKEOVER_BUCKETS,
            registry=registry,
        )
        self._lost = Counter(
            "ml_assets_lost",
            "Records that were not kept for ClickHouse: queue, space, disk",
            ["spool", "reason"],
            registry=registry,
        )
        self._release = Gauge(
            "ml_assets_release",
            "The release that answers; of several processes the earliest",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._cached = Gauge(
            "ml_assets_cache_values",
            "Values asked of the cache: hits, misses, failures",
            ["kind", "outcome"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._up = Gauge(
            "ml_assets_store_up",
            "Whether a store answers",
            ["store"],
            registry=registry,
            multiprocess_mode="livemin",
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was refused for a reason other than its own."""
        self._refused.labels(reason).inc()

    def taken_over(self, seconds: float) -> None:
        """Count a release that a process took over, so long after it was published."""
        self._takeover.observe(seconds)

    def lost(self, spool: str, reason: str, count: int) -> None:
        """Count records of predictions or feedback that could not be kept."""
        self._lost.labels(spool, reason).inc(count)

    def standing(self, release_id: int | None, stores: dict[str, bool]) -> None:
        """Note which release answers, and which stores do."""
        self._release.set(release_id or 0)
        for store, up in stores.items():
            self._up.labels(store).set(up)

    def cached(self, counts: Mapping[str, CacheStatistics]) -> None:
        """Note what the cache was asked for so far, by kind."""
        for kind, each in counts.items():
            for outcome in ("hits", "misses", "failures"):
                self._cached.labels(kind, outcome).set(getattr(each, outcome))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        registry = self._registry
        if self._folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)
