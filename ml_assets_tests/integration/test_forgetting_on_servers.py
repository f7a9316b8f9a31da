"""A document is forgotten where all stores are servers: absent by query in each of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import chromadb
import psycopg
import pytest

from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.stores import online
from ml_assets_tests.integration.dying import Place, documents
from ml_assets_tests.integration.project import write_rows
from ml_assets_tests.servers import (
    application_server,
    chroma_over_http,
    mlflow_over_http,
    redis_over_tcp,
)

NAME = "kitchen-zq7id4711"
MARKS = (NAME, "zq7marker4711", "zq7title4711")
TEXT = "About oven and bread and zq7marker4711."


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    tmp_path.chmod(0o755)
    with ExitStack() as stack:
        for name in ("postgres", "redis", "chroma", "mlflow"):
            (tmp_path / name).mkdir(mode=0o755)
        _, url = stack.enter_context(application_server(tmp_path / "postgres", "18"))
        tracking = stack.enter_context(mlflow_over_http(tmp_path / "mlflow"))
        urls = {
            "POSTGRES_URL": url,
            "REDIS_URL": stack.enter_context(redis_over_tcp(tmp_path / "redis")),
            "CHROMA_URL": stack.enter_context(chroma_over_http(tmp_path / "chroma")),
            "MLFLOW_TRACKING_URI": tracking,
        }
        yield Place(tmp_path, urls, fast=True)


def rows_with_its_id(url: str) -> dict[str, int]:
    """How many rows of each table of ours name it or its chunk."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema ="
            " 'ml_schema' and column_name in ('document_id', 'chunk_id')"
        ).fetchall()
        counts = {
            table: connection.execute(
                f"select count(*) from ml_schema.{table} where {column} in (%s, %s)",
                [NAME, f"{NAME}#0"],
            ).fetchone()
            for table, column in columns
        }
    return {table: count[0] for table, count in counts.items() if count and count[0]}


def chunks_in_chroma(url: str) -> list[str]:
    server = urlsplit(url)
    client = chromadb.HttpClient(str(server.hostname), server.port or 0)
    collections = client.list_collections()
    return [each for one in collections for each in one.get(ids=[f"{NAME}#0"])["ids"]]


def views_in_redis(url: str, home: Path) -> list[str]:
    """The views that have values of it."""
    with online.connect(url, home) as store:
        return [view for view in store.views() if store.get_rows(view, [NAME])]


def test_a_document_is_absent_in_each_server(place: Place) -> None:
    planted = {
        "id": NAME,
        "title": "The zq7title4711 of it",
        "text": TEXT,
        "label": "kitchen",
        "shelf": "a",
    }
    write_rows(place.file, [*documents(0), planted])
    place.call("run")
    urls, served = place.settings, place.folder / "mlflow"
    assert {"documents", "chunks", "document_embeddings"} <= rows_with_its_id(
        urls["POSTGRES_URL"]
    ).keys()
    assert chunks_in_chroma(urls["CHROMA_URL"])
    assert views_in_redis(urls["REDIS_URL"], place.home)
    assert find_traces(served, Marks(MARKS))
    place.call("forget", NAME, "--reason", "case 1")
    assert rows_with_its_id(urls["POSTGRES_URL"]) == {}
    assert chunks_in_chroma(urls["CHROMA_URL"]) == []
    assert views_in_redis(urls["REDIS_URL"], place.home) == []
    assert find_traces(served, Marks(MARKS)) == []
    (receipt,) = (place.home / "forgetting").glob("*.json")
    place.call("forget", "--verify", str(receipt))
    place.call("run")
    assert rows_with_its_id(urls["POSTGRES_URL"]) == {}
