"""Encoders: texts to unit vectors, each job by what ends it soonest.

Importing sentence-transformers costs about 5 s, torch with transformers 4 s, ONNX Runtime 0.1 s. So
the first use of a model on a CPU exports it, verified against the reference; later, few texts run
on ONNX Runtime, and many on torch in bfloat16 where that was measured to be the faster.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from ml_assets.embeddings import onnx
from ml_assets.embeddings.batching import BatchingEncoder
from ml_assets.embeddings.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import VectorSpace, current_model
from ml_assets.embeddings.speed import LOAD_SECONDS, measured_speeds
from ml_assets.embeddings.transformer import Precision, native_precision, torch_encoder
from ml_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANY_TOKENS = 100_000
"""With fewer, torch is not looked at: 65,000 take ONNX Runtime 6.6 s from its loading on, and torch
7.1, of which 2.6 are its loading and as many its first batches of every width."""


class Encoder(Protocol):
    """What turns texts into vectors of one space."""

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""


def load_encoder(settings: Settings, tokens: int = 0) -> Encoder:
    """The encoder of the model that the settings name, for a job of about `tokens` tokens.

    On a CPU it is the model's verified ONNX export, made here at the first use, or torch; on a GPU,
    for a model that does not export, or by the setting `encoder`, sentence-transformers.

    Raises:
        SettingError: there is no such model.
        WeightsError: the bundled weights are not the pinned ones.
    """
    model = current_model(settings)
    exact = None if _on_reference(settings) else _exported(settings)
    if exact is None:
        return _reference(model, _precision(settings))
    if settings.encoder == "onnx" or tokens < MANY_TOKENS:
        return exact
    precision = _precision(settings)
    fast = _on_torch(model, precision)
    load_seconds = 0.0 if "transformers" in sys.modules else LOAD_SECONDS
    speeds = measured_speeds(model, settings.home, precision, exact, fast)
    return fast if speeds.torch_wins(tokens, load_seconds) else exact


def load_float32(settings: Settings) -> Encoder:
    """The encoder whose vectors stored ones are compared with: the export, or the reference.

    Raises:
        SettingError: there is no such model.
        WeightsError: the bundled weights are not the pinned ones.
    """
    exact = None if _on_reference(settings) else _exported(settings)
    return exact or _reference(current_model(settings), "float32")


def _on_reference(settings: Settings) -> bool:
    return settings.encoder == "sentence-transformers" or (
        settings.encoder == "auto" and _has_gpu()
    )


# One of each kind in a process: a model takes 100 MB and more.
_reference = lru_cache(maxsize=1)(SentenceTransformerEncoder)
_on_torch = lru_cache(maxsize=1)(torch_encoder)


@lru_cache(maxsize=2)
def _exported(settings: Settings) -> BatchingEncoder | None:
    model = current_model(settings)
    found = onnx.find_export(model, settings.home)
    if found is None:
        found = onnx.export(model, settings.home, SentenceTransformerEncoder(model, "float32"))
    return onnx.onnx_encoder(model, found.path) if found.usable else None


def _has_gpu() -> bool:
    """Asked of the driver's tool, since asking torch costs 1 to 3 s."""
    return shutil.which("nvidia-smi") is not None


def _precision(settings: Settings) -> Precision:
    chosen = settings.embedding_precision
    return native_precision() if chosen == "auto" else chosen
