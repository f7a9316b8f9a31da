"""Files on a web server: a real one, that lists folders and tells when a file was written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document
from ml_assets.documents.sources.files import Files
from ml_assets.errors import SourceError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "A kettle"}\n')
    (tmp_path / "deep" / "b.txt").write_text("A spade")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def source(url: str) -> Files:
    return Files(url, columns_from({}), 10_000)


def read(url: str) -> dict[str, str]:
    opened = source(url)
    rows = opened.read(list(opened.collections()))
    return {row.document_id: row.text for row in rows if isinstance(row, Document)}


def test_a_file_and_a_folder_are_read(url: str) -> None:
    assert read(f"{url}/a.jsonl") == {"1": "A kettle"}
    assert read(f"{url}/deep/b.txt") == {"b.txt": "A spade"}
    assert read(f"{url}/deep/*.txt") == {"b.txt": "A spade"}
    assert read(f"{url}/") == {"1": "A kettle", "deep/b.txt": "A spade"}


@pytest.mark.parametrize("path", ["/a.jsonl", "/"])
def test_a_change_is_seen(url: str, path: str, tmp_path: Path) -> None:
    before = source(f"{url}{path}").stamp(), source(f"{url}{path}").collections()
    assert (source(f"{url}{path}").stamp(), source(f"{url}{path}").collections()) == before
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "A ladle."}\n')
    os.utime(tmp_path / "a.jsonl", (1, 1))
    assert source(f"{url}{path}").stamp() != before[0]
    assert source(f"{url}{path}").collections() != before[1]


def test_what_is_not_there_is_one_line(url: str) -> None:
    for path in ("/none.csv", "/none/"):
        with pytest.raises(SourceError, match="no such file") as caught:
            source(f"{url}{path}").collections()
        assert "\n" not in str(caught.value)
