"""sentence-transformers: the reference that other ways to run a model are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ml_assets.embeddings.space import ModelFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

Precision = Literal["float32", "bfloat16"]

BATCH = 32
"""Texts to one forward pass."""


class SentenceTransformerEncoder:
    """A sentence-transformers model of any pooling, on a GPU if there is one."""

    def __init__(self, model: ModelFolder, precision: Precision) -> None:
        """Describe the model; nothing is loaded before the first text."""
        self.space = model.space
        self.precision = precision
        self._path = str(model.path)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self._encode(texts, self.space.prompt, "document")

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, which have another prompt."""
        return self._encode(texts, self.space.prompt_of_queries, "query")

    def _encode(self, texts: Sequence[str], prompt: str, task: str) -> NDArray[np.float32]:
        import numpy as np

        if not texts:
            return np.empty((0, self.space.dimension), dtype=np.float32)
        vectors = self.transformer.encode(
            list(texts),
            prompt=prompt,
            batch_size=BATCH,
            convert_to_numpy=False,
            show_progress_bar=False,
            task=task,
        )
        import torch

        # Normalised in float32: in bfloat16 a norm is off by up to 4e-3.
        stacked = torch.stack(list(vectors)).float().cpu()
        unit = torch.nn.functional.normalize(stacked[:, : self.space.dimension], dim=1)
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
            dtype = {"dtype": getattr(torch, self.precision)}
            return SentenceTransformer(self._path, local_files_only=True, model_kwargs=dtype).eval()


def native_precision() -> Precision:
    """bfloat16 where the GPU or the CPU has instructions for it, else float32.

    Without the instructions bfloat16 is emulated, and slower than float32.
    """
    import torch

    on_cpu = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    native = torch.cuda.is_bf16_supported if torch.cuda.is_available() else on_cpu
    return "bfloat16" if native() else "float32"
