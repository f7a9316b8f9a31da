"""What a process keeps of its predictions, and of what it is told of them, for ClickHouse."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

from ml_assets.documents.normalize import normalize
from ml_assets.monitoring.predictions import FEEDBACK, PREDICTIONS, Predicted, Told, record_of
from ml_assets.monitoring.spool.segments import place_of
from ml_assets.monitoring.spool.writer import Reason, SpoolWriter, Sync
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.serving import Prediction
from ml_assets.service.following.deployments import Process
from ml_assets.service.metrics import Metrics
from ml_assets.settings import Settings

log = logging.getLogger(__name__)


class Recorder:
    """The spools of one process; closed when nobody asks any more."""

    def __init__(self, settings: Settings, process: Process, metrics: Metrics) -> None:
        """Write nothing yet; what the disk then refuses is counted as lost."""
        self._texts = settings.prediction_log_texts
        self._metrics = metrics
        writer, most = process.process_id.hex, settings.prediction_log_bytes
        policies: Mapping[str, Sync] = {
            PREDICTIONS: settings.prediction_log_sync,
            FEEDBACK: "always",
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
        for spool in self._spools.values():
            spool.close()

    def _lost(self, name: str, reason: Reason, count: int) -> None:
        self._metrics.lost(name, reason, count)
        log.warning("records were lost", extra={"spool": name, "reason": reason, "count": count})
