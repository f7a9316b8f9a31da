"""Keeping a generation current while it is served, and dropping it once kept for its time."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from psycopg.errors import LockNotAvailable

from ml_assets.documents.chunkers import drop_chunks, known_chunkers
from ml_assets.embeddings.refresh import drop_vectors, forget_outdated_vectors
from ml_assets.errors import GateError
from ml_assets.releases import audit
from ml_assets.releases.gates import Gate, refuse_blocked
from ml_assets.releases.pointer import deciding_alone, present_parts
from ml_assets.releases.roles import authorize
from ml_assets.search.generation import find_generation, on_vectors, published_generation
from ml_assets.search.indexes.consistency import compare_with_tables
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.indexes.pgvector.building import be_patient
from ml_assets.search.model import CHUNKING, Generation
from ml_assets.search.publishing.gates import same_chunks_gate
from ml_assets.search.publishing.listing import expired
from ml_assets.search.publishing.quality import subject
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def generations_to_sync(connection: postgres.Connection, current: Generation) -> list[Generation]:
    """The generations whose indexes follow the tables: `current`, and the served one if another.

    A generation in an older vector space holds the live chunks that have a vector there: what is
    deleted leaves it, and a text that was changed since is not in it; so does one of a chunker that
    does not follow (`chunkers_beside`). pgvector needs no help for what is deleted, as its index
    follows the partition; see `forget_outdated_vectors` for the rest.
    """
    served = published_generation(connection)
    if served is None or served.generation_id == current.generation_id:
        return [current]
    return [current, served]


def bring_up_to_date(
    connection: postgres.Connection, indexes: Indexes, generation: Generation
) -> Gate:
    """Make all indexes of a generation hold exactly the live chunks; return the gate of that.

    Raises:
        GateError: it lacks chunks or vectors of live documents, or an index differs from the
            tables.
    """
    text = on_vectors(generation, statement("postgres/search/publishing/count_lacking"))
    counts = postgres.read_counts(connection, text, {"chunker": generation.chunker})
    if counts["lacking"]:
        raise GateError(
            f"its vector space {generation.space_id} lacks the vectors of {counts['lacking']} of"
            f" {counts['live']} live documents",
            where=f"generation {generation.generation_id}",
            do=f"Set {_settings_of(generation)} and run `ml-assets run --until documents`",
        )
    forget_outdated_vectors(connection, generation.space_id)
    with indexes.open_all(connection, generation) as opened:
        for index in opened.values():
            sync_index(connection, index)
    return compare_indexes(connection, indexes, generation)


def _settings_of(generation: Generation) -> str:
    """The settings that describe what the indexes of a generation are made of."""
    chunking = generation.parameters[CHUNKING]
    sizes = {
        f"ML_ASSETS_CHUNK_{name.upper()} to {chunking[name]}"
        for name in ("tokens", "overlap")
        if name in chunking
    }
    return ", ".join([f"ML_ASSETS_EMBEDDING_MODEL to {generation.model!r}", *sorted(sizes)])


def compare_indexes(
    connection: postgres.Connection, indexes: Indexes, generation: Generation
) -> Gate:
    """Compare all indexes of a generation whole with the tables; return the gate of that.

    Raises:
        GateError: an index differs from the tables.
    """
    with indexes.open_all(connection, generation) as opened:
        rows = compare_with_tables(connection, list(opened.values()), whole=True)
    gate = same_chunks_gate(rows)
    refuse_blocked([gate], f"generation {generation.generation_id}")
    return gate


def drop_expired(
    connection: postgres.Connection, indexes: Indexes, described: Generation
) -> tuple[list[str], list[str]]:
    """Drop the indexes of every expired generation; its row and its audit entries stay.

    Returns the ids of those that were dropped, and of those that a reader is still busy with: they
    are left to the next run. So is what a killed run began, as every step can be repeated: the
    stores outside PostgreSQL come first, and one transaction with the state ends it. Chunks of
    which no generation was built go at once.
    """
    expiring = partial(
        expired, connection, described.generation_id, indexes.settings.keep_generations_days
    )
    dropped: list[str] = []
    waiting: list[str] = []
    if expiring():
        authorize(connection, indexes.settings.actor, "drop", "search generations")
        with deciding_alone(connection):
            for identity in expiring():
                generation = find_generation(connection, identity)
                done = _drop(connection, indexes, generation, described)
                (dropped if done else waiting).append(identity)
    for chunker in _unread_chunkers(connection, described):
        with suppress(LockNotAvailable), connection.transaction():
            be_patient(connection)
            _drop_chunker(connection, chunker)
    return dropped, waiting


def _unread_chunkers(connection: postgres.Connection, described: Generation) -> list[str]:
    """The chunkers of which there are chunks, but no generation: a run was killed early."""
    text = statement("postgres/search/publishing/chunkers_read")
    read = {described.chunker, *(name for (name,) in connection.execute(text))}
    return [chunker for chunker in known_chunkers(connection) if chunker not in read]


def _drop_chunker(connection: postgres.Connection, chunker: str) -> None:
    """Drop the chunks of a chunker, and their vectors in every space."""
    drop_vectors(connection, chunker=chunker)
    drop_chunks(connection, chunker)


def _drop(
    connection: postgres.Connection, indexes: Indexes, generation: Generation, described: Generation
) -> bool:
    """Drop its indexes, with the ledger and the marks, and what nothing else uses.

    That are the vectors of its chunks, all vectors of its space, and the chunks themselves.
    """
    bound = {"generation_id": generation.generation_id}
    text = statement("postgres/search/publishing/other_generations")
    others = [find_generation(connection, name) for (name,) in connection.execute(text, bound)]
    with indexes.open_all(connection, generation) as opened:
        if not all(index.drop((*others, described)) for index in opened.values()):
            return False
    read = [(other.space_id, other.chunker) for other in (*others, described)]
    # The vectors of a space also serve the model that reads them, of the current chunker.
    read += [(str(present_parts(connection).model_space_id), described.chunker)]
    unread_space = all(space != generation.space_id for space, _ in read)
    unread_chunks = all(chunker != generation.chunker for _, chunker in read)
    unused = (generation.space_id, generation.chunker) not in read
    reason = f"kept for {indexes.settings.keep_generations_days:g} days"
    details = {
        "space_id": generation.space_id,
        "chunker": generation.chunker,
        "vectors_dropped": unused,
        "chunks_dropped": unread_chunks,
    }
    try:
        with connection.transaction():
            be_patient(connection)
            if unused:
                drop_vectors(connection, space_id=generation.space_id, chunker=generation.chunker)
            if unread_space:
                drop_vectors(connection, space_id=generation.space_id)
            if unread_chunks:
                _drop_chunker(connection, generation.chunker)
            connection.execute(statement("postgres/search/publishing/forget_generation"), bound)
            name = subject(generation.generation_id)
            entry = audit.Entry(indexes.settings.actor, "drop", name, reason, details)
            audit.append(connection, entry)
    except LockNotAvailable:
        return False
    return True
