"""Extraction in processes of their own: in order, kept, and not ended by a bad file."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from ml_assets.documents.formats import extracted, extraction
from ml_assets.documents.formats.extraction import Extraction
from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.files import Files

MAIL = b"Subject: Pumps\n\nTwo litres.\n"


def read(files: Path, kept: Path | None) -> list[Document | Rejected]:
    source = Files(str(files), columns_from({}), 100_000, extracted_folder=kept)
    return list(source.read(source.collections()))


def pages(folder: Path, number: int, suffix: str = ".eml") -> Path:
    folder.mkdir()
    for each in range(number):
        content = MAIL.replace(b"Two", b"%d" % each) if suffix == ".eml" else rb"{\rtf1 %d}" % each
        (folder / f"{each:02}{suffix}").write_bytes(content)
        (folder / f"{each:02}.txt").write_text(f"Plain {each}")
    return folder


def test_documents_come_in_their_order_and_are_extracted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, kept = pages(tmp_path / "files", 20), tmp_path / "kept"
    first = read(files, kept)
    assert [row.document_id for row in first] == sorted(path.name for path in files.iterdir())
    assert len(list(kept.iterdir())) == 20
    assert kept.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(extraction, "_start", lambda: pytest.fail("extracted again"))
    assert read(files, kept) == first


def test_the_version_of_the_extractor_is_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each file it took longer than the extraction."""
    asked: list[str] = []

    def version(name: str) -> str:
        asked.append(name)
        return "4.10"

    monkeypatch.setattr(extracted, "version", version)
    extracted._installed.cache_clear()
    try:
        assert len(read(pages(tmp_path / "files", 3, ".rtf"), tmp_path / "kept")) == 6
        assert asked == ["kreuzberg"]
    finally:
        extracted._installed.cache_clear()


def test_what_no_document_has_is_dropped_and_what_changed_is_extracted(tmp_path: Path) -> None:
    files, kept = pages(tmp_path / "files", 3), tmp_path / "kept"
    read(files, kept)
    before = {path.name for path in kept.iterdir()}
    (files / "00.eml").unlink()
    (files / "01.eml").write_bytes(b"Subject: x\n\nSecret words\n")
    (files / "copy.eml").write_bytes((files / "02.eml").read_bytes())
    texts = [row.text for row in read(files, kept) if isinstance(row, Document)]
    assert sum("Secret words" in text for text in texts) == 1
    after = {path.name for path in kept.iterdir()}
    assert (len(after), len(after & before)) == (2, 1)
    assert not any(b"0 litres" in path.read_bytes() for path in kept.iterdir())


def test_a_damaged_or_cut_entry_is_extracted_again(tmp_path: Path) -> None:
    files, kept = pages(tmp_path / "files", 2), tmp_path / "kept"
    first = read(files, kept)
    one, two = kept.iterdir()
    one.write_bytes(b'["cut')
    two.write_bytes(b"\xff")
    assert read(files, kept) == first


def test_a_reason_and_a_text_that_is_too_long_are_not_kept(tmp_path: Path) -> None:
    with Extraction(tmp_path, largest=10) as own:
        assert str(own.extract(b"garbage", ".docx")).startswith("not readable as .docx (")
        assert isinstance(own.extract(MAIL, ".eml"), tuple)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_or_hangs_spoils_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Extraction() as own:
        first = own.extract(MAIL, ".eml")
        (process,) = own._idle
        os.kill(process.pid, signal.SIGSTOP)
        monkeypatch.setattr(extraction, "MOST_WAIT", 0.2)
        ended = (
            "not readable as .eml (the process that extracted it ended: a file may take"
            " 300 s of a processor, and 3,072 MiB)"
        )
        assert own.extract(MAIL, ".eml") == ended
        monkeypatch.setattr(extraction, "MOST_WAIT", 300)
        assert own.extract(MAIL, ".eml") == first
        (process,) = own._idle
        process.kill()
        process.wait()
        assert own.extract(MAIL, ".eml") == ended
        assert own.extract(MAIL, ".eml") == first
        (process,) = own._idle
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [("MOST_SECONDS", 1, "1 s of a processor"), ("MOST_BYTES", 100 << 20, "100 MiB")],
)
def test_a_document_that_takes_too_much_is_told_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, said: str
) -> None:
    files = pages(tmp_path / "files", 2)
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# H\n", "*a*"]}] * 150_000
    (files / "00.eml").unlink()
    (files / "00.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    monkeypatch.setattr(extraction, limit, most)
    (told,) = [row for row in read(files, None) if isinstance(row, Rejected)]
    assert told.location == "00.ipynb"
    assert said in told.reason
    documents = [row for row in read(files, None) if isinstance(row, Document)]
    assert [row.document_id for row in documents] == ["00.txt", "01.eml", "01.txt"]


def test_a_reader_that_stops_leaves_no_process(tmp_path: Path) -> None:
    files = pages(tmp_path / "files", 20)
    source = Files(str(files), columns_from({}), 100_000)
    rows = source.read(source.collections())
    next(iter(rows))
    rows.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 30
    while children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children() == []


def children() -> list[str]:
    import psutil

    lines = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    return [line for line in lines if "extraction" in line]


def test_without_the_library_each_document_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extracted, "_installed", lambda: "")
    files = pages(tmp_path / "files", 2, ".rtf")
    (files / "own.eml").write_bytes(MAIL)
    rows = read(files, None)
    reasons = [row.reason for row in rows if isinstance(row, Rejected)]
    assert reasons == [".rtf needs kreuzberg: pip install 'ml-assets[documents]'"] * 2
    assert [row.document_id for row in rows if isinstance(row, Document)][-1] == "own.eml"
