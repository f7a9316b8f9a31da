from __future__ import annotations

import re
from pathlib import Path

import pytest

from ml_assets.stores.sql import SQL, read_statements, statement
from ml_assets_tests.paths import PROJECT

FILES = [file for file in sorted(SQL.rglob("*.sql")) if file.parent.name != "migrations"]
CODE = "\n".join(
    file.read_text(encoding="utf-8") for file in sorted((PROJECT / "ml_assets").rglob("*.py"))
)
DOCS = "\n".join(
    file.read_text(encoding="utf-8") for file in sorted((PROJECT / "docs").glob("*.md"))
)
"""Some statements are for those who ask in SQL."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SQL)))
def test_every_statement_is_named_in_the_code_or_the_docs(file: Path) -> None:
    names = read_statements(file)
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", CODE + DOCS)] == []


def test_every_path_in_the_code_is_a_statement() -> None:
    paths = re.findall(r'"((?:postgres|duckdb|clickhouse|sqlite)/[a-z_/]+)"', CODE)
    assert len(paths) > 100
    for path in paths:
        assert statement(path)


@pytest.mark.parametrize(
    "text",
    ["select 1\n-- name: one\nselect 1\n", "-- name: one\nselect 1\n-- name: one\nselect 2\n"],
)
def test_a_file_of_statements_is_named_throughout_and_uniquely(tmp_path: Path, text: str) -> None:
    file = tmp_path / "room.sql"
    file.write_text(text)
    with pytest.raises(ValueError, match="twice"):
        read_statements(file)
