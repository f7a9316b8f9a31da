"""CocoIndex: one memoized component per document, rows and an HNSW index in PostgreSQL.

https://cocoindex.io/docs/connectors/postgres, after the example `text_embedding`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import asyncpg
import cocoindex as coco
import numpy as np
import psycopg
from cocoindex.connectors import postgres
from cocoindex.ops.sentence_transformers import SentenceTransformerEmbedder
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.chunk import Chunk
from cocoindex.resources.id import IdGenerator
from numpy.typing import NDArray

from bench.contenders.protocol import CHUNK_CHARACTERS, CHUNK_OVERLAP, Job, read_documents

DATABASE = coco.ContextKey[asyncpg.Pool]("bench_database")
EMBEDDER = coco.ContextKey[SentenceTransformerEmbedder]("bench_embedder", detect_change=True)
_splitter = RecursiveSplitter()


@dataclass
class Row:
    """One chunk."""

    id: int
    document_id: str
    start: int
    text: str
    embedding: Annotated[NDArray[np.float32], EMBEDDER]


@coco.fn
async def process_chunk(
    chunk: Chunk, document_id: str, ids: IdGenerator, table: postgres.TableTarget[Row]
) -> None:
    table.declare_row(
        row=Row(
            id=await ids.next_id(chunk.text),
            document_id=document_id,
            start=chunk.start.char_offset,
            text=chunk.text,
            embedding=await coco.use_context(EMBEDDER).embed(chunk.text),
        )
    )


@coco.fn(memo=True)
async def process_document(document: tuple[str, str], table: postgres.TableTarget[Row]) -> None:
    document_id, text = document
    chunks = _splitter.split(text, chunk_size=CHUNK_CHARACTERS, chunk_overlap=CHUNK_OVERLAP)
    await coco.map(process_chunk, chunks, document_id, IdGenerator(document_id), table)


@coco.fn
async def app_main(source: list[Path]) -> None:
    table = await postgres.mount_table_target(
        DATABASE,
        table_name="documents",
        table_schema=await postgres.TableSchema.from_class(Row, primary_key=["id"]),
    )
    table.declare_vector_index(column="embedding", method="hnsw", m=16, ef_construction=64)
    rows = ((document[0], document) for document in read_documents(source[-1]))
    await coco.mount_each(process_document, rows, table)


class Pipeline:
    """The app on one database; its own state is in a folder."""

    def __init__(self, job: Job) -> None:
        self._database = job.database
        self._embedder = SentenceTransformerEmbedder(str(job.model))
        self._source: list[Path] = []

        @coco.lifespan
        async def lifespan(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
            builder.settings.db_path = job.state / "cocoindex"
            async with asyncpg.create_pool(job.database) as pool:
                builder.provide(DATABASE, pool)
                builder.provide(EMBEDDER, self._embedder)
                yield

        self._app = coco.App(coco.AppConfig(name="bench"), app_main, source=self._source)

    def warm_up(self) -> None:
        """Load the model."""
        self._embedder._get_model().encode(["a"] * 32)

    def ingest(self, documents: Path) -> int:
        """Bring the database to the state of the file."""
        self._source.append(documents)
        self._app.update_blocking()
        with psycopg.connect(self._database) as connection:
            row = connection.execute("select count(*) from documents").fetchone()
        return int(row[0]) if row else 0
