from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.documents.model import Document
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.features.corpus import Load, load_into


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[duckdb.Connection]:
    """An empty offline store."""
    with duckdb.connect(tmp_path / "offline.duckdb") as opened:
        yield opened


@pytest.fixture
def load(connection: postgres.Connection) -> Load:
    """Make the test's database hold exactly the given documents, chunked and embedded."""

    def call(*documents: Document, **more: object) -> None:
        load_into(connection, *documents, **more)  # type: ignore[arg-type]

    return call
