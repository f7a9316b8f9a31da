"""The encoder of ml_assets and nothing else: the one a run with these texts would choose."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bench.contenders.protocol import Job
from bench.ours import environment
from ml_assets.embeddings.encoder import Encoder, load_encoder
from ml_assets.settings import load_settings

_CHARACTERS_PER_TOKEN = 4


class Pipeline:
    """Encodes the texts of a JSON list, on the deployment in the folder of the job."""

    def __init__(self, job: Job) -> None:
        os.environ.update(environment(job.state))
        self._encoder: Encoder | None = None

    def warm_up(self) -> None:
        """Do nothing: which encoder it is depends on the texts, so the first ingestion loads it."""

    def ingest(self, texts: Path) -> int:
        """Encode the texts."""
        loaded: list[str] = json.loads(texts.read_text(encoding="utf-8"))
        tokens = sum(map(len, loaded)) // _CHARACTERS_PER_TOKEN
        self._encoder = self._encoder or load_encoder(load_settings(), tokens)
        return len(self._encoder.encode(loaded))
