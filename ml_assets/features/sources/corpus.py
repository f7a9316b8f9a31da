"""What sources read: the documents, their chunks and changes as relations of DuckDB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from ml_assets.errors import FeatureViewError, first_line
from ml_assets.features.definition import Feature, FeatureView
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import pyarrow as pa

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

_MADE_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "documents": {
        **{name: (name,) for name in RELATIONS["documents"]},
        "group_id": ("group",),
        "event_time": ("created_at",),
        "label_time": ("created_at",),
    },
    "chunks": {
        "chunk_id": ("document_id", "text"),
        "document_id": ("document_id",),
        "collection": ("collection",),
        "chunk_index": ("title", "text"),
        "text": ("text",),
        "token_count": ("title", "text"),
    },
    "changes": {"document_id": ("document_id",), "collection": ("collection",)},
}
"""Of which fields of documents their columns are made: titles are in the tokens of chunks."""

_STAR = re.compile(r"(select|,|\.)\s*\*|columns\s*\(")
_WHOLE = re.compile(r"\bmetadata\b(?!\s*(->|,\s*'))")
"""Metadata of which no key is named at once, as in `metadata->>'key'`."""

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
    """The open stores that a source reads, and the database of `ML_ASSETS_SOURCE_URL`.

    With `before`, what came since is not in the relations, nor are labels of since then. Those that
    are `kept` are not read.
    """

    connection: postgres.Connection
    duck: duckdb.Connection
    source_url: str | None = field(default=None, repr=False)
    before: datetime | None = None
    kept: Mapping[str, pa.Table] = field(default_factory=dict, repr=False)

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
            # Not `get_table_names`, which refuses a join `using` a column of what is not there yet.
            tables = {name: self._as_of(name) for name in relations_in(query)}
            with duckdb.registered(self.duck, **tables):
                self.duck.execute(f"create or replace temp table given as {query}")

    def relation(self, name: str) -> pa.Table:
        """All rows of one of `RELATIONS`."""
        if name in self.kept:
            return self.kept[name]
        rows: Iterable[Any] = self.connection.execute(statement(_STATEMENTS[name]))
        if name == "documents":
            place = [*RELATIONS[name]].index("metadata")
            rows = ((*row[:place], plain_metadata(row[place]), *row[place + 1 :]) for row in rows)
        return duckdb.arrow_table(rows, RELATIONS[name])

    def _as_of(self, name: str) -> pa.Table:
        """The rows of a relation that were there before."""
        from pyarrow.compute import field as column
        from pyarrow.compute import if_else

        table = self.relation(name)
        if self.before is None:
            return table
        if name == "changes":
            return table.filter(column("changed_at") < self.before)
        if name == "chunks":
            documents = self._as_of("documents")["document_id"].to_pylist()
            return table.filter(column("document_id").isin(documents))
        there = table.filter(column("event_time") < self.before)
        known = [moment < self.before for moment in there["label_time"].to_pylist()]
        labels = if_else(known, there["label"], None)
        return there.set_column(there.column_names.index("label"), "label", labels)


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


def reads_field(query: str, field: str) -> bool:
    """Whether a query may read a field of documents; of metadata, by the key in its text.

    It is told by its words: one that names a column without need reads it, too.
    """
    column, _, key = field.partition(".")
    text = query.lower()
    words = set(re.findall(r"\w+", text))
    relations = [_MADE_OF[name] for name in relations_in(query)]
    made = {name for each in relations for name, fields in each.items() if column in fields}
    if "select" not in words or _STAR.search(text):
        return bool(made)
    named = not key or key.lower() in text or _WHOLE.search(text)
    return bool(named) and not made.isdisjoint(words)


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


NOT_KNOWN_YET = "its known time is still to come"

_FRACTIONAL = ("DOUBLE", "FLOAT", "DECIMAL")
"""Types of columns whose numbers may have a fraction."""

_NO_NUMBERS = ("VARCHAR", "STRUCT", "MAP", "DATE", "TIME")
"""Types of columns whose values may be no numbers."""


def shape(
    duck: duckdb.Connection,
    view: FeatureView,
    key: str,
    event_time: str = "",
    known_time: str = "",
    inputs: Iterable[str] = (),
) -> None:
    """Turn the table `given` into `staged`: entity, times, features of their types, place.

    A value that its type cannot hold is null, and so is a nan; at least one has to be held. Of
    `inputs` a hash is made. A row without key, or without a time that is asked for, is left out,
    and so are those that are repeated but for the last; how many is counted in `left_out`.

    Raises:
        FeatureViewError: `given` lacks a column, a time is none, or no value is of its type.
    """
    shape_part(duck, view, key, event_time, known_time, inputs)
    if not inputs:
        _check_types(duck, view)
    drop_repeated(duck)


def shape_part(
    duck: duckdb.Connection,
    view: FeatureView,
    key: str,
    event_time: str = "",
    known_time: str = "",
    inputs: Iterable[str] = (),
    before: int = 0,
) -> None:
    """As `shape`, of a part of the rows that comes after so many; those repeated stay."""
    types = {name: str(kind) for name, kind, *_ in duck.execute("describe given").fetchall()}
    _check_columns(view, types, [key, *(inputs or view.columns)], (event_time, known_time))
    columns = [
        f"{_entity(key, types[key])} as entity_id",
        f"{_time(event_time)} as event_time",
        f"{_time(known_time)} as known_time",
        f"row_number() over () + {before} as place",
    ]
    if inputs:
        named = ", ".join(map(_quoted, inputs))
        columns.append(f"md5(to_json(row({named}))::varchar) as input_hash")
        # Documents have an `event_time`, too, and a feature may be called as an input is.
        columns += [f'"{name}" as "input {name}"' for name in inputs]
    else:
        columns += [
            "'' as input_hash",
            *(f"{_typed(f, types)} as {f.name}" for f in view.features),
        ]
    reason = _reason(_entity(key, types[key]), event_time, known_time)
    into = "insert into staged" if before else "create or replace temp table staged as"
    with told(view, "what it gives"):
        duck.execute(statement("duckdb/features/count_left_out").format(reason=reason))
        chosen = f"select {', '.join(columns)} from given where ({reason}) is null"  # noqa: S608
        duck.execute(f"{into} {chosen}")


def drop_repeated(duck: duckdb.Connection) -> None:
    """Leave those rows of `staged` out after which one of the same entity and times comes."""
    count = "select count(*) from staged"
    ((before,),) = duck.execute(count).fetchall()
    duck.execute(statement("duckdb/features/drop_repeated"))
    ((after,),) = duck.execute(count).fetchall()
    reason = "a later row has the same key and times"
    duck.execute("insert into left_out values (?, ?)", [reason, before - after])


def _check_columns(
    view: FeatureView, types: Mapping[str, str], names: Iterable[str], times: Iterable[str]
) -> None:
    times = [name for name in times if name]
    if missing := [name for name in (*names, *times) if name not in types]:
        raise FeatureViewError(
            f"there is no column {' and no column '.join(missing)}; there are {', '.join(types)}",
            where=f"feature view {view.name}",
            do="Rename or add the column",
        )
    for name in times:
        if not types[name].startswith(_TIMES):
            raise FeatureViewError(
                f"column {name} is of type {types[name]}, which is no time",
                where=f"feature view {view.name}",
                do="Give a timestamp, as in to_timestamp(seconds)",
            )


_TIMES = ("TIMESTAMP", "DATE", "VARCHAR", '"NULL"')
"""The types that a time can have; a part of a table may have none at all."""


def _reason(entity: str, event_time: str, known_time: str) -> str:
    """The expression of why a row is left out; null: it is not."""
    cases = [f"when {entity} is null then 'it has no key'"]
    event, known = _time(event_time), _time(known_time)
    if event_time:
        cases += [
            f"when {_quoted(event_time)} is null then 'it has no event time'",
            f"when {event} is null then 'its event time cannot be read'",
        ]
    if known_time:
        unreadable = f"{_quoted(known_time)} is not null and {known} is null"
        cases += [
            f"when {unreadable} then 'its known time cannot be read'",
            f"when {known} > current_timestamp then '{NOT_KNOWN_YET}'",
        ]
    return f"case {' '.join(cases)} end"


def _entity(key: str, kind: str) -> str:
    """A key as text; a whole number has no point, though a column with gaps made floats of it."""
    name = _quoted(key)
    if kind in ("DOUBLE", "FLOAT"):
        whole = f"if({name} = trunc({name}), try_cast({name} as hugeint)::varchar, null)"
        return f"if(isnan({name}), null, coalesce({whole}, {name}::varchar))"
    return f"{name}::varchar"


def _time(name: str) -> str:
    """A time, if it is one that a clock can show: of the years 1 to 9999."""
    if not name:
        return "null::timestamptz"
    cast = f"try_cast({_quoted(name)} as timestamptz)"
    return f"if(year({cast} at time zone 'UTC') between 1 and 9999, {cast}, null)"


def _typed(feature: Feature, types: Mapping[str, str]) -> str:
    """A value of the type of its feature; null: it cannot hold it, as 1.5 among whole numbers."""
    name, kind = feature.name, types[feature.name]
    cast = f"try_cast({name} as {feature.dtype})"
    if feature.dtype == "double":
        return f"if(isnan({cast}), null, {cast})"
    if feature.dtype == "bigint" and kind.startswith((*_FRACTIONAL, "VARCHAR")):
        number = f"try_cast({name} as double)"
        return f"if({number} = trunc({number}), {cast}, null)"
    return cast


def _check_types(duck: duckdb.Connection, view: FeatureView) -> None:
    """Refuse a column that has values of which none is of the type of its feature."""
    types = {name: str(kind) for name, kind, *_ in duck.execute("describe given").fetchall()}
    doubtful = [each for each in view.features if _may_not_hold(each, types[each.name])]
    if not doubtful:
        return
    counts = ", ".join(
        f"count(*) filter ({each.name}::varchar <> 'nan'), count({_typed(each, types)})"
        for each in doubtful
    )
    with told(view, "what it gives"):
        ((*numbers,),) = duck.execute(f"select {counts} from given").fetchall()  # noqa: S608
    for feature, values, typed in zip(doubtful, numbers[::2], numbers[1::2], strict=True):
        if values and not typed:
            raise FeatureViewError(
                f"column {feature.name} is of type {types[feature.name]},"
                f" and none of its {values:,} values is a {feature.dtype}",
                where=f"feature view {view.name}",
                do="Correct the column, or the type of the feature",
            )


def _may_not_hold(feature: Feature, kind: str) -> bool:
    """Whether a feature may not be able to hold values of a column of this type."""
    is_fractional = kind.startswith(_FRACTIONAL) and feature.dtype != "double"
    return is_fractional or kind.startswith(_NO_NUMBERS) or kind.endswith("]")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
