"""A home for the tests of the embedded server, and copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.stores import postgres
from ml_assets_tests.stores.embedded.homes import (
    copy,
    is_running,
)


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for all these tests: to make one, or to copy it, takes longer than to start it."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with postgres.connect(None, home):
        pass
    postgres.stop(home)
    return home


@pytest.fixture
def home(shared: Path) -> Iterator[Path]:
    """A home that nobody uses, before and after the test."""
    yield shared
    postgres.stop(shared)
    assert not is_running(shared)


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Iterator[Path]:
    """The same for a test that leaves it as it cannot be used again."""
    home = copy(shared, tmp_path / "copied")
    yield home
    postgres.stop(home)
    assert not is_running(home)
