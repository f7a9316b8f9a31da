"""Texts of a remote model are paid for once, whatever ends a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.documents.model import Document
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.endpoint import close_connections
from ml_assets.embeddings.refresh import EmbeddingReport, count_encodings, refresh_embeddings
from ml_assets.embeddings.space import current_space
from ml_assets.errors import CostError, SettingError
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.embeddings.corpus import load_documents
from ml_assets_tests.embeddings.serving import EmbeddingServer, embedding_server

AHEAD = 4
TEXTS = 60


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running
        close_connections()


def settings_of(server: EmbeddingServer, home: Path, **others: object) -> Settings:
    return load_settings(
        home=home,
        embedding_model="openai:small",
        embedding_url=server.url,
        embedding_request_tokens=24,
        embedding_requests=AHEAD,
        **others,
    )


@pytest.fixture
def names(connection: postgres.Connection) -> list[str]:
    documents = (Document(f"d{n}", "a", f"The text of document {n}.") for n in range(TEXTS))
    return load_documents(connection, *documents)


def refresh(connection: postgres.Connection, settings: Settings) -> EmbeddingReport:
    return refresh_embeddings(
        connection, current_space(settings), lambda: load_encoder(settings), ["a"]
    )


def stored(connection: postgres.Connection) -> int:
    query = "select count(*)::int as vectors from document_embeddings"
    return postgres.read_counts(connection, query)["vectors"]


def test_a_failure_keeps_every_answer(
    connection: postgres.Connection, names: list[str], server: EmbeddingServer, tmp_path: Path
) -> None:
    settings = settings_of(server, tmp_path)
    space = current_space(settings)
    server.answered.clear()
    refused = (401, {}, {"error": {"message": "expired"}})
    server.rule = lambda number, texts: refused if number == 8 else None
    with pytest.raises(SettingError, match="401, expired"):
        refresh(connection, settings)
    paid = len(server.answered)
    assert stored(connection) == paid
    assert 0 < paid < TEXTS
    server.rule = lambda number, texts: None
    assert count_encodings(connection, space, names)["encode"] == TEXTS - paid
    assert refresh(connection, settings).encoded == TEXTS - paid
    assert set(Counter(server.answered).values()) == {1}
    assert len(server.answered) == TEXTS == stored(connection)


def test_a_maximum_cost_ends_a_run_and_the_next_goes_on(
    connection: postgres.Connection, names: list[str], server: EmbeddingServer, tmp_path: Path
) -> None:
    settings = settings_of(server, tmp_path, embedding_price=1000, embedding_max_cost=0.4)
    current_space(settings)
    server.answered.clear()
    for _ in range(9):
        before = len(server.answered)
        try:
            refresh(connection, settings)
        except CostError:
            assert before < len(server.answered) == stored(connection)
        else:
            break
    assert set(Counter(server.answered).values()) == {1}
    assert len(server.answered) == TEXTS == stored(connection)


def test_a_slow_answer_holds_up_no_other(
    connection: postgres.Connection,
    names: list[str],
    server: EmbeddingServer,
    tmp_path: Path,
    postgres_url: str,
) -> None:
    settings = settings_of(server, tmp_path)
    current_space(settings)

    def stall(number: int, texts: list[str]) -> None:
        # The others are committed while the first one waits: who kills the run then loses nothing.
        deadline = time.monotonic() + 20
        while number == 2 and stored_apart() < TEXTS - 2 * len(texts):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stored_apart() -> int:
        with postgres.connect(postgres_url, Path()) as other:
            return stored(other)

    server.rule = stall
    assert refresh(connection, settings).encoded == TEXTS


KILLED = """
import sys
from pathlib import Path
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
settings = load_settings()
with postgres.connect(sys.argv[1], Path()) as connection:
    refresh_embeddings(connection, current_space(settings), lambda: load_encoder(settings), ["a"])
"""


def test_a_killed_run_pays_again_for_what_was_under_way_at_most(
    connection: postgres.Connection,
    names: list[str],
    server: EmbeddingServer,
    tmp_path: Path,
    postgres_url: str,
) -> None:
    settings = settings_of(server, tmp_path)
    current_space(settings)
    server.answered.clear()
    server.delay = 0.1
    variables = {
        "ML_ASSETS_HOME": str(tmp_path),
        "ML_ASSETS_EMBEDDING_MODEL": "openai:small",
        "ML_ASSETS_EMBEDDING_URL": server.url,
        "ML_ASSETS_EMBEDDING_REQUEST_TOKENS": "24",
        "ML_ASSETS_EMBEDDING_REQUESTS": str(AHEAD),
    }
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, postgres_url], env={**os.environ, **variables}
    )
    deadline = time.monotonic() + 60
    while stored(connection) < 10:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    time.sleep(0.3)  # the server ends what it was at
    server.delay = 0
    kept = stored(connection)
    assert 10 <= kept < TEXTS
    lost = len(server.answered) - kept
    most = max(map(len, server.requests))
    assert lost <= AHEAD * most
    refresh(connection, settings)
    assert len(server.answered) == TEXTS + lost
    assert stored(connection) == TEXTS
