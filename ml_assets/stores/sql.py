"""The SQL files of `sql/`: numbered migrations and named statements, one file each."""

from __future__ import annotations

from functools import cache

from ml_assets.settings import PROJECT

SQL = PROJECT / "sql"


@cache
def statement(name: str) -> str:
    """Return a named statement, e.g. `statement("postgres/documents/stage")`."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def migrations(store: str) -> list[tuple[str, str]]:
    """Return the (name, SQL) of every migration of `store`, in order."""
    files = sorted((SQL / store / "migrations").glob("*.sql"))
    return [(path.stem, path.read_text(encoding="utf-8")) for path in files]


def statements(script: str) -> list[str]:
    """Split a script at the semicolons that end a line, for clients that take one statement."""
    return [part.strip() for part in script.split(";\n") if part.strip(" \n;")]
