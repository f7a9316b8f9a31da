"""Damaged stores: told in one line by who asks, built anew by the next run, as from scratch."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets_tests.integration.project import Project


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scribble(file: Path) -> None:
    file.write_bytes(b"no such content" * (1 + file.stat().st_size // 15))


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("pattern", "index", "damage"),
    [
        ("chroma/chroma.sqlite3", "chroma", cut),
        ("chroma/chroma.sqlite3", "chroma", scribble),
        ("keyword/*/meta.json", "pgvector", cut),
        ("keyword/*/*.term", "pgvector", scribble),
        ("faiss/*/*.faiss", "faiss-flat", cut),
        ("faiss/*/rows.sqlite", "faiss-flat", scribble),
    ],
)
def test_a_damaged_index_is_told_and_built_anew(
    project: Project, pattern: str, index: str, damage: Callable[[Path], None]
) -> None:
    chosen = {"ML_ASSETS_VECTOR_INDEX": index}
    project.call("run", "--until", "search", **chosen)
    before = project.call("search", "--json", "baking bread", **chosen)
    (file,) = project.home.glob(pattern)
    damage(file)
    told = project.call("search", "baking bread", code=1, **chosen)
    assert told.startswith(f"Error {project.home}")
    assert "is damaged (" in told
    assert "Run `ml-assets run`, which builds it anew" in told
    assert told.count("\n") == 1
    healed = project.call("run", "--until", "search", **chosen)
    assert "is damaged (" in healed
    assert "Traceback" not in healed
    assert project.call("search", "--json", "baking bread", **chosen) == before


@pytest.mark.parametrize("damage", [scribble, empty])
def test_a_damaged_duckdb_file_is_set_aside_and_made_anew(
    project: Project, damage: Callable[[Path], None]
) -> None:
    project = replace(project, fast=True)
    project.call("run")
    file = project.home / "offline.duckdb"
    before = project.json("status")["candidates"]
    assert before
    damage(file)
    content = file.read_bytes()
    told = project.call("status", code=1)
    assert told.startswith(f"Error {file}: the DuckDB file is damaged (")
    assert told.count("\n") == 1
    healed = project.call("run")
    assert "was renamed to offline.duckdb.damaged" in healed
    assert "Traceback" not in healed
    assert file.with_name("offline.duckdb.damaged").read_bytes() == content
    project.call("predict", "baking bread")
    assert project.json("status")["candidates"] == before


@pytest.mark.parametrize("damage", [cut, scribble])
def test_a_damaged_online_store_is_set_aside_and_made_anew(
    project: Project, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    project = replace(project, fast=True)
    project.call("run")
    file = project.home / "online.sqlite"
    with closing(sqlite3.connect(file)) as online:
        values = online.execute("select * from online_features order by 1, 2").fetchall()
    assert values
    damage(file)
    healed = project.call("run")
    assert "the online store is damaged (" in healed
    assert "was renamed to online.sqlite.damaged" in healed
    assert "Traceback" not in healed
    with closing(sqlite3.connect(file)) as online:
        again = online.execute("select * from online_features order by 1, 2").fetchall()
    assert again == values
    assert "Nothing changed" in project.call("run")
    project.call("backup", str(backup := tmp_path / "backup"))
    assert (backup / "online.sqlite").exists()
    assert not [*backup.glob("*damaged*")]


def test_a_record_of_an_export_that_was_cut_is_made_again(project: Project) -> None:
    records = list(project.home.glob("models/*.json"))
    assert records
    for record in records:
        kept = record.read_text()
        cut(record)
        try:
            project.call("search", "baking bread")
        finally:
            record.write_text(kept)
