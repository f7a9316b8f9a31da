"""What sources read: the documents, their chunks and changes as relations of DuckDB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from ml_assets.errors import FeatureViewError, first_line
from ml_assets.features.definition import FeatureView
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement

RELATIONS: dict[str, dict[str, str]] = {
    "documents": {
        "document_id": "string",
        "collection": "string",
        "title": "string",
        "text": "string",
        "label": "string",
        "url": "string",
        "group_id": "string",
        "metadata": "string",
        "event_time": "time",
        "label_time": "time",
    },
    "chunks": {
        "chunk_id": "string",
        "document_id": "string",
        "collection": "string",
        "chunk_index": "bigint",
        "text": "string",
        "token_count": "bigint",
    },
    "changes": {
        "change_id": "bigint",
        "changed_at": "time",
        "collection": "string",
        "document_id": "string",
        "action": "string",
    },
}
"""The relations that a query can read, and their columns: live documents, their chunks, and every
change of a document. Of a document `event_time` is when it was created, or first seen if it does
not say, and `label_time` when it became what it is, its label included: never before."""

_STATEMENTS = {
    "documents": "postgres/documents/relation_documents",
    "chunks": "postgres/documents/relation_chunks",
    "changes": "postgres/documents/relation_changes",
}


@dataclass(frozen=True, slots=True)
class State:
    """What tells whether a source has changed: entities or rows, a hash, the time of the last."""

    entities: int
    state_hash: str
    state_time: datetime


@dataclass(frozen=True, slots=True)
class Corpus:
    """The open stores that a source reads, and the database of `ML_ASSETS_SOURCE_URL`."""

    connection: postgres.Connection
    duck: duckdb.Connection
    source_url: str | None = field(default=None, repr=False)

    def state(self) -> State:
        """All that the relations are made of, in one line."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            (row,) = cursor.execute(statement("postgres/documents/relations_state")).fetchall()
        return State(**row)

    def read(self, view: FeatureView, query: str) -> None:
        """Make the temporary table `given` what a user's query over the relations gives.

        Raises:
            FeatureViewError: DuckDB refuses the query.
        """
        query = query.strip().rstrip(";")
        with told(view, "its query"):
            names = self.duck.get_table_names(query)
            tables = {name: self._relation(name) for name in RELATIONS if name in names}
            with duckdb.registered(self.duck, **tables):
                self.duck.execute(f"create or replace temp table given as {query}")

    def _relation(self, name: str) -> Any:
        rows: Iterable[Any] = self.connection.execute(statement(_STATEMENTS[name]))
        if name == "documents":
            place = [*RELATIONS[name]].index("metadata")
            rows = ((*row[:place], plain_metadata(row[place]), *row[place + 1 :]) for row in rows)
        return duckdb.arrow_table(rows, RELATIONS[name])


def plain_metadata(metadata: Mapping[str, object]) -> str:
    """Metadata as JSON, whole numbers without a point: as a key of them is written everywhere."""
    plain = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in metadata.items()
    }
    return json.dumps(plain, ensure_ascii=False)


def entity_of(value: object) -> str | None:
    """A value of metadata as the id of an entity."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def relations_in(query: str) -> list[str]:
    """The relations that a query names."""
    words = set(re.findall(r"\w+", query.lower()))
    return [name for name in RELATIONS if name in words]


@contextmanager
def told(view: FeatureView, what: str) -> Iterator[None]:
    """Tell an error of DuckDB about a user's own query or table as theirs, in one line."""
    import duckdb as engine

    try:
        yield
    except engine.Error as error:
        raise FeatureViewError(
            f"{what} is refused: {first_line(error)}",
            where=f"feature view {view.name}",
            do="Correct it",
        ) from None


def shape(
    duck: duckdb.Connection,
    view: FeatureView,
    key: str,
    event_time: str = "",
    known_time: str = "",
    inputs: Iterable[str] = (),
) -> None:
    """Turn the table `given` into `staged`: entity, times, features of their types, place.

    A value that its type cannot hold is null, and so is a nan; a row without key, or without the
    event time that is asked for, is left out. Of `inputs` a hash is made.

    Raises:
        FeatureViewError: `given` lacks a column, or a time is none.
    """
    types = {name: str(kind) for name, kind, *_ in duck.execute("describe given").fetchall()}
    asked = [key, event_time, known_time, *(() if inputs else view.columns), *inputs]
    if missing := [name for name in asked if name and name not in types]:
        raise FeatureViewError(
            f"there is no column {' and no column '.join(missing)}; there are {', '.join(types)}",
            where=f"feature view {view.name}",
            do="Rename or add the column",
        )
    for name in filter(None, (event_time, known_time)):
        if not types[name].startswith(("TIMESTAMP", "DATE", "VARCHAR")):
            raise FeatureViewError(
                f"column {name} is of type {types[name]}, which is no time",
                where=f"feature view {view.name}",
                do="Give a timestamp, as in to_timestamp(seconds)",
            )
    columns = [
        f"{_entity(key, types[key])} as entity_id",
        f"{_time(event_time)} as event_time",
        f"{_time(known_time)} as known_time",
        "row_number() over () as place",
    ]
    if inputs:
        named = ", ".join(f'"{name}"' for name in inputs)
        columns += [f"md5(to_json(row({named}))::varchar) as input_hash", named]
    else:
        columns += [
            "'' as input_hash",
            *(_typed(f.name, f.dtype, types[f.name]) for f in view.features),
        ]
    where = "entity_id is not null" + (" and event_time is not null" if event_time else "")
    text = f"create or replace temp table staged as from (select {', '.join(columns)} from given)"  # noqa: S608
    with told(view, "what it gives"):
        duck.execute(f"{text} where {where}")


def _entity(key: str, kind: str) -> str:
    """A key as text; a whole number has no point, though a column with gaps made floats of it."""
    if kind in ("DOUBLE", "FLOAT"):
        return f'if("{key}" = trunc("{key}"), "{key}"::hugeint::varchar, "{key}"::varchar)'
    return f'"{key}"::varchar'


def _time(name: str) -> str:
    return f'try_cast("{name}" as timestamptz)' if name else "null::timestamptz"


def _typed(name: str, dtype: str, kind: str) -> str:
    cast = f'try_cast("{name}" as {dtype})'
    return (
        f"if(isnan({cast}), null, {cast}) as {name}" if dtype == "double" else f"{cast} as {name}"
    )
