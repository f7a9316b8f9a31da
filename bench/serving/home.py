"""A home to serve: documents of this Python with labels, brought up once, and what it is asked."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from psycopg import sql

from bench.measure import BIN, PROJECT, run, say
from bench.search.vectors import save
from ml_assets.embeddings.quantization import unpack_halves
from ml_assets.search.generation import published_generation, vectors_of
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

STATE = PROJECT / "bench" / "results" / "serving"
"""Where the home is kept for the next time, unless another is named."""

SOURCE = "python_environment"
DOCUMENTS = 26_875
"""Of which about 43,000 chunks come."""

SHARES = (0.1, 0.01)
_WORDS = 8
"""Of a question, at most; the last ones begin so `_FAR` into a document."""
_FAR = 300

_SHARES = """
select 'metadata.' || key || ' = ' || value,
    count(*)::float8 / sum(count(*)) over (partition by key)
from documents, jsonb_each(metadata) as item where deleted_at is null group by key, value
union all
select 'collection = ' || to_json(collection)::text, count(*)::float8 / sum(count(*)) over ()
from documents where deleted_at is null group by collection
"""
_CHUNKS = """
select c.heading, c.text, coalesce(d.label, ''), halfvec_send(e.embedding)
from {partition} e
join current_chunks c using (chunk_id, chunker, text_hash)
join documents d using (document_id)
where d.deleted_at is null
order by c.chunk_id
"""


def made() -> Path:
    """The home of `DOCUMENTS` documents; a run brings it up where there is none."""
    home, file = STATE / "home", STATE / "documents.jsonl"
    if not home.exists():
        STATE.mkdir(parents=True, exist_ok=True)
        say(f"bringing up {DOCUMENTS:,} documents of {SOURCE}: this takes minutes")
        write_documents(file)
        source = f"files:{quote(str(file))}?name=documents&metadata=tenth,hundredth"
        settings = {"ML_ASSETS_HOME": str(home), "ML_ASSETS_SOURCE": source}
        run([BIN / "ml-assets", "run"], settings, STATE / "run.log")
    return home


def write_documents(file: Path) -> None:
    """JSON Lines of documents with labels, and numbers by which tenths and hundredths pass."""
    from ml_assets.documents.model import Document
    from ml_assets.documents.sources import open_source

    source = open_source(SOURCE, load_settings())
    rows = [row for row in source.read(source.collections()) if isinstance(row, Document)]
    with file.open("w", encoding="utf-8") as lines:
        for number in range(DOCUMENTS):
            row = rows[number * len(rows) // DOCUMENTS]
            line = {
                "id": row.document_id,
                "title": row.title,
                "text": row.text,
                "label": row.label,
                "tenth": number % 10,
                "hundredth": number % 100,
            }
            lines.write(json.dumps(line) + "\n")


def filters(home: Path) -> list[tuple[float, str]]:
    """The conditions that about a tenth and a hundredth of the documents pass, with their share."""
    with postgres.connect(None, load_settings(home=home).home) as connection:
        shares = [(share, text) for text, share in connection.execute(_SHARES)]
    return [min(shares, key=lambda each: abs(each[0] - share)) for share in SHARES]


def questions(home: Path) -> Iterator[str]:
    """Words that follow each other in a document, as many as of a person's question; none twice."""
    query = (
        "select title, left(text, 2000) from documents where deleted_at is null order by random()"
    )
    with postgres.connect(None, load_settings(home=home).home) as connection:
        rows = connection.execute(query).fetchall()
    known: set[str] = set()
    for start in range(0, _FAR, _WORDS):
        for number, (title, text) in enumerate(rows):
            words = (text or title).split()[start:]
            question = " ".join(words[: 3 + number % (_WORDS - 2)])[:200]
            if question and question not in known:
                known.add(question)
                yield question


def take(questions: Iterator[str], count: int) -> list[str]:
    """The next ones.

    Raises:
        SystemExit: there are not so many.
    """
    taken = list(itertools.islice(questions, count))
    if len(taken) < count:
        sys.exit("the home has too few documents to ask so many questions, each once")
    return taken


def export(home: Path, state: Path) -> None:
    """Write what peers are given: the texts of the chunks, their labels, and their vectors."""
    with postgres.connect(None, load_settings(home=home).home) as connection:
        generation = published_generation(connection)
        assert generation
        table = sql.Identifier(vectors_of(generation))
        query = sql.SQL(_CHUNKS).format(partition=table).as_string(connection)
        rows = [
            row for batch in postgres.read_batches(connection, query, binary=True) for row in batch
        ]
    with (state / "texts.jsonl").open("w", encoding="utf-8") as lines:
        for heading, text, _, _ in rows:
            lines.write(json.dumps(f"{heading}\n{text}" if heading else text) + "\n")
    (state / "labels.json").write_text(json.dumps([label for _, _, label, _ in rows]))
    vectors = unpack_halves([vector for *_, vector in rows])
    save(state / "vectors", [vectors], vectors[:1])
