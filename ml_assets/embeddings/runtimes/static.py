"""A static model, of one vector for each token, by model2vec: no transformer, and no torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ml_assets.embeddings.space import ModelFolder
from ml_assets.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from model2vec import StaticModel
    from numpy.typing import NDArray


class StaticEncoder:
    """The mean of the vectors of a text's tokens, of unit norm."""

    def __init__(self, model: ModelFolder) -> None:
        """Describe the model; nothing is loaded before the first text."""
        self.space = model.space
        self._path = str(model.path)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self._encode([self.space.prompt + text for text in texts])

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, which have another prompt."""
        return self._encode([self.space.prompt_of_queries + text for text in texts])

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        import numpy as np

        from ml_assets.embeddings.quantization import unit

        if not texts:
            return np.empty((0, self.space.dimension), dtype=np.float32)
        # In this process: its own processes would each load the model.
        vectors = self._model.encode(
            texts, max_length=self.space.max_tokens, use_multiprocessing=False
        )
        rows = np.asarray(vectors[:, : self.space.dimension], dtype=np.float32)
        rows[~rows.any(axis=1)] = 1.0  # no token is known: one direction for all such texts
        return unit(rows)

    @cached_property
    def _model(self) -> StaticModel:
        try:
            from model2vec import StaticModel
        except ImportError:
            do = "Install it: `pip install -c constraints.txt model2vec`"
            message = "this static model needs the extra `static`, which is not installed"
            raise ModelError(message, where=self._path, do=do) from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves files to be collected
            return StaticModel.from_pretrained(self._path, force_download=False)
