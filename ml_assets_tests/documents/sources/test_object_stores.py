"""Files in object stores: real servers of S3, Google Cloud Storage and Azure Blob Storage.

The first two are wheels. The third is one of `make test-servers ONLY=buckets`.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.files import Files
from ml_assets.errors import SourceError
from ml_assets_tests.servers.buckets import AZURITE, Counted, Store, azure, gcs, s3

LINES = b'{"id": 1, "text": "A kettle"}\n{"id": 2, "text": "A ladle"}\n'


@pytest.fixture(scope="module", params=[s3, gcs, *([azure] if AZURITE in os.environ else [])])
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with request.param(tmp_path_factory.mktemp("bucket") / "data") as store:
        yield store


@pytest.fixture
def store(started: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A bucket with a table, a page, and a page in a folder."""
    ask_with(started.environment, started, monkeypatch)
    files = bucket(started)
    with suppress(FileNotFoundError):
        for path in files.find("notes"):
            files.rm_file(path)
    put(started, "a.jsonl", LINES)
    put(started, "b.txt", b"A spade")
    put(started, "deep/c.md", b"# Rakes\n\nA rake")
    yield started
    started.before.fault = lambda request: None


def ask_with(environment: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the client other settings, which it reads once."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    type(fsspec.filesystem(store.url.partition("://")[0])).clear_instance_cache()


def bucket(store: Store) -> Any:
    """The client, without what it keeps."""
    files = fsspec.filesystem(store.url.partition("://")[0])
    files.invalidate_cache()
    return files


def put(store: Store, name: str, content: bytes) -> None:
    bucket(store).pipe_file(f"notes/{name}", content)


def source(store: Store, path: str = "", **options: str) -> Files:
    return Files(f"{store.url}{path}", columns_from(options), 10_000)


def read(opened: Files) -> dict[str, str]:
    rows = opened.read(list(opened.collections()))
    return {row.document_id: row.text for row in rows if isinstance(row, Document)}


def test_a_bucket_a_folder_a_glob_and_a_file(store: Store) -> None:
    for path, ids in {
        "": ["1", "2", "b.txt", "deep/c.md"],
        "/": ["1", "2", "b.txt", "deep/c.md"],
        "/deep": ["c.md"],
        "/*.txt": ["b.txt"],
        "/**/*.md": ["deep/c.md"],
        "/a.jsonl": ["1", "2"],
        "/b.txt": ["b.txt"],
    }.items():
        assert sorted(read(source(store, path))) == ids, path


def test_a_name_with_brackets_is_a_file(store: Store) -> None:
    with suppress(ValueError):  # adlfs writes it, and stumbles afterwards
        put(store, "report [2].txt", b"A bowl")
    assert read(source(store, "/report [2].txt")) == {"report [2].txt": "A bowl"}


def test_a_file_of_an_unknown_kind_is_told(store: Store) -> None:
    put(store, "c.odt", b"PK")
    with pytest.raises(SourceError, match=r"c\.odt: unreadable format"):
        source(store, "/c.odt").collections()


def test_a_mark_of_a_folder_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As consoles make one in S3: rclone has none, so it is moto that answers."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "none"}
        environment = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", **keys}
        marked = Store("s3://marked", Counted(), environment, {})
        ask_with(environment, marked, monkeypatch)
        files = bucket(marked)
        files.mkdir("marked")
        for name in ("shelf/", "shelf/deep/"):
            files.call_s3("put_object", Bucket="marked", Key=name, Body=b"")
        files.pipe_file("marked/shelf/a.txt", b"A spade")
        for path in ("", "/shelf", "/shelf/", "/shelf/**", "/**/*.txt"):
            opened = source(marked, path)
            rows = list(opened.read(opened.collections()))
            assert [getattr(row, "text", row) for row in rows] == ["A spade"], path
    finally:
        server.stop()


def test_what_did_not_change_costs_one_listing(store: Store) -> None:
    for path in ("", "/deep", "/*.txt", "/**/*.md"):
        opened = source(store, path)
        before = opened.stamp(), opened.collections()
        store.before.requests.clear()
        assert opened.stamp() == before[0]
        assert len([request for request in store.before.requests if "GET" in request]) == 1
        assert len(store.before.requests) <= 2  # Azure is asked whether a folder is a file, too
        assert opened.collections() == before[1]
        assert len(store.before.requests) <= 4


def test_a_change_a_new_object_and_a_removed_one_are_seen(store: Store) -> None:
    opened = source(store)
    seen = {opened.stamp(): opened.collections()["all"]}
    for change in (
        lambda: put(store, "b.txt", b"A spoon"),  # as long as before
        lambda: put(store, "d.txt", b"A fork"),
        lambda: bucket(store).rm_file("notes/a.jsonl"),
        lambda: bucket(store).mv("notes/d.txt", "notes/e.txt"),
    ):
        change()
        stamp, content = opened.stamp(), opened.collections()["all"]
        assert stamp not in seen
        assert content not in seen.values()
        seen[stamp] = content
    assert read(opened) == {"b.txt": "A spoon", "deep/c.md": "# Rakes\n\nA rake", "e.txt": "A fork"}


def test_every_kind_of_table(store: Store) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"id": ["p"], "text": ["A pan"]}), table)
    put(store, "tables/a.parquet", table.getvalue())
    put(store, "tables/b.csv", b"id,text\nc," + b"x" * 200_000 + b"\nd,A dish\n")
    put(store, "tables/c.tsv", b"id\ttext\nt\tA tray\n")
    put(store, "tables/d.csv.gz", gzip.compress(b"id,text\ng,A grill\n"))
    assert read(Files(f"{store.url}/tables", columns_from({}), 1_000_000)) == {
        "p": "A pan",
        "c": "x" * 200_000,
        "d": "A dish",
        "t": "A tray",
        "g": "A grill",
    }


def test_an_object_that_is_gone_when_it_is_read_is_told(store: Store) -> None:
    def fault(request: str) -> int | None:
        return 404 if "b.txt" in request and "list" not in request else None

    opened = source(store)
    collections = list(opened.collections())
    store.before.fault = fault
    rows = list(opened.read(collections))
    rejected = [row for row in rows if isinstance(row, Rejected)]
    assert [row.location for row in rejected] == ["b.txt"]
    assert len(rows) == 4


@pytest.mark.parametrize("status", [403, 400])
def test_a_refusal_is_one_line(store: Store, status: int) -> None:
    store.before.fault = lambda request: status
    for path in ("", "/*.txt", "/a.jsonl"):
        with pytest.raises(SourceError) as caught:
            source(store, path).collections()
        assert "Check" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_wrong_key_is_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if not store.wrong:
        return  # a server that asks for no key
    ask_with(store.wrong, store, monkeypatch)
    for path in ("", "/*.txt", "/a.jsonl"):
        with pytest.raises(SourceError) as caught:
            source(store, path).collections()
        assert "the credentials" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "hush" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_one_line(store: Store) -> None:
    protocol = store.url.partition("://")[0]
    for path in ("nowhere", "nowhere/*.txt", "nowhere/a.jsonl", "notes/none.csv"):
        with pytest.raises(SourceError, match="no such file") as caught:
            Files(f"{protocol}://{path}", columns_from({}), 10_000).collections()
        assert "\n" not in str(caught.value)
