"""Encoders: texts to unit vectors, each job by what ends it soonest.

Importing sentence-transformers takes seconds, ONNX Runtime and OpenVINO a fraction of one. So the
first use of a model on a CPU exports it, verified against the reference; later, few texts run on
ONNX Runtime, and many on OpenVINO in bfloat16 where that was measured to be the faster.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ml_assets.embeddings.endpoint import endpoint_of
from ml_assets.embeddings.runtimes import onnx, openvino, reference
from ml_assets.embeddings.runtimes.batching import BatchingEncoder
from ml_assets.embeddings.runtimes.gpu import GpuEncoder
from ml_assets.embeddings.runtimes.openai import OpenAIEncoder
from ml_assets.embeddings.runtimes.ray import RayEncoder
from ml_assets.embeddings.runtimes.reference import Precision, SentenceTransformerEncoder
from ml_assets.embeddings.runtimes.speed import measured_speeds
from ml_assets.embeddings.runtimes.static import StaticEncoder
from ml_assets.embeddings.space import ModelFolder, VectorSpace, current_model
from ml_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANY_TOKENS = 4_000
"""With fewer, OpenVINO does not make up for its loading; ONNX Runtime is loaded in any case, for a
run's check in float32."""


class Encoder(Protocol):
    """Turns texts into vectors of one space."""

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, before which a model can want another prompt."""


@runtime_checkable
class ParallelEncoder(Encoder, Protocol):
    """Encodes several batches at a time, whose size it chooses.

    `ahead`: how many, at most; `ordered`: whether their results are wanted in the order of the
    texts; `batch_weight`: of one batch, at most, the sum of `weight` over its texts.
    """

    ahead: int
    ordered: bool
    batch_weight: int

    def weight(self, text: str) -> int:
        """What a text counts in a batch."""

    def submit(self, texts: Sequence[str]) -> Future[NDArray[np.float32]]:
        """Begin to encode a batch; the result is that of `encode`."""


def load_encoder(settings: Settings, tokens: int = 0) -> Encoder:
    """The encoder of the model that the settings name, for a job of about `tokens` tokens.

    A remote model is asked, a static one looked up. Of others, on a GPU it is the model itself, in
    batches that fill it; on a CPU the model's verified ONNX export, made here at the first use, on
    ONNX Runtime or OpenVINO; for a model that does not export, or by the setting `encoder`,
    sentence-transformers.

    Raises:
        SettingError: there is no such model.
        WeightsError: the bundled weights are not the pinned ones.
        CostError: at `encode` and `submit`, a remote model would cost more than it may.
    """
    model = current_model(settings)
    if way := _WAYS.get(model.space.pooling):
        return way(model, settings)
    if settings.compute != "local" and tokens >= MANY_TOKENS:
        return _on_ray(model, settings)
    path = _export_path(settings)
    if path is None and _uses_gpu(settings):
        return _on_gpu(model, settings.embedding_precision)
    if path is None:
        return _reference(model, _precision(settings, reference.native_precision))
    exact = _on_onnx(model, path)
    if settings.encoder == "onnx" or tokens < MANY_TOKENS:
        return exact
    precision = _precision(settings, openvino.native_precision)
    fast = _on_openvino(model, path, precision)
    speeds = measured_speeds(model, settings.home, precision, exact, fast)
    return fast if speeds.openvino_wins(tokens, loaded=fast.loaded) else exact


def load_query_encoder(settings: Settings) -> Encoder:
    """The encoder for a process that answers many: each batch of few texts on one core.

    Where OpenVINO was measured to be the faster with them, and exact enough, it is that.

    Raises:
        SettingError: there is no such model.
        WeightsError: the bundled weights are not the pinned ones.
    """
    model = current_model(settings)
    path = None if model.space.pooling in _WAYS else _export_path(settings)
    if path is None:
        return load_encoder(settings)
    if settings.encoder == "onnx":
        return _on_onnx(model, path, 1)
    precision = _precision(settings, openvino.native_precision)
    # Those that are measured go again: the other one would take memory for nothing.
    ways = onnx.onnx_encoder(model, path, 1), openvino.openvino_encoder(model, path, precision, 1)
    speeds = measured_speeds(model, settings.home, precision, *ways, queries=True)
    if speeds.openvino_wins_queries:
        return _on_openvino(model, path, precision, 1)
    return _on_onnx(model, path, 1)


def preload(settings: Settings) -> None:
    """Load what encodes queries, where an export was tried before; `load_encoder` tells errors.

    For a thread beside one that waits for a store: most of it is hashing and mapping files.
    """
    if settings.encoder != "sentence-transformers" and not _has_gpu() and not endpoint_of(settings):
        model = current_model(settings)
        encoder = load_encoder(settings) if onnx.was_tried(model, settings.home) else None
        if isinstance(encoder, BatchingEncoder):
            encoder.load()


def runtime_of(settings: Settings, encoder: Encoder | None = None) -> str:
    """What computes vectors, as far as that moves their last bits: the space says all else.

    Where the settings leave it open, a loaded `encoder` tells.
    """
    device = "gpu" if _has_gpu() else "cpu"
    loaded = encoder.runtime if isinstance(encoder, BatchingEncoder) else ""
    return f"{settings.encoder} {settings.embedding_precision} {device} {loaded}".rstrip()


def load_float32(settings: Settings) -> Encoder:
    """The encoder whose vectors stored ones are compared with: the export, or the reference.

    Raises:
        SettingError: there is no such model.
        WeightsError: the bundled weights are not the pinned ones.
    """
    model = current_model(settings)
    if way := _WAYS.get(model.space.pooling):
        return way(model, settings)
    path = _export_path(settings)
    return _on_onnx(model, path) if path else _reference(model, "float32")


_static = lru_cache(maxsize=1)(lambda model, settings: StaticEncoder(model))

_WAYS: dict[str, Callable[[ModelFolder, Settings], Encoder]] = {
    "remote": OpenAIEncoder,  # new for every job, whose cost it counts
    "static": _static,
}
"""Models that are run in one way only, by their pooling."""


# One of each kind in a process: a model takes much memory.
_reference = lru_cache(maxsize=1)(SentenceTransformerEncoder)
_on_gpu = lru_cache(maxsize=1)(GpuEncoder)
_on_ray = lru_cache(maxsize=1)(RayEncoder)
_on_onnx = lru_cache(maxsize=2)(onnx.onnx_encoder)
_on_openvino = lru_cache(maxsize=2)(openvino.openvino_encoder)


@lru_cache(maxsize=2)
def _export_path(settings: Settings) -> Path | None:
    """The verified ONNX export of the model, made if it was never tried; None: not to be used."""
    if settings.encoder == "sentence-transformers" or (settings.encoder == "auto" and _has_gpu()):
        return None
    model = current_model(settings)
    export = onnx.find_export(model, settings.home) or onnx.export_apart(model, settings.home)
    return export.path if export.usable else None


def _uses_gpu(settings: Settings) -> bool:
    """Whether there is a GPU that torch can use, and nothing else was asked for."""
    if settings.encoder != "auto" or not _has_gpu():
        return False
    import torch

    return torch.cuda.is_available()


def _has_gpu() -> bool:
    """Whether the driver's tool is there; importing torch to ask is slow."""
    return shutil.which("nvidia-smi") is not None


def _precision(settings: Settings, native: Callable[[], Precision]) -> Precision:
    chosen = settings.embedding_precision
    return native() if chosen == "auto" else chosen
