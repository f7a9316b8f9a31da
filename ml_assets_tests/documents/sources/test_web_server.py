"""Files on a web server: a real one, that lists folders and tells when a file was written."""

from __future__ import annotations

import gzip
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document
from ml_assets.documents.sources import open_source
from ml_assets.documents.sources.files import Files
from ml_assets.errors import SourceError
from ml_assets.settings import load_settings
from ml_assets_tests.servers.pages import answering

PAGES = {
    "/notes/": """<a href="../">up</a><a href="./">.</a><a href="/notes/">here</a>
        <a href="/">top</a>
        <a href="?C=N;O=D">Name</a><a href="#end">end</a><a href="mailto:a@b.de">ask</a>
        <A HREF=./http.txt>1</A><a href="a%20%C3%A9.txt#x">2</a><a href="q&amp;r.txt">3</a>
        <a href="http.txt">again</a><a href="gone/">4</a><a href="deep/">5</a>""",
    "/notes/deep/": '<a href="../">up</a><a href="b.txt">b</a>',
    **{f"/notes/{name}": "A spade" for name in ("http.txt", "a%20%C3%A9.txt", "q&r.txt")},
    "/notes/deep/b.txt": "A rake",
}
"""Folders as Caddy and Apache list them."""


def page(path: str, _: object) -> tuple[int, bytes]:
    return (200, PAGES[path].encode()) if path in PAGES else (404, b"")


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


def test_a_server_that_sends_whole_files_alone(url: str, tmp_path: Path) -> None:
    """As that of Python does; a file is longer than the piece that a client asks for."""
    rows = [f"{number},{'spade ' * 1_600}" for number in range(600)]
    (tmp_path / "long.csv").write_text("\n".join(["id,text", *rows]))
    pq.write_table(pa.table({"id": ["p"], "text": ["A kettle"]}), tmp_path / "t.parquet")
    with zipfile.ZipFile(tmp_path / "z.csv.zip", "w") as archive:
        archive.writestr("z.csv", "id,text\nz,A ladle\n")
    assert (tmp_path / "long.csv").stat().st_size > 5 << 20
    assert list(read(f"{url}/long.csv")) == [str(number) for number in range(600)]
    assert read(f"{url}/t.parquet") == {"p": "A kettle"}
    assert read(f"{url}/z.csv.zip") == {"z": "A ladle"}


def test_the_links_of_a_folder_are_its_files() -> None:
    with answering(page) as host:
        names = {"http.txt", "a \u00e9.txt", "q&r.txt"}
        assert read(f"http://{host}/notes/").keys() == {*names, "deep/b.txt"}
        assert read(f"http://{host}/notes/*.txt").keys() == names
        assert read(f"http://{host}/notes/a*.txt").keys() == {"a \u00e9.txt"}
        assert read(f"http://{host}/notes/**/b.*").keys() == {"deep/b.txt"}


@pytest.mark.parametrize(
    "path", ["/a.csv%3Fsign=%2Fx.y&x=1", "/a.csv.gz%3Fsign=x", "/get%3Ffile=a.csv"]
)
def test_a_file_behind_a_query(path: str) -> None:
    table = b"id,text\n1,A spade\n"

    def answer(asked: str, _: object) -> tuple[int, bytes]:
        return (
            (200, gzip.compress(table) if ".gz" in asked else table) if "?" in asked else (404, b"")
        )

    with answering(answer) as host:
        opened = open_source(f"files:http://{host}{path}?name=notes", load_settings())
        (document,) = opened.read(opened.collections())
        assert isinstance(document, Document)
        assert document.text == "A spade"
        assert "sign" not in document.location


def test_a_folder_that_cannot_be_listed_refuses_the_source() -> None:
    """What it holds is not gone."""

    def answer(path: str, _: object) -> tuple[int, bytes]:
        return (503, b"") if path == "/notes/deep/" else page(path, _)

    with answering(answer) as host, pytest.raises(SourceError, match="503"):
        source(f"http://{host}/notes/").collections()
