"""The SQL of `sql/`: one file of named statements per room."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ml_assets.settings import shipped

SQL = shipped("sql")

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statement(path: str) -> str:
    """Return a named statement; `postgres/documents/find_absent` is one of `documents.sql`."""
    file, _, name = path.rpartition("/")
    return read_statements(SQL / f"{file}.sql")[name]


@cache
def read_statements(file: Path) -> dict[str, str]:
    """Read the statements of a file by the names on the lines `-- name: …` above them."""
    before, *parts = _NAME.split(file.read_text(encoding="utf-8"))
    names, texts = parts[::2], parts[1::2]
    if before.strip() or len(set(names)) < len(names):
        raise ValueError(f"{file}: text before the first name, or a name that stands twice")
    return {name: text.strip() for name, text in zip(names, texts, strict=True)}


def statements(script: str) -> list[str]:
    """Split a script at the semicolons that end a line, for clients that take one statement."""
    return [part.strip() for part in script.split(";\n") if part.strip(" \n;")]
