"""One encoder for all requests of a process: what waits at the same time is encoded together."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_assets.embeddings.space import VectorSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.encoder import Encoder

MOST_TOGETHER = 32
"""Texts of a batch, about: those that come meanwhile wait for as long as it takes."""

_MOST_UNKEPT = 64
"""Batches after which what was encoded is kept, also while others ask."""

_IDLE_SECONDS = 0.2
"""Nobody has asked for so long: writing what was encoded into a cache now delays no answer."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    texts: Sequence[str]
    queries: bool
    vectors: Future[NDArray[np.float32]] = field(default_factory=Future)


class SharedEncoder:
    """An encoder that any thread may ask; it runs in a thread of its own, one batch at a time."""

    def __init__(
        self,
        load: Callable[[], Encoder],
        space: VectorSpace,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin at once to load the encoder, whose vectors are of `space`, and to warm it.

        `keep` is called when nobody has asked for a while, to write vectors into a cache.
        """
        self.space = space
        self._load, self._keep = load, keep
        self._unkept = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self.submit(texts).result()

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, before which a model can want another prompt."""
        return self.submit(texts, queries=True).result()

    def submit(self, texts: Sequence[str], *, queries: bool = False) -> Future[NDArray[np.float32]]:
        """Have texts encoded; the result is that of `encode`, or of `encode_queries`."""
        job = _Job(texts, queries)
        self._jobs.put(job)
        return job.vectors

    def close(self) -> None:
        """End the thread, after what was submitted."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        encoder: Encoder | None = None
        left: _Job | None = _Job(["warm"], queries=True)
        while job := left or self._next():
            together, left = self._waiting(job)
            running = [each for each in together if each.vectors.set_running_or_notify_cancel()]
            try:
                encoder = encoder or self._load()
                self._encode(encoder, running)
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                for each in running:
                    each.vectors.set_exception(error)
            self._unkept += 1
            if self._unkept >= _MOST_UNKEPT:
                self._keep_safely()
        self._keep_safely()

    def _next(self) -> _Job | None:
        try:
            return self._jobs.get(timeout=_IDLE_SECONDS if self._unkept else None)
        except queue.Empty:
            self._keep_safely()
            return self._jobs.get()

    def _keep_safely(self) -> None:
        """Who asks next gets his vectors also when those before could not be kept."""
        self._unkept = 0
        try:
            self._keep()
        except Exception:
            log.exception("vectors were not kept")

    def _waiting(self, first: _Job) -> tuple[list[_Job], _Job | None]:
        """What waits with the first and can be encoded with it, and what comes after that."""
        together, count = [first], len(first.texts)
        while count < MOST_TOGETHER:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # the end, after these
                break
            if job.queries != first.queries:
                return together, job
            together.append(job)
            count += len(job.texts)
        return together, None

    def _encode(self, encoder: Encoder, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        texts = [text for job in jobs for text in job.texts]
        vectors = (encoder.encode_queries if jobs[0].queries else encoder.encode)(texts)
        start = 0
        for job in jobs:
            job.vectors.set_result(vectors[start : start + len(job.texts)])
            start += len(job.texts)
