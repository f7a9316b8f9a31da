"""Fingerprints of files: what moves them, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from ml_assets.documents.formats import tables
from ml_assets.documents.formats.rows import Columns, Numbered
from ml_assets_tests.documents.sources.files.reading import source, write


def test_fingerprints_follow_the_content(folder: Path) -> None:
    path = write(folder / "x.csv", "id,text\n1,a\n")
    before = source(path).collections()
    path.touch()
    assert source(path).collections() == before
    assert source(path, label="").collections() != before
    assert source(path, max_bytes=5).collections() != before
    write(path, "id,text\n1,b\n")
    assert source(path).collections() != before


def test_fingerprints_of_the_other_collections_stay(folder: Path) -> None:
    path = folder / "x.csv"
    write(path, "id,text,part\n1,a,p\n2,b,q\n")
    before = source(path, collection_by="part").collections()
    write(path, "id,text,part\n1,a,p\n2,changed,q\n3,c,q\n")
    after = source(path, collection_by="part").collections()
    assert after["p"] == before["p"]
    assert after["q"] != before["q"]
    write(path, "id,text,part\n1,a,p\n2,changed,q\n3,c,..\n")
    # A row that could belong to any collection is a reason to look at all of them.
    assert source(path, collection_by="part").collections()["p"] != before["p"]


def test_a_split_file_is_parsed_once_for_all_that_ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder / "x.csv", "id,part,text\n1,p,a\n2,q,b\n")
    parsed: list[str] = []
    read_table = tables.read_table

    def counting(file: BinaryIO, suffix: str, name: str, columns: Columns) -> Iterator[Numbered]:
        parsed.append(name)
        return read_table(file, suffix, name, columns)

    monkeypatch.setattr(tables, "read_table", counting)
    first, again = (source(path, collection_by="part").collections() for _ in range(2))
    assert first == again
    assert len(parsed) == 1
    assert source(path, collection_by="text").collections().keys() == {"a", "b"}
