"""Values of a table outside: files of Parquet or CSV, or a query of another database."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_assets.documents.sources import stamps
from ml_assets.errors import FeatureViewError, SourceError
from ml_assets.features.definition import FeatureView
from ml_assets.features.sources.corpus import (
    Corpus,
    State,
    drop_repeated,
    shape,
    shape_part,
    told,
)
from ml_assets.stores import duckdb

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 10_000
"""Of a query, at once."""

_READERS = {
    ".parquet": "read_parquet({files}, union_by_name = true)",
    ".pq": "read_parquet({files}, union_by_name = true)",
    ".csv": "read_csv({files}, union_by_name = true, sample_size = -1)",
    ".tsv": "read_csv({files}, union_by_name = true, sample_size = -1, delim = '\\t')",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table outside: files of Parquet or CSV, by path or glob, or `sql:` and a query.

    `key` is its column of the entity, `event_time` when a row was true, `known_time`, if there is
    such a column, when it was known; else a row is known from when it is first read. Times without
    a zone are those of `timezone`. A query asks the database of `ML_ASSETS_SOURCE_URL`. Every
    feature is a column of its own name. Of rows with the same key and times the last counts.
    """

    url: str
    key: str
    event_time: str
    known_time: str = ""
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse a table whose rows would be of no entity, or of no time.

        Raises:
            FeatureViewError: the column of one of both is not named, or the url is no text.
        """
        if not hasattr(self.url, "startswith"):
            do = "Write it as a text, as in str(path)"
            raise FeatureViewError("its url is no text", where=f"the table {self.url}", do=do)
        for name in ("key", "event_time"):
            if not getattr(self, name):
                what, do = f"its {name} names no column", f"Name the column of the {name}"
                raise FeatureViewError(what, where=f"the table {self.url}", do=do)

    @property
    def has_history(self) -> bool:
        """Always: it is a table of events."""
        return True

    @property
    def has_own(self) -> bool:
        """Never: it knows no documents."""
        return False

    @property
    def tells_when_known(self) -> bool:
        """Whether a column does."""
        return bool(self.known_time)

    def meaning(self) -> dict[str, Any]:
        """The columns, and for a query its text; files may move."""
        query = self.url if self._is_query else ""
        columns = [self.key, self.event_time, self.known_time, self.timezone]
        return {"columns": columns, "query": query}

    def of_request(self, view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: its values are of what is stored."""

    def state(self, corpus: Corpus) -> State:
        """A hash of names, sizes and times of the files; a query has to be asked each time."""
        return State(0, self.stamp(), datetime.now(UTC))

    @property
    def reads(self) -> list[str]:
        """The files, or the query."""
        return [self.url]

    def uses(self, field: str) -> bool:
        """Never: it knows no documents."""
        return False

    def stamp(self) -> str:
        """What another is once a file was written, or went; a query has to be asked each time."""
        if self._is_query:
            return uuid.uuid4().hex
        files = self._found()
        seen = [(path, stamps.stamp(system, path) or uuid.uuid4()) for system, path in files]
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def stage(self, corpus: Corpus, view: FeatureView) -> None:
        """Read all of the table."""
        duck = corpus.duck
        with told(view, f"its table {self.url}"):
            duck.execute("set timezone = ?", [self.timezone])
        try:
            columns = (self.key, self.event_time, self.known_time)
            if self._is_query:
                before = 0
                for part in _asked(self.url[4:], corpus, view, columns):
                    with duckdb.registered(duck, given=part):
                        shape_part(duck, view, *columns, before=before)
                    before += len(part)
                drop_repeated(duck)
            else:
                self._read(duck, view)
                shape(duck, view, *columns)
        finally:
            duck.execute("set timezone = 'UTC'")

    @property
    def _is_query(self) -> bool:
        return self.url.startswith("sql:")

    def _read(self, duck: duckdb.Connection, view: FeatureView) -> None:
        bare = self.url.removesuffix(".gz").removesuffix(".zst")
        reader = next((text for end, text in _READERS.items() if bare.endswith(end)), None)
        if reader is None:
            raise FeatureViewError(
                f"{self.url} is none of {', '.join(_READERS)} and sql:",
                where=f"feature view {view.name}",
                do="Name a file, a glob, or a query",
            )
        files = self._files()
        with told(view, f"its table {self.url}"):
            if "://" in self.url:
                duck.register_filesystem(files[0][0])
            names = [_name(system, path) for system, path in files]
            text = reader.format(files="$files")
            duck.execute(f"create or replace temp table given as from {text}", {"files": names})

    def _found(self) -> list[tuple[Any, str]]:
        """The file systems and paths of what the glob finds."""
        import fsspec

        system, path = fsspec.core.url_to_fs(self.url)
        return [(system, each) for each in sorted(system.glob(path))]

    def _files(self) -> list[tuple[Any, str]]:
        files = self._found()
        if not files:
            do = "Check the path; a relative one is of the folder in which the run began"
            raise SourceError("there is no such file", where=self.url, do=do)
        return files


def _name(system: Any, path: str) -> str:
    return path if stamps.is_local(system) else str(system.unstrip_protocol(path))


def _asked(
    query: str, corpus: Corpus, view: FeatureView, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """What the database of `ML_ASSETS_SOURCE_URL` answers, in parts; of it what the view asks for.

    There is a part even where there are no rows.
    """
    import pyarrow as pa
    import sqlalchemy as sa

    from ml_assets.documents.sources.databases.connections import SETTING, Database

    if not corpus.source_url:
        do = f"Set {SETTING}, such as postgresql://user@host:5432/database"
        raise FeatureViewError(
            "its table is in a database", where=f"feature view {view.name}", do=do
        )
    wanted = {*filter(None, columns), *view.columns}
    with Database(corpus.source_url).connected(f"feature view {view.name}") as connection:
        streamed = connection.execution_options(stream_results=True, max_row_buffer=_ROWS)
        with streamed.execute(sa.text(query.replace(":", r"\:"))) as result:
            names = [*result.keys()]
            # All, where one is missing, for the error to name.
            kept: Iterable[str] = names if wanted.difference(names) else wanted
            rows: Sequence[Sequence[Any]] = result.fetchmany(_ROWS)
            while True:
                cells: Iterable[Sequence[object]] = [()] * len(names)
                if rows:
                    cells = zip(*rows, strict=True)
                given = dict(zip(names, cells, strict=True))
                yield pa.table({name: _column(given[name]) for name in kept})
                if not (rows := result.fetchmany(_ROWS)):
                    return


def _column(cells: Sequence[object]) -> pa.Array:
    """A column of one type; as text where a database has several types in it."""
    import pyarrow as pa

    try:
        return pa.array(cells, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())
