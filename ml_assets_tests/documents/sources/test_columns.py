"""What a source says of its columns is what reading does: alter a cell, see which fields change."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ml_assets.documents.model import Document
from ml_assets.documents.sources.open import open_source
from ml_assets.settings import Settings, load_settings

Row = dict[str, str]

ROWS: list[Row] = [
    {
        "key": "one",
        "heading": "First",
        "body": "A text.",
        "topic": "sport",
        "link": "https://example.org/1",
        "family": "f",
        "day": "2026-03-01",
        "author": "ann",
        "shelf": "low",
        "unread": "x",
    },
    {
        "key": "two",
        "heading": "Title alone",
        "body": "",
        "topic": "",
        "link": "",
        "family": "",
        "day": "2026-03-02",
        "author": "",
        "shelf": "low",
        "unread": "x",
    },
]
OTHER = {"key": "three", "day": "2026-05-05", "unread": "y"}
MAPPED = "id=key&title=heading&text=body&label=topic&url=link&group=family&created_at=day"


def fields(document: Document) -> dict[str, object]:
    names = ("document_id", "collection", "text", "title", "label", "url", "group", "created_at")
    known: dict[str, object] = {name: getattr(document, name) for name in names}
    return known | {f"metadata.{key}": value for key, value in document.metadata.items()}


def write_csv(folder: Path, rows: list[Row]) -> None:
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_sqlite(folder: Path, rows: list[Row]) -> None:
    (folder / "rows.db").unlink(missing_ok=True)
    connection = sqlite3.connect(folder / "rows.db")
    names = list(rows[0])
    connection.execute(f"create table rows ({', '.join(names)})")
    marks = ", ".join("?" * len(names))
    connection.executemany(f"insert into rows values ({marks})", [[*row.values()] for row in rows])
    connection.commit()
    connection.close()


Write = Callable[[Path, list[Row]], None]


@pytest.mark.parametrize("write", [write_csv, write_sqlite])
@pytest.mark.parametrize(
    "options",
    [
        f"{MAPPED}&metadata=author,shelf&name=all",
        f"{MAPPED}&metadata=author&collection_by=shelf",
        f"{MAPPED}&collection_by=created_at:month",
        "id=&title=heading&text=body&name=all",
    ],
)
def test_a_column_feeds_the_fields_that_change_with_it(
    tmp_path: Path, write: Write, options: str
) -> None:
    settings = load_settings(home=tmp_path, source_url=f"sqlite:///{tmp_path}/rows.db")
    place = f"files:{tmp_path}/*.csv" if write is write_csv else "sql:rows"

    def read(rows: list[Row]) -> list[dict[str, object]]:
        write(tmp_path, rows)
        source = open_source(f"{place}?{options}", settings)
        return [
            fields(row) for row in source.read(source.collections()) if isinstance(row, Document)
        ]

    before = read(ROWS)
    assert len(before) == len(ROWS)
    declared = open_source(f"{place}?{options}", settings).columns()
    for column in ROWS[0]:
        altered = [{**row, column: OTHER.get(column, "another")} for row in ROWS]
        if column == "key":
            altered = [{**row, "key": f"{row['key']} more"} for row in ROWS]
        changed = {
            name
            for old, new in zip(before, read(altered), strict=True)
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        }
        assert changed == {*declared.get(column, ())}, column
    unnamed = {"label", "url", "group", "created_at"}  # of their own names, where they are there
    assert declared.keys() - ROWS[0].keys() <= unnamed


def test_what_is_no_table_has_columns_called_as_its_fields(tmp_path: Path) -> None:
    beir = tmp_path / "beir"
    beir.mkdir()
    line = {"_id": "a", "title": "T", "text": "Words."}
    (beir / "corpus.jsonl").write_text(json.dumps(line) + "\n")
    settings = load_settings(home=tmp_path)
    assert open_source(f"beir:{beir}", settings).columns()["_id"] == ["document_id"]


@pytest.mark.parametrize("spec", ["python_docs", "python_environment"])
def test_the_sources_of_python_name_every_field_that_their_documents_have(
    tmp_path: Path, spec: str
) -> None:
    source = open_source(spec, load_settings(home=tmp_path))
    declared: Mapping[str, object] = source.columns()
    filled: set[str] = set()
    first, *_ = source.collections()
    for row in source.read([first]):
        if isinstance(row, Document):
            filled |= {name for name, value in fields(row).items() if value not in (None, "")}
    assert filled == declared.keys()
    assert all(source.columns()[name] == (name,) for name in declared)


def test_what_is_pushed_changes_no_column(tmp_path: Path) -> None:
    settings: Settings = load_settings(home=tmp_path)
    assert [*open_source("files:/absent?label=", settings).columns()] == [
        *("id", "text", "title", "url", "group", "created_at"),
    ]
