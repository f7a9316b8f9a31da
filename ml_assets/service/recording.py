"""What a process keeps for ClickHouse: its predictions, what it is told of them, its minutes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from threading import Lock

import psutil

from ml_assets.documents.normalize import normalize
from ml_assets.monitoring.predictions import (
    FEEDBACK,
    PREDICTIONS,
    REQUESTS,
    Answered,
    Predicted,
    Told,
    record_of,
)
from ml_assets.monitoring.spool.segments import place_of
from ml_assets.monitoring.spool.writer import Reason, SpoolWriter, Sync
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.serving import Prediction
from ml_assets.service.following.deployments import Process
from ml_assets.service.metrics import Metrics
from ml_assets.settings import Settings
from ml_assets.usage import gpu_usage

log = logging.getLogger(__name__)


_MOST_LATENCIES = 1_000
"""Of a route and a minute; of more every other one goes, and the rest come half as often."""


@dataclass
class _Route:
    """The answers on a route in the present minute."""

    requests: int = 0
    errors: int = 0
    every: int = 1
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        if self.requests % self.every == 0:
            self.latencies_ms.append(round(1000 * seconds, 3))
        if len(self.latencies_ms) > _MOST_LATENCIES:
            del self.latencies_ms[1::2]
            self.every *= 2
        self.requests += 1
        self.errors += status >= 500


class Recorder:
    """The spools of one process; closed when nobody asks any more."""

    def __init__(
        self,
        settings: Settings,
        process: Process,
        metrics: Metrics,
        release: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Write nothing yet; what the disk then refuses is counted as lost.

        `release` tells which one is served.
        """
        self._process, self._release = process, release
        self._usage = psutil.Process()
        self._usage.cpu_percent()  # the first says nothing: it is what the next counts from
        self._lock, self._minute, self._served = Lock(), _this_minute(), 0
        self._routes: dict[str, _Route] = {}
        self._texts = settings.prediction_log_texts
        self._metrics = metrics
        writer, most = process.process_id.hex, settings.prediction_log_bytes
        policies: Mapping[str, Sync] = {
            PREDICTIONS: settings.prediction_log_sync,
            FEEDBACK: "always",
            REQUESTS: "never",
        }
        self._spools = {
            name: SpoolWriter(
                place_of(settings.home, name), writer, most, sync, partial(self._lost, name)
            )
            for name, sync in policies.items()
        }

    def predicted(
        self,
        request_id: str,
        release_id: int | None,
        version: ModelVersion,
        texts: Sequence[str],
        predictions: Sequence[Prediction],
        seconds: float,
    ) -> None:
        """Keep what was said of the texts of a request; it waits for nothing."""
        at = datetime.now(UTC)
        records = []
        for position, (text, each) in enumerate(zip(texts, predictions, strict=True)):
            label, probability = next(iter(each.probabilities.items()))
            records.append(
                Predicted(
                    at=at,
                    request_id=request_id,
                    position=position,
                    release_id=release_id,
                    model=version.name,
                    version=version.version,
                    text_hash=sha256(normalize(text).encode()).hexdigest(),
                    text=text if self._texts else None,
                    label=label,
                    probability=probability,
                    probabilities=each.probabilities,
                    features=each.features,
                    latency_ms=round(seconds * 1000, 3),
                )
            )
        self._spools[PREDICTIONS].put([*map(record_of, records)])

    def told(self, told: Told) -> Future[None]:
        """Keep what was true of a prediction; done when it is on the disk.

        The future fails with a StoreError where it could not be kept.
        """
        return self._spools[FEEDBACK].put([record_of(told)])

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; those of a minute are kept when the next one has any."""
        with self._lock:
            if (minute := _this_minute()) != self._minute:
                self._keep_minute()
                self._minute = minute
            if not self._routes:
                self._served = self._release() or 0
            self._routes.setdefault(route, _Route()).add(status, seconds)

    def _keep_minute(self) -> None:
        cpu, memory = self._usage.cpu_percent(), self._usage.memory_info().rss / (1 << 20)
        gpu_percent, gpu_memory = gpu_usage()
        records = [
            Answered(
                at=self._minute,
                route=route,
                release_id=self._served,
                requests=each.requests,
                errors=each.errors,
                latencies_ms=each.latencies_ms,
                cpu_percent=cpu,
                memory_mib=round(memory, 1),
                host=self._process.host,
                process=self._process.pid,
                gpu_percent=gpu_percent,
                gpu_memory_mib=gpu_memory,
            )
            for route, each in self._routes.items()
        ]
        self._routes = {}
        if records:
            self._spools[REQUESTS].put([*map(record_of, records)])

    def warnings(self) -> list[str]:
        """What this process could not keep, and what it could not keep now."""
        told = []
        for name, spool in self._spools.items():
            if spool.obstacle:
                told.append(f"{name} cannot be kept ({spool.obstacle})")
            for reason, count in sorted(spool.dropped.items()):
                told.append(f"{count:,} records of {name} were lost ({reason})")
        return told

    def close(self) -> None:
        """Write what waits."""
        with self._lock:
            self._keep_minute()
        for spool in self._spools.values():
            spool.close()

    def _lost(self, name: str, reason: Reason, count: int) -> None:
        self._metrics.lost(name, reason, count)
        log.warning("records were lost", extra={"spool": name, "reason": reason, "count": count})


def _this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)
