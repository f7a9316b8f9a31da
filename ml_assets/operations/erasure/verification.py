"""Whether something was left: asked of the tables by hashes, and of every file by its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from ml_assets.operations.erasure.request import is_begun
from ml_assets.operations.erasure.subject import Place, Subject
from ml_assets.operations.erasure.traces import Trace, files_of, find_traces
from ml_assets.releases.forgotten import Forgotten
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.postgres.migration import SCHEMA
from ml_assets.stores.sql import statement

_ATTEMPTS = 3
"""A file that another process was just about to remove is looked for again."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what was found: none of it is all that was promised.

    `rows`: of PostgreSQL that name an id. `files`: of the home, and where settings put them, which
    were looked through for `marks` pieces of text and vectors.
    """

    rows: int
    files: int
    marks: int
    traces: tuple[Trace, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was left."""
        return not self.rows and not self.traces


def verify(place: Place, subject: Subject, forgotten: Forgotten) -> Verified:
    """Look in the tables for ids, and in every file for the marks of a subject."""
    marks, folders = subject.marks, looked_at(place.settings)
    for _ in range(_ATTEMPTS):
        found = [
            trace
            for folder in folders
            for trace in find_traces(folder, marks)
            if not is_begun(trace.file)
        ]
        if not found:
            break
    files = sum(1 for folder in folders for _ in files_of(folder))
    return Verified(
        sum(1 for _ in forgotten_rows(place.connection, forgotten)),
        files,
        len(marks.words) + len(marks.vectors),
        tuple(found),
    )


def forgotten_rows(
    connection: postgres.Connection, forgotten: Forgotten
) -> Iterator[tuple[str, str]]:
    """Each id in any of our tables that was forgotten, with the table, whoever wrote it."""
    bound = {"schema": SCHEMA, "column": "document_id"}
    tables = connection.execute(statement("postgres/stores/columns_named"), bound).fetchall()
    for (table,) in tables:
        query = sql.SQL("select distinct document_id from {} where document_id is not null")
        named = query.format(sql.Identifier(SCHEMA, table))
        for batch in postgres.read_batches(connection, named):
            yield from ((table, row[0]) for row in batch if forgotten.has_id(row[0]))


def looked_at(settings: Settings) -> list[Path]:
    """The home, and the folders and files that settings put elsewhere."""
    database = settings.duckdb_file
    log = database.with_name(f"{database.name}.wal")
    others = (settings.keyword_folder, settings.dagster_folder, database, log)
    elsewhere = (each for each in others if not each.is_relative_to(settings.home))
    return [settings.home, *elsewhere]
