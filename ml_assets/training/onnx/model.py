"""A model that answers from its ONNX form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ml_assets.training.onnx.preparation import Preparation, Quantiles, Terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "model.onnx"
"""Its name beside the model in MLflow."""

PREPARATION = "ml_assets.preparation"
"""The key of the graph's metadata under which its preparation lies, as JSON."""

_BATCH = 64  # a text with 20,000 terms takes 80 kB


class OnnxModel:
    """The graph and its preparation, from the bytes that `export` gave."""

    def __init__(self, content: bytes) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs = {node.name for node in self._session.get_inputs()}
        parts = json.loads(self._session.get_modelmeta().custom_metadata_map[PREPARATION])
        self._preparation = Preparation(
            parts["labels"],
            Terms(**parts["terms"]) if parts["terms"] else None,
            Quantiles(**parts["quantiles"]) if parts["quantiles"] else None,
        )

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the probabilities."""
        return self._preparation.labels

    def predict_proba(
        self,
        texts: Sequence[str],
        features: Mapping[str, NDArray[np.float64]],
        vectors: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The probabilities, shape (len(texts), len(labels)).

        `features` has a value per text, NaN where it is not known; `vectors` are of unit length,
        a row per text.
        """
        import numpy as np

        answers = []
        for start in range(0, len(texts), _BATCH):
            batch = slice(start, start + _BATCH)
            part = {name: values[batch] for name, values in features.items()}
            fed = self._preparation.feed(texts[batch], part, vectors[batch])
            wanted = {name: values for name, values in fed.items() if name in self._inputs}
            answers += self._session.run(["probabilities"], wanted)
        return np.concatenate(answers)
