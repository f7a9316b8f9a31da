"""One encoder for all requests of a process: what waits at the same time is encoded together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_assets.embeddings.caching import KIND
from ml_assets.embeddings.space import VectorSpace
from ml_assets.stores.cache import Kind, ReadThrough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.encoder import Encoder

MOST_TOGETHER = 32
"""Texts of a batch, about: those that come meanwhile wait for as long as it takes."""


@dataclass(slots=True)
class _Job:
    texts: Sequence[str]
    queries: bool
    vectors: Future[NDArray[np.float32]] = field(default_factory=Future)


class CachedQueries:
    """An encoder that recalls all queries of a batch at once, and encodes the others together.

    A session encodes each alone: `runtime` tells vectors apart whose last bits differ by that.
    """

    def __init__(
        self, encoder: Encoder, cache: ReadThrough, seconds: float, runtime: str = ""
    ) -> None:
        """Keep each vector for so long; 0: not."""
        self._encoder, self._cache = encoder, cache
        self._kind, self._runtime = Kind(KIND, seconds), f"{runtime} together"

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""
        return self._encoder.space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self._encoder.encode(texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries; only those that are not kept are encoded."""
        import numpy as np

        space = self.space
        named: list[tuple[str, ...]] = [(space.space_id, self._runtime, text) for text in texts]
        kept = self._cache.recall(self._kind, named)
        size = 4 * space.dimension
        lacking = [place for place, value in enumerate(kept) if value is None or len(value) != size]
        vectors = np.empty((len(texts), space.dimension), dtype=np.float32)
        if lacking:
            vectors[lacking] = self._encoder.encode_queries([texts[place] for place in lacking])
            fresh: dict[tuple[str, ...], bytes] = {
                named[place]: vectors[place].astype("<f4").tobytes() for place in lacking
            }
            self._cache.remember(self._kind, fresh)
        for place, value in enumerate(kept):
            if value is not None and len(value) == size:
                vectors[place] = np.frombuffer(value, dtype="<f4")
        return vectors


class SharedEncoder:
    """An encoder that any thread may ask; it runs in a thread of its own, one batch at a time."""

    def __init__(self, load: Callable[[], Encoder], space: VectorSpace) -> None:
        """Begin at once to load the encoder, whose vectors are of `space`, and to warm it."""
        self.space = space
        self._load = load
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
        while job := left or self._jobs.get():
            together, left = self._waiting(job)
            running = [each for each in together if each.vectors.set_running_or_notify_cancel()]
            try:
                encoder = encoder or self._load()
                self._encode(encoder, running)
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                for each in running:
                    each.vectors.set_exception(error)

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
