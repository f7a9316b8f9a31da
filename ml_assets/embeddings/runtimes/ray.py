"""Embedding on the workers of a Ray cluster: actors with one encoder each; results come in order.

A batch whose worker is lost is repeated by another. What Ray writes stays in a folder of the run.
"""

from __future__ import annotations

import atexit
import os
import queue
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.space import ModelFolder
from ml_assets.errors import OutageError, SettingError, first_line
from ml_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 256
"""Texts of a batch."""

TRIES = 5
"""Workers that a batch may lose, one after the other: one that kills each of them ends the run."""

_OF_MODEL = (
    *("home", "embedding_model", "embedding_dimensions", "query_prompt", "document_prompt"),
    *("encoder", "embedding_precision"),
)
"""The settings that a worker needs; no URL and no key leaves this process."""


class RayEncoder:
    """Sends batches to actors, as many at a time as keep them busy."""

    ordered = True
    batch_weight = BATCH

    def __init__(self, model: ModelFolder, settings: Settings) -> None:
        """Describe the model; nothing is started yet."""
        self.space = model.space
        self.ahead = 2 * settings.compute_workers
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.compute_workers)

    def weight(self, text: str) -> int:
        """Every text counts one."""
        return 1

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self._work("encode", texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, which have another prompt."""
        return self._work("encode_queries", texts)

    def submit(self, texts: Sequence[str]) -> Future[NDArray[np.float32]]:
        """Begin to encode a batch, by the next worker that is free."""
        _ = self._idle  # in this thread, once
        return self._threads.submit(self._work, "encode", texts)

    def _work(self, method: str, texts: Sequence[str]) -> NDArray[np.float32]:
        _ = self._idle  # joins the cluster, or says what that lacks
        import ray

        for _ in range(TRIES):
            worker = self._idle.get()
            try:
                vectors: NDArray[np.float32] = ray.get(
                    getattr(worker, method).remote(list(texts), self.space.space_id)
                )
            except ray.exceptions.RayActorError as lost:
                reason = first_line(lost)
                self._idle.put(self._worker())
            except BaseException:
                self._idle.put(worker)
                raise
            else:
                self._idle.put(worker)
                return vectors.copy()  # Ray's are read-only, and keep its memory
        do = "Look at the memory of the workers, or set ML_ASSETS_COMPUTE=local"
        raise OutageError(f"{TRIES} workers were lost ({reason})", where="ML_ASSETS_COMPUTE", do=do)

    def _worker(self) -> Any:
        import ray

        gpus = 1 if ray.cluster_resources().get("GPU") else 0  # type: ignore[no-untyped-call]
        kind = ray.remote(num_cpus=1, num_gpus=gpus)(_Worker)
        chosen = {name: getattr(self._settings, name) for name in _OF_MODEL}
        return kind.remote(chosen)

    @cached_property
    def _idle(self) -> queue.Queue[Any]:
        """The workers that have nothing to do."""
        _connect(self._settings)
        idle: queue.Queue[Any] = queue.Queue()
        for _ in range(self._settings.compute_workers):
            idle.put(self._worker())
        return idle


class _Worker:
    """One encoder in a process of the cluster."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        from ml_assets.embeddings.encoder import MANY_TOKENS, load_encoder

        self._encoder = load_encoder(Settings(**chosen, compute="local"), 100 * MANY_TOKENS)

    def encode(self, texts: list[str], space_id: str) -> NDArray[np.float32]:
        self._check(space_id)
        return self._encoder.encode(texts)

    def encode_queries(self, texts: list[str], space_id: str) -> NDArray[np.float32]:
        self._check(space_id)
        return self._encoder.encode_queries(texts)

    def _check(self, space_id: str) -> None:
        if self._encoder.space.space_id != space_id:
            raise ValueError("the model of a worker is another one than that of the run")


def _connect(settings: Settings) -> None:
    """Join the cluster that the settings name, or start one on this machine.

    Raises:
        SettingError: the extra `ray` is not installed.
        OutageError: the cluster does not answer.
    """
    if find_spec("ray") is None:
        do = "Install it: `pip install -c constraints.txt ray`"
        raise SettingError("it needs the extra `ray`", where="ML_ASSETS_COMPUTE", do=do)
    own = _folder() if settings.compute == "ray" else None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to its makers
    import ray

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"configure_logging": False, "log_to_driver": False}
    try:
        if own is None:
            ray.init(settings.compute, **quiet)
            return
        ray.init(
            num_cpus=settings.compute_workers,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(own),
            **quiet,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        do = "Check that the cluster runs, or set ML_ASSETS_COMPUTE=local"
        raise OutageError(first_line(error), where="ML_ASSETS_COMPUTE", do=do) from None


def _folder() -> Path:
    """Where a cluster of this process keeps all that it writes; removed with it.

    A token in it keeps others out. Ray reads its place when it is imported, and would write one
    into the user's own folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="ml_assets-ray-"))  # a short path: sockets lie in it
    atexit.register(_end, folder)
    token = folder / "auth_token"
    token.write_text(secrets.token_hex(32))
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    return folder


def _end(folder: Path) -> None:
    import ray

    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
