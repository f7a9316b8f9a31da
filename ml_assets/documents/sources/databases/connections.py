"""A database of others by its URL: how it is reached, and what its engine can tell of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.documents.sources import stamps
from ml_assets.errors import SettingError, SourceError, first_line

if TYPE_CHECKING:
    import sqlalchemy as sa

SETTING = "ML_ASSETS_SOURCE_URL"

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""What a URL without a driver means."""

_EXTRAS = {"pymysql": "mysql", "duckdb": "duckdb"}
"""The extra that brings a driver or a dialect."""

_TIMED = ("psycopg", "pymysql")
_SECONDS = 10

_SESSION = {
    "postgresql": "set local timezone = 'UTC'; set local datestyle = 'ISO'",
    "mysql": "set time_zone = '+00:00', net_write_timeout = 3600",
    "mariadb": "set time_zone = '+00:00', net_write_timeout = 3600",
}
"""One way to write times, whoever asks; MySQL waits an hour for rows to be taken, not a minute."""

_FILES = {"sqlite": ("", "-wal"), "duckdb": ("", ".wal")}
"""The files of a database that is a file, by what is added to its path."""


class Database:
    """A database whose URL, with the password in it, is in `ML_ASSETS_SOURCE_URL` alone."""

    def __init__(self, url: str) -> None:
        """Take a URL of SQLAlchemy's; nothing is connected yet.

        Raises:
            SettingError: it is none, its driver is not installed, or its file is not there.
        """
        import sqlalchemy as sa

        do = "Write one such as postgresql://user@host:5432/database or sqlite:////path/to.db"
        try:
            parsed = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError):
            raise SettingError("it is not a URL of a database", where=SETTING, do=do) from None
        name = parsed.drivername
        self._url = parsed.set(drivername=_DRIVERS.get(name, name))
        self._dialect = name.partition("+")[0]
        if self._dialect in _FILES and not (self._file and self._file.is_file()):
            shown = parsed.database or "a database in memory"
            raise SettingError(f"there is no file {shown}", where=SETTING, do=do)

    @property
    def place(self) -> str:
        """Host and database, or the file: neither user nor password."""
        parts = (self._url.host, f":{self._url.port}" if self._url.port else "", "/")
        server = "".join(filter(None, parts)) if self._url.host else ""
        return f"{server}{self._url.database or ''}"

    @property
    def has_snapshots(self) -> bool:
        """Whether a connection sees one state of the rows, as those of tables with transactions."""
        return self._engine.dialect.name in _SESSION

    def file_stamp(self) -> str | None:
        """What another is once the file of the database was written; None: it is no file."""
        files = [file for file in self._files() if file.exists()]
        return repr([stamps.file_stamp(file) for file in files]) if files else None

    def is_settled(self) -> bool:
        """Whether a write to the file would have another stamp."""
        return all(stamps.is_settled(file) for file in self._files() if file.exists())

    @contextmanager
    def connected(self, where: str) -> Iterator[sa.Connection]:
        """A connection of which nothing is committed; its errors are one line, said of `where`.

        Where it `has_snapshots`, all that is asked within it is answered of one state of the rows.
        """
        with self.errors(where), self._engine.connect() as connection:
            if self._engine.driver == "psycopg":
                connection.execution_options(postgresql_readonly=True)
            if session := _SESSION.get(self._engine.dialect.name):
                connection.execution_options(isolation_level="REPEATABLE READ")
                connection.exec_driver_sql(session)
            yield connection

    @contextmanager
    def errors(self, where: str) -> Iterator[None]:
        """Turn the errors of a database into one line without its password, said of `where`."""
        import sqlalchemy as sa

        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            told = getattr(error, "orig", None) or error
            # PyMySQL gives a number and a message.
            message = first_line(Exception(told.args[-1])) if told.args else first_line(told)
            message = self._masked(message)
            do = f"Check {SETTING}, the table and the query"
            raise SourceError(message, where=where, do=do) from None

    def row_hash(self, columns: Sequence[Any]) -> Any | None:
        """A number that the database makes of a row, to be summed; None: it cannot."""
        import sqlalchemy as sa

        if self._dialect.startswith("postgres"):
            return sa.func.hashtextextended(sa.cast(sa.func.row(*columns), sa.Text), 0)
        if self._dialect in ("mysql", "mariadb"):
            digits = sa.func.left(_sha1(columns), 15)
            return sa.cast(sa.func.conv(digits, 16, 10), sa.Numeric(20))
        return None

    def grouped(self, column: Any) -> tuple[Any, Any]:
        """What to select and what to group by, to have the rows of each value of a column.

        MySQL and MariaDB take letters of another case for the same.
        """
        import sqlalchemy as sa

        if self._dialect in ("mysql", "mariadb"):
            return sa.func.min(column), sa.cast(column, sa.LargeBinary)
        return column, column

    def _files(self) -> list[Path]:
        endings = _FILES.get(self._dialect, ())
        return [Path(f"{self._file}{ending}") for ending in endings]

    @property
    def _file(self) -> Path | None:
        path = self._url.database
        return None if not path or path == ":memory:" else Path(path)

    @cached_property
    def _engine(self) -> sa.Engine:
        import sqlalchemy as sa

        try:
            dialect = self._url.get_dialect()
            words: dict[str, Any] = {}
            if dialect.driver in _TIMED and "connect_timeout" not in self._url.query:
                words["connect_timeout"] = _SECONDS
            engine = sa.create_engine(self._url, poolclass=sa.NullPool, connect_args=words)
        except (sa.exc.NoSuchModuleError, ImportError):
            missing = self._url.get_driver_name() if "+" in self._url.drivername else self._dialect
            extra = _EXTRAS.get(missing)
            do = f"pip install 'ml-assets[{extra}]'" if extra else "Install its SQLAlchemy dialect"
            raise SettingError(f"no driver for {missing}", where=SETTING, do=do) from None
        if engine.driver in _READS:
            sa.event.listen(engine, "connect", _READS[engine.driver])
        return engine

    def _masked(self, message: str) -> str:
        password = self._url.password
        return message.replace(str(password), "***") if password else message


def _sha1(columns: Sequence[Any]) -> Any:
    """The SHA-1 that MySQL makes of a row, as hexadecimal digits.

    Bytes with their number take a third of the time of a JSON array. A row that has more of them
    than the server allows in a string is known by those of its cells.
    """
    import sqlalchemy as sa

    null, length, sha1 = sa.func.coalesce, sa.func.length, sa.func.sha1
    cells = [sa.cast(column, sa.LargeBinary) for column in columns]
    parts = [part for cell in cells for part in (null(length(cell), -1), ":", null(cell, ""))]
    apart = [null(sha1(cell), "") for cell in cells]
    return null(sha1(sa.func.concat(*parts)), sha1(sa.func.concat(*apart)))


def _read_sqlite(connection: Any, _: object) -> None:
    """Give a bad byte as a lone surrogate, so that it spoils one row and no more."""
    connection.text_factory = lambda cell: cell.decode("utf-8", "surrogateescape")


def _read_postgres(connection: Any, _: object) -> None:
    """Give a time that Python has none for as text, so that it spoils one row and no more."""
    from psycopg import DataError
    from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

    for name, loader in (
        ("date", DateLoader),
        ("timestamp", TimestampLoader),
        ("timestamptz", TimestamptzLoader),
    ):

        class Lenient(loader):  # type: ignore[misc,valid-type]
            def load(self, data: Any) -> object:
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode()

        connection.adapters.register_loader(name, Lenient)


_READS: Mapping[str, Any] = {"pysqlite": _read_sqlite, "psycopg": _read_postgres}
