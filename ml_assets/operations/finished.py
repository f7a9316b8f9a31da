"""Whether the last run ended well on exactly the present state: then there is nothing to do."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from ml_assets.documents.refresh import changed_collections
from ml_assets.documents.sources import open_source
from ml_assets.documents.sources.base import Source
from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.releases.retention import expired
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.sql import SQL, statement

_PACKAGE = Path(__file__).resolve().parent.parent


FailedCheck = tuple[str, bool, dict[str, Any]]
"""Name, whether it blocks, and its figures."""

LASTING_WARNINGS = {"rows_were_readable", "hybrid_is_not_worse_than_published"}
"""Checks that fail again on the same documents and settings, whatever a run does: a run that ended
with them is finished, and they are told again. Of others, as of a worn index, a run takes care."""


@dataclass(frozen=True, slots=True)
class Finish:
    """When a run ended well, and the checks that warned in it."""

    ended: datetime
    warnings: Sequence[FailedCheck]


def last_finish(settings: Settings) -> Finish | None:
    """How the last run ended, if a run now would change nothing; None if it might.

    It is None, too, with a store on a server: what happens to a server leaves no trace here.

    Raises:
        UserError: the source, a setting or PostgreSQL cannot be used.
    """
    servers = ("chroma_url", "redis_url", "clickhouse_url", "mlflow_tracking_uri")
    if any(getattr(settings, url) for url in servers):
        return None
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        found = postgres.run(connection, statement("postgres/operations/finished_run")).fetchone()
        if found is None:
            return None
        state, changes, ended, warnings = found
        source = open_source(settings.source, settings)
        same = (changes, state) == (
            count_changes(connection),
            _state(run_inputs(settings, source), settings),
        )
        if not same or changed_collections(connection, source):
            return None
        if _waits_to_be_dropped(connection, settings):
            return None
        return Finish(ended, [(name, blocks, figures) for name, blocks, figures in warnings])


def _waits_to_be_dropped(connection: postgres.Connection, settings: Settings) -> bool:
    """Whether the indexes of a retired search generation have been kept for their time."""
    retired = expired(connection, "generation_id", settings.keep_generations_days)
    bound = {"generation_ids": retired}
    kept = postgres.run(connection, statement("postgres/search/publishing/kept_of"), bound)
    identities = {identity for (identity,) in kept}
    if not identities:
        return False
    # Imported only now: it imports numpy, and half of a run that finds nothing to do is imports.
    from ml_assets.search.publishing.listing import described_generation

    return bool(identities - {described_generation(settings)})


def run_inputs(settings: Settings, source: Source) -> str:
    """A hash over what decides a run beside the documents: settings, code, judged queries."""
    parts = (
        settings.model_dump_json(exclude={"actor", "postgres_url"}),
        secret(settings.postgres_url),
        platform.python_version(),
        _code(),
        current_chunker(settings).fingerprint,
        current_space(settings).space_id,
        source.judged_queries(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def count_changes(connection: postgres.Connection) -> int:
    """Entries of the append-only change log: another number whenever a document changed."""
    return postgres.read_counts(connection, statement("postgres/operations/count_changes"))[
        "changes"
    ]


def is_finish(failed: Sequence[FailedCheck]) -> bool:
    """Whether a run whose steps ended well has nothing to do again, these failed checks included.

    Until then a run on the same documents is a whole one: it may pass what failed.
    """
    return all(not blocks and name in LASTING_WARNINGS for name, blocks, _ in failed)


def remember_finish(
    connection: postgres.Connection,
    settings: Settings,
    inputs: str,
    changes: int,
    warnings: Sequence[FailedCheck] = (),
) -> None:
    """Keep that a run ended well: on `run_inputs` as it began, and after so many `changes`."""
    postgres.run(
        connection,
        statement("postgres/operations/remember_finish"),
        {
            "state": _state(inputs, settings),
            "changes": changes,
            "warnings": Jsonb([list(check) for check in warnings]),
        },
    )


def forget_finish(connection: postgres.Connection) -> None:
    """A run begins: until it has ended well, nothing is finished."""
    connection.execute("delete from finished_run")


def _state(inputs: str, settings: Settings) -> str:
    digest = hashlib.sha256(inputs.encode())
    for line in _embedded_files(settings):
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _embedded_files(settings: Settings) -> Iterator[str]:
    """Size and time of every file of the embedded stores beside PostgreSQL.

    A store that was removed, restored or written by another program is looked at again.
    """
    home = settings.home
    stores = [home / "chroma", home / "chdb", home / "mlflow_artifacts", home / "online.sqlite"]
    indexes = [settings.keyword_folder, settings.faiss_folder]
    for store in (*stores, *indexes, settings.duckdb_file):
        for file in sorted(_files(store)):
            found = file.stat()
            yield f"{file} {found.st_size} {found.st_mtime_ns}\n"


def _files(store: Path) -> Iterable[Path]:
    if store.is_file():
        return [store]
    # Hidden files are locks, which readers make, too.
    return (file for file in store.rglob("[!.]*") if file.is_file())


@lru_cache(maxsize=1)
def _code() -> str:
    digest = hashlib.sha256()
    for folder, pattern in ((_PACKAGE, "*.py"), (_PACKAGE, "*.jsonl"), (SQL, "*.sql")):
        for file in sorted(folder.rglob(pattern)):
            digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
