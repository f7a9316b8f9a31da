"""Encoders: texts to unit vectors, by sentence-transformers (the reference) or ONNX Runtime.

Importing sentence-transformers costs about 7 s, ONNX Runtime 0.3 s. So the first use of a model on
a CPU exports it, verified against the reference, and later uses need no torch.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

from ml_assets.embeddings.space import ModelFolder, VectorSpace, current_model
from ml_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

Precision = Literal["float32", "bfloat16"]
BATCH = 32
"""Texts to one forward pass of the reference."""


class Encoder(Protocol):
    """What turns texts into vectors of one space."""

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""


class SentenceTransformerEncoder:
    """A sentence-transformers model, loaded at the first text."""

    def __init__(self, model: ModelFolder, precision: Precision) -> None:
        """Describe the model; nothing is loaded yet."""
        self._model = model
        self.precision = precision

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""
        return self._model.space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        import numpy as np

        if not texts:
            return np.empty((0, self.space.dimension), dtype=np.float32)
        vectors = self.transformer.encode(
            list(texts), batch_size=BATCH, convert_to_numpy=False, show_progress_bar=False
        )
        import torch

        # Normalised in float32: in bfloat16 a norm is off by up to 4e-3.
        stacked = torch.stack(list(vectors)).float().cpu()
        unit = torch.nn.functional.normalize(stacked, dim=1)
        return np.asarray(unit.numpy(), dtype=np.float32)

    @cached_property
    def transformer(self) -> SentenceTransformer:
        """The model itself."""
        import torch
        import transformers
        from sentence_transformers import SentenceTransformer

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformer = SentenceTransformer(
                str(self._model.path),
                local_files_only=True,
                model_kwargs={"dtype": getattr(torch, self.precision)},
            )
        transformer.eval()
        return transformer


@lru_cache(maxsize=2)
def load_encoder(settings: Settings) -> Encoder:
    """The encoder that the settings name, one per process.

    On a CPU it is the model's verified ONNX export, made here at the first use; on a GPU, for a
    model that does not export, or by the setting `encoder`, sentence-transformers.

    Raises:
        SettingError: there is no such model.
        WeightsError: the bundled weights are not the pinned ones.
    """
    from ml_assets.embeddings import onnx

    model = current_model(settings)
    if settings.encoder == "sentence-transformers" or (settings.encoder == "auto" and _has_gpu()):
        return SentenceTransformerEncoder(model, _precision(settings))
    exported = onnx.find_export(model, settings.home)
    if exported is None:
        reference = SentenceTransformerEncoder(model, "float32")
        exported = onnx.export(model, settings.home, reference)
    if exported.usable:
        return onnx.OnnxEncoder(model, exported.path)
    return SentenceTransformerEncoder(model, _precision(settings))


def _has_gpu() -> bool:
    """Asked of the driver's tool, since asking torch costs 3 s."""
    return shutil.which("nvidia-smi") is not None


def _precision(settings: Settings) -> Precision:
    if settings.embedding_precision != "auto":
        return settings.embedding_precision
    import torch

    # Without the instructions bfloat16 is emulated, and slower than float32.
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


def _cpu_has_bfloat16() -> bool:
    import torch

    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())
