"""ml_assets from documents to HNSW, through its Dagster jobs and nothing beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from bench.contenders.protocol import Job
from bench.corpus import Text, write
from bench.ours import count_chunks, environment, place
from ml_assets.defs.build import build_definitions
from ml_assets.defs.instance import open_instance
from ml_assets.defs.partitions import contiguous_ranges, range_tags, register_collections
from ml_assets.documents.sources import open_source
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MANY_TOKENS = 1_000_000


class Pipeline:
    """The jobs `refresh_documents` and, of `rebuild_search`, the asset `pgvector_index`."""

    def __init__(self, job: Job, resource_overrides: Mapping[str, object] | None = None) -> None:
        self._job = job
        self._overrides = resource_overrides

    def warm_up(self) -> None:
        """Do all of it once, with ten other documents in another database."""
        tiny = [Text(f"{n}", "", f"Nothing to see, part {n}.") for n in range(10)]
        file = write(tiny, self._job.state / "tiny.jsonl")
        self._ingest(file, postgres.server_url(self._job.database, Path(), "warm_up"))
        load_encoder(self._settings(self._job.database), MANY_TOKENS).encode(["a"] * 32)

    def ingest(self, documents: Path) -> int:
        """Bring the database to the state of the file."""
        self._ingest(documents, self._job.database)
        return count_chunks(self._job.database)

    def _ingest(self, documents: Path, database: str) -> None:
        place(documents, self._job.state)
        settings = self._settings(database)
        collections = sorted(open_source(settings.source, settings).collections())
        with open_instance(settings) as instance:
            register_collections(instance, collections)
            definitions = build_definitions(settings, self._overrides)
            for keys in contiguous_ranges(instance, collections):
                definitions.resolve_job_def("refresh_documents").execute_in_process(
                    instance=instance, tags=range_tags(keys), run_config=QUIET
                )
            definitions.resolve_job_def("rebuild_search").execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("pgvector_index")],
                run_config=QUIET,
            )

    def _settings(self, database: str) -> Settings:
        os.environ.update(environment(self._job.state, database))
        return load_settings()
