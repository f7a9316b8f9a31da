"""`SentenceTransformer.encode` and nothing else, with its defaults: float32, batches of 32."""

from __future__ import annotations

import json
from pathlib import Path

from sentence_transformers import SentenceTransformer

from bench.contenders.protocol import Job


class Pipeline:
    """Encodes the texts of a JSON list."""

    def __init__(self, job: Job) -> None:
        self._model = SentenceTransformer(str(job.model))

    def warm_up(self) -> None:
        """Load the model."""
        self._model.encode(["a"] * 32)

    def ingest(self, texts: Path) -> int:
        """Encode the texts."""
        return len(self._model.encode(json.loads(texts.read_text(encoding="utf-8"))))
