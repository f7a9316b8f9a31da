"""Every index, each embedded, and Chroma also as a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from ml_assets.search.answering.engine import open_engine
from ml_assets.search.answering.model import Engine
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.search.choices import CHOICES, AnyIndex, OpenIndex
from ml_assets_tests.search.corpus import fill, generation_of, sync_all
from ml_assets_tests.servers import chroma_over_http


@pytest.fixture
def generation(
    request: pytest.FixtureRequest, connection: postgres.Connection, settings: Settings
) -> Generation:
    """The generation of the index that is asked for, else of the default settings."""
    callspec = getattr(request.node, "callspec", None)
    chosen = callspec.params.get("open_index", "pgvector") if callspec else "pgvector"
    return generation_of(connection, settings.model_copy(update=CHOICES[chosen]))


@pytest.fixture
def engine(
    request: pytest.FixtureRequest,
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
) -> Iterator[Engine]:
    """On the `DOCS` of the test's module, by a generation that is not published."""
    fill(connection, request.module.DOCS)
    sync_all(connection, settings, generation)
    with open_engine(connection, Indexes(settings), generation) as opened:
        yield opened


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Chroma server of this worker's own."""
    with chroma_over_http(tmp_path_factory.mktemp("chroma")) as url:
        yield url


@pytest.fixture(params=list(CHOICES))
def open_index(
    request: pytest.FixtureRequest,
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
) -> Iterator[OpenIndex]:
    """Opens the index of the generation anew at every call, as a new process would."""
    # Two or three hundred rows are enough for product codes of 16 numbers.
    request.getfixturevalue("monkeypatch").setattr(
        "ml_assets.search.indexes.faiss.codes.TRAINS_FROM", 270
    )
    with ExitStack() as stack:

        def open_one() -> AnyIndex:
            if request.param.startswith("pgvector"):
                return PgvectorIndex(connection, generation)
            if request.param.startswith("faiss"):
                opened = FaissIndex(settings.faiss_folder, generation)
                stack.callback(opened.close)
                return opened
            if request.param == "keyword":
                index = KeywordIndex(settings.keyword_folder, generation)
                stack.callback(index.close)
                return index
            url = None
            if request.param == "chroma server":
                url = request.getfixturevalue("chroma_server")
            client = stack.enter_context(chroma.connect(url, settings.home))
            if url:
                stack.callback(_drop, client, f"generation-{generation.generation_id}")
            return ChromaIndex(client, generation)

        yield open_one


def _drop(client: object, name: str) -> None:
    from chromadb.errors import NotFoundError

    for each in (name, f"{name}-copies"):
        with suppress(NotFoundError):
            client.delete_collection(each)  # type: ignore[attr-defined]


@pytest.fixture
def index(open_index: OpenIndex) -> AnyIndex:
    return open_index()
