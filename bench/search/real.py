"""Real chunks with their vectors: of a home that holds a search, or of one made for this."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql
from psycopg.rows import TupleRow

from bench import corpus, ours
from bench.measure import BIN, run, say
from bench.search.vectors import Matrix
from ml_assets.embeddings.quantization import unpack_halves
from ml_assets.embeddings.refresh import partition_name
from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

SOURCE = "python_environment"
QUERIES = 500
_CHUNKS_OF_A_DOCUMENT = 1.6
"""Or more: of 77,000 documents of this source come 145,000 chunks."""

_CHUNKS = """
select chunk_id, d.document_id, d.title, c.heading, c.text, text_hash, halfvec_send(e.embedding)
from {partition} e
join current_chunks c using (chunk_id, chunker, text_hash)
join documents d using (document_id)
where d.deleted_at is null
order by md5(d.document_id), c.chunk_index
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk; with its heading it is what was embedded."""

    chunk_id: str
    document_id: str
    title: str
    heading: str
    text: str


@dataclass(frozen=True)
class Real:
    """Chunks of whole documents, their vectors, and the vectors of other texts as queries.

    Shapes: (chunks, dimension) and (queries, dimension). `asked` are texts to search for: titles
    and first sentences of documents, by turns.
    """

    chunks: Sequence[Chunk]
    vectors: Matrix
    queries: Matrix
    asked: Sequence[str]


def read(home: Path | None, work: Path, size: int) -> Real:
    """`size` chunks of a `home`, which is not touched; without one, of documents embedded here."""
    if home is None:
        home = _made(work, size)
    with ours.copied_server(home, work / "copy") as url, postgres.connect(url, work) as connection:
        space = current_space(load_settings())
        query = sql.SQL(_CHUNKS).format(partition=sql.Identifier(partition_name(space.space_id)))
        batches = postgres.read_batches(connection, query.as_string(connection), binary=True)
        return split((row for batch in batches for row in batch), size)


def split(rows: Iterator[TupleRow], size: int, queries: int = QUERIES) -> Real:
    """The first `size` rows, and of other texts among those that follow up to `queries`."""
    chunks: list[Chunk] = []
    vectors: list[bytes] = []
    held_out: dict[bytes, bytes] = {}
    known: set[bytes] = set()
    for *fields, text_hash, vector in rows:
        if len(chunks) < size:
            chunks.append(Chunk(*fields))
            vectors.append(vector)
            known.add(text_hash)
        elif text_hash not in known:
            held_out.setdefault(text_hash, vector)
        if len(held_out) == queries:
            break
    if not held_out:
        sys.exit(f"{len(chunks):,} chunks, and no others to ask for: give fewer --vectors")
    held = unpack_halves([*held_out.values()])
    return Real(chunks, unpack_halves(vectors), held, _asked(chunks, queries))


def _asked(chunks: Sequence[Chunk], count: int) -> list[str]:
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        first.setdefault(chunk.document_id, chunk)
    documents = list(first.values())
    chosen = [documents[place * len(documents) // count] for place in range(count)]
    texts = [
        _first_sentence(chunk.text) if place % 2 else chunk.title
        for place, chunk in enumerate(chosen)
    ]
    return [text for text in texts if text.strip()]


def _first_sentence(text: str) -> str:
    return " ".join(re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0].split())[:200]


def _made(work: Path, size: int) -> Path:
    texts = corpus.read_source(SOURCE)
    texts = corpus.spread(texts, round((size + 2 * QUERIES) / _CHUNKS_OF_A_DOCUMENT))
    say(f"embedding {len(texts):,} documents of {SOURCE}")
    ours.place(corpus.write(texts, work / "texts.jsonl"), work)
    run([BIN / "ml-assets", "run", "--until", "search"], ours.environment(work), work / "run.log")
    return work / "home"
