"""The command `ml-assets run`, called in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.contenders.protocol import Job
from bench.ours import count_chunks, environment, place
from ml_assets.cli import app
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.settings import load_settings


class Pipeline:
    """All that a user gets: documents, vectors, three indexes, their evaluation, features."""

    def __init__(self, job: Job) -> None:
        os.environ.update(environment(job.state, job.database))
        self._job = job

    def warm_up(self) -> None:
        """Load the encoder of few texts; the first ingestion loads what else there is."""
        load_encoder(load_settings()).encode(["a"] * 32)

    def ingest(self, documents: Path) -> int:
        """Run the command on the file."""
        place(documents, self._job.state)
        if code := app(["run"], standalone_mode=False):
            sys.exit(f"ml-assets run ended with exit code {code}")
        return count_chunks(self._job.database)
