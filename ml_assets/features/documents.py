"""The view `document_text`: from documents and their vectors to offline rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from ml_assets.delta import Delta
from ml_assets.documents.chunkers import chunks_of
from ml_assets.embeddings.refresh import partition_name
from ml_assets.features.definition import FeatureView
from ml_assets.features.neighbours import UNKNOWN, nearest_others
from ml_assets.features.offline import ENTITY_HEADER, current_rows, read_state, refresh_view
from ml_assets.features.sources.corpus import entity_of
from ml_assets.features.text import text_features
from ml_assets.features.views import views_for
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.progress import Progress, no_progress
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

_TEXT_COLUMNS = DOCUMENT_TEXT.columns[:-1]
"""All but the distance to the nearest document are functions of the text alone."""

_FEW = 2_000
"""Documents whose vectors are read at once: those near the texts of a request."""


def refresh_document_features(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    space_id: str,
    *,
    known_time: datetime | None = None,
    progress: Progress = no_progress,
) -> Delta:
    """Make the latest rows of `document_text` those of the live documents, in space `space_id`.

    A text is described once. Documents whose vector changed, or that of their nearest, are compared
    with all; the others with those that changed. Nothing is read but a hash when nothing changed.
    """
    inputs, bound = "postgres/features/document_state", {"space_id": space_id}
    return refresh_view(
        connection,
        duck,
        DOCUMENT_TEXT,
        lambda: read_state(connection, inputs, bound),
        lambda _: _compute(connection, duck, space_id, progress),
        known_time,
    )


def _compute(
    connection: postgres.Connection, duck: duckdb.Connection, space_id: str, progress: Progress
) -> None:
    """Fill the temporary table `computed` with a line per document."""
    rows = connection.execute(statement("postgres/features/documents")).fetchall()
    entities = duckdb.arrow_table(rows, ENTITY_HEADER | {"text_hash": "string"})
    with duckdb.registered(duck, entities=entities):
        text = statement("duckdb/features/entities_to_compute")
        pending = duck.execute(text, {"view": DOCUMENT_TEXT.key}).fetchall()
        texts = _describe_texts(connection, [entity_id for (entity_id,) in pending], progress)
        neighbours = _neighbours(connection, duck, space_id)
        with duckdb.registered(duck, computed_texts=texts, neighbours=neighbours):
            for step in "forget_neighbours", "save_neighbours":
                duck.execute(statement(f"duckdb/features/{step}"))
            columns, current = ", ".join(_TEXT_COLUMNS), current_rows(DOCUMENT_TEXT)
            text = statement("duckdb/features/compute_document_text")
            duck.execute(text.format(text_columns=columns, current=current))


def _describe_texts(
    connection: postgres.Connection, document_ids: list[str], progress: Progress
) -> pa.Table:
    text = statement("postgres/features/texts")
    rows: list[tuple[object, ...]] = []
    for batch in postgres.read_batches(connection, text, {"document_ids": document_ids}):
        rows += [(document_id, *text_features(content).values()) for document_id, content in batch]
        progress(len(rows), len(document_ids))
    types = {f.name: f.dtype for f in DOCUMENT_TEXT.features if f.name in _TEXT_COLUMNS}
    return duckdb.arrow_table(rows, {"entity_id": "string", **types})


def _neighbours(
    connection: postgres.Connection, duck: duckdb.Connection, space_id: str
) -> pa.Table:
    """The nearest other document of each, and the distance to it, with a hash of its own vector."""
    import numpy as np
    import pyarrow as pa

    documents, vectors = _vectors(connection, duck, space_id)
    nearest = np.full(len(vectors), UNKNOWN, np.intp)
    distances = np.full(len(vectors), np.nan)
    places = documents.append_column("place", pa.array(np.arange(len(documents))))
    with duckdb.registered(duck, places=places):
        known = duck.execute(statement("duckdb/features/known_neighbours")).fetchnumpy()
    nearest[known["place"]] = known["nearest"]
    distances[known["place"]] = known["distance"]
    nearest_others(vectors, nearest, distances)
    names = documents["entity_id"].take(pa.array(nearest, mask=nearest == UNKNOWN))
    return documents.append_column("neighbour_id", names).append_column(
        "nearest_distance", pa.array(distances, from_pandas=True)
    )


def _vectors(
    connection: postgres.Connection, duck: duckdb.Connection, space_id: str
) -> tuple[pa.Table, NDArray[np.float32]]:
    """The ids of the live documents, hashes of what their vectors are of, and these, a row each.

    They are kept in DuckDB: those alone are read from PostgreSQL that are made of other texts.
    """
    import pyarrow as pa
    from pyarrow.compute import sort_indices

    text = statement("postgres/features/vector_hashes")
    rows = connection.execute(text, {"space_id": space_id}).fetchall()
    wanted = duckdb.arrow_table(rows, {"entity_id": "string", "vector_hash": "string"})
    with duckdb.registered(duck, vector_hashes=wanted):
        duck.execute(statement("duckdb/features/forget_vectors"))
        found = duck.execute(statement("duckdb/features/vectors_to_read")).fetchall()
        missing = [document_id for (document_id,) in found]
        if missing:
            some = None if len(missing) == len(wanted) else missing
            names, read = read_vectors(connection, space_id, some)
            lists = pa.FixedSizeListArray.from_arrays(read.ravel(), read.shape[1])
            with duckdb.registered(duck, vectors=pa.table({"entity_id": names, "vector": lists})):
                duck.execute(statement("duckdb/features/save_vectors"))
    kept = duck.sql("select entity_id, vector_hash, vector from document_vectors").to_arrow_table()
    numbers = kept["vector"].combine_chunks().flatten().to_numpy()
    vectors = numbers.reshape(len(kept), len(numbers) // max(1, len(kept)))
    order = sort_indices(kept["entity_id"])
    return kept.select(["entity_id", "vector_hash"]).take(order), vectors[order.to_numpy()]


def with_keys(
    connection: postgres.Connection, spine: pd.DataFrame, views: Iterable[FeatureView]
) -> pd.DataFrame:
    """A spine of documents with the keys by which `views` are joined to it, and `document_time`.

    That is when each document came to be: what was known of its author before, say. A document that
    does not have a key has none.
    """
    import pandas as pd

    keys = sorted({view.entity_column for view in views} - {"document_id"})
    if not keys:
        return spine
    bound = {"document_ids": spine["document_id"].tolist()}
    rows = connection.execute(statement("postgres/documents/keys"), bound).fetchall()
    known = {
        document_id: {**metadata, "document_time": came, "collection": collection}
        for document_id, came, collection, metadata in rows
    }
    found = [known.get(document_id, {}) for document_id in spine["document_id"]]
    times = pd.Series([row.get("document_time") for row in found], spine.index, object)
    keyed = spine.assign(document_time=pd.to_datetime(times, utc=True))
    for key in keys:
        keyed[key] = [entity_of(row.get(key)) for row in found]
    return keyed


def unheld_keys(connection: postgres.Connection) -> dict[str, list[str]]:
    """The keys of metadata that views for training are joined by and no live document has."""
    joined: dict[str, list[str]] = defaultdict(list)
    for view in views_for("training"):
        if view.entity not in ("document", "collection"):
            joined[view.entity].append(view.name)
    if not joined:
        return {}
    text = statement("postgres/features/unheld_keys")
    rows = connection.execute(text, {"keys": list(joined)}).fetchall()
    return {key: joined[key] for (key,) in rows}


def text_hashes(connection: postgres.Connection, document_ids: Collection[str]) -> dict[str, str]:
    """The sha256 (hex) of what a model sees of documents: title, line end, text."""
    text = statement("postgres/features/text_hashes")
    return dict(connection.execute(text, {"document_ids": list(document_ids)}).fetchall())


def read_nearest(duck: duckdb.Connection) -> dict[str, tuple[str, float]]:
    """The nearest other document of each, and 1 - cosine to it, as of the last refresh."""
    query = (
        "select entity_id, neighbour_id, nearest_distance from document_neighbours"
        " where neighbour_id is not null"
    )
    rows = duck.execute(query).fetchall()
    return {name: (neighbour, distance) for name, neighbour, distance in rows}


def read_vectors(
    connection: postgres.Connection,
    space_id: str,
    some: Collection[str] | None = None,
    *,
    chunker: str | None = None,
) -> tuple[list[str], NDArray[np.float32]]:
    """The ids of the live documents, of all or of `some`, and their vectors, a row each.

    Of the chunks of the current chunker; or of another one, which is sooner: its tables are known
    before the statement is planned.
    """
    import numpy as np

    text = _vectors_of("true" if some is None else _OF_SOME, space_id, chunker)
    bound = {"space_id": space_id, "document_ids": list(some or ())}
    document_ids: list[str] = []
    parts = [np.empty((0, 0), np.float32)]
    if some is not None and len(some) <= _FEW:
        # One round trip, and planned once: a prediction waits for it.
        found = connection.execute(text, bound, binary=True, prepare=True).fetchall()
        batches: Iterable[list[tuple[Any, ...]]] = [found] if found else []
    else:
        batches = postgres.read_batches(connection, text, bound, binary=True)
    for batch in batches:
        document_ids += [row[0] for row in batch]
        parts.append(np.stack([row[1].to_numpy() for row in batch]))
    return document_ids, np.concatenate(parts[1:] or parts, dtype=np.float32)


_OF_SOME: LiteralString = "c.document_id = any(%(document_ids)s::text[])"


@lru_cache(maxsize=8)
def _vectors_of(chosen: LiteralString, space_id: str, chunker: str | None) -> sql.SQL:
    """The statement, kept: a prediction waits for it."""
    tables = ("document_embeddings", "current_chunks")
    if chunker:
        tables = (partition_name(space_id, chunker), chunks_of(chunker))
    vectors, chunks = map(sql.Identifier, tables)
    text = sql.SQL(statement("postgres/features/document_vectors"))
    composed = text.format(vectors=vectors, chunks=chunks, chosen=sql.SQL(chosen))
    return sql.SQL(composed.as_string())
