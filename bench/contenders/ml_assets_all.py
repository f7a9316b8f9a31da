"""What `ml-assets run --all` does: every step is looked at, also when nothing changed."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from bench.contenders.protocol import Job
from bench.ours import count_chunks, environment, place
from ml_assets.defs.run import run_everything
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.progress import Progress, no_progress
from ml_assets.settings import load_settings


def _unwatched(stage: str) -> AbstractContextManager[Progress]:
    """Show nothing of a stage."""
    return nullcontext(no_progress)


class Pipeline:
    """Three Dagster runs, or two when no collection changed."""

    def __init__(self, job: Job) -> None:
        os.environ.update(environment(job.state, job.database))
        self._job = job

    def warm_up(self) -> None:
        """Load the encoder of few texts; the first ingestion loads what else there is."""
        load_encoder(load_settings()).encode(["a"] * 32)

    def ingest(self, documents: Path) -> int:
        """Run everything on the file."""
        place(documents, self._job.state)
        report = run_everything(load_settings(), _unwatched, print)
        if not report.succeeded:
            sys.exit("\n".join(report.errors) or f"checks failed: {report.failed_checks}")
        return count_chunks(self._job.database)
