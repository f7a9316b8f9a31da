"""The Python API on a real deployment: opened once, and never behind what was published."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import ml_assets
from ml_assets.embeddings import encoder
from ml_assets.errors import FeatureViewError, NothingToDoError, StoreError
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.search.answering import engine
from ml_assets.session import Session
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import online, postgres
from ml_assets.stores.cache import CacheStatistics
from ml_assets_tests.integration.project import Project
from ml_assets_tests.servers import redis_over_tcp


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened: connections, engines, and encoders from their files."""
    opened: list[str] = []

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def watched(*arguments: Any, **more: Any) -> Any:
            opened.append(name)
            return function(*arguments, **more)

        monkeypatch.setattr(owner, name, watched)

    watch(postgres, "connect_reader")
    watch(engine, "open_engine")
    watch(encoder.onnx, "find_export")
    return opened


def test_importing_it_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import ml_assets; print(set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'ml_assets'}"


def test_a_name_that_it_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ml_assets.nonsense  # noqa: B018


def test_a_session_opens_once_and_follows_what_is_published(
    project: Project, openings: list[str]
) -> None:
    project.call("run", "--until", "search")
    settings = load_settings(home=project.home, actor="tester")
    with ml_assets.open(settings) as session:
        assert openings == []
        first = session.search("baking bread", k=3)
        assert len(first.hits) == 3
        opened = list(openings)
        assert opened.count("connect_reader") == opened.count("open_engine") == 1
        assert session.search("baking bread", k=3) == first
        even = session.search("baking", k=3, filters='collection = "even"')
        assert {hit.collection for hit in even.hits} == {"even"}
        document = session.document("kitchen-1")
        assert (document.collection, document.label) == ("odd", "kitchen")
        near = session.similar("kitchen-1", k=2, filters='label = "kitchen"')
        assert len(near.hits) == 2
        assert "kitchen-1" not in {hit.document_id for hit in near.hits}
        assert document.title == "Note 1"
        assert document.metadata == {"shelf": "odd"}
        with pytest.raises(NothingToDoError, match="no document 'absent'"):
            session.document("absent")
        with pytest.raises(FeatureViewError, match=r"Known: .*document_text"):
            session.features("absent", "kitchen-1")
        with pytest.raises(NothingToDoError, match="no model was promoted"):
            session.predict(["About bread."])
        assert openings == opened
        project.call("run", "--until", "search", ML_ASSETS_HNSW_M="8")
        later = session.search("baking bread", k=3)
        assert later.generation_id != first.generation_id
        assert openings.count("open_engine") == 2
        assert openings.count("connect_reader") == 1
        assert session.cache_statistics()["query_embeddings"] == CacheStatistics(2, 2)
    assert not list(project.home.glob("cache.sqlite-*")), "it is closed"
    del openings[:]
    encoder._on_onnx.cache_clear()
    with ml_assets.open(settings) as session:
        assert session.search("baking bread", k=3) == later, "a cache moves no result"
        assert "find_export" not in openings, "and no model is loaded for it"
        assert session.cache_statistics()["query_embeddings"].hit_ratio == 1
    for other in ({"query_cache_seconds": 0}, {"redis_url": "redis://127.0.0.1:1"}):
        with ml_assets.open(load_settings(home=project.home, **other)) as session:
            began = time.monotonic()
            assert session.search("baking bread", k=3) == later, "without a cache, too"
            assert session.search("baking bread", k=3) == later
            assert time.monotonic() - began < 60


def test_features_are_those_of_the_online_store(project: Project) -> None:
    with online.connect(None, project.home) as store:
        ended = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        rows = {"kitchen-1": online.Row({"words": 3}, "1"), "old": online.Row({}, "2", ended)}
        store.put_many(DOCUMENT_TEXT.key, rows)
    with ml_assets.open(project.home) as session:
        assert session.features("document_text", "kitchen-1") == {"words": 3}
        with pytest.raises(NothingToDoError, match="'old' held till 2026-03-29 01:30:00 UTC"):
            session.features("document_text", "old")
        with pytest.raises(NothingToDoError, match="no values of 'absent'"):
            session.features("document_text", "absent")


def test_a_home_and_a_url_are_settings(project: Project) -> None:
    assert ml_assets.open(project.home).settings.home == project.home
    url = ml_assets.open("postgresql://host/base").settings.postgres_url
    assert url
    assert url.get_secret_value() == "postgresql://host/base"


CALLS: dict[str, Callable[[Session], object]] = {
    "search": lambda session: session.search("bread", method="keyword"),
    "predict": lambda session: session.predict(["About bread."]),
    "document": lambda session: session.document("absent"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_goes_away_is_told_by_the_call_and_asked_again_by_the_next(
    settings: Settings,
    postgres_server: str,
    postgres_url: str,
    openings: list[str],
    call: Callable[[Session], object],
) -> None:
    def ask() -> None:
        with pytest.raises(NothingToDoError):
            call(session)

    database = conninfo_to_dict(postgres_url)["dbname"]
    with (
        psycopg.connect(postgres_server, autocommit=True) as other,
        ml_assets.open(load_settings(home=settings.home, postgres_url=postgres_url)) as session,
    ):
        ask()
        ask()
        assert openings.count("connect_reader") == 1, "a question without an answer closes nothing"
        other.execute(f"alter database {database} allow_connections false")
        end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
        assert other.execute(end, [database]).rowcount == 1
        for _ in range(2):
            with pytest.raises(StoreError, match="POSTGRES_URL"):
                call(session)
        other.execute(f"alter database {database} allow_connections true")
        ask()
    # Nothing is left open.
    with pytest.raises(NothingToDoError), session:
        call(session)


def test_an_online_store_that_goes_away_is_told_by_the_call(
    settings: Settings, tmp_path: Path
) -> None:
    with redis_over_tcp(tmp_path) as url:
        session = ml_assets.open(load_settings(home=settings.home, redis_url=url))
        with pytest.raises(NothingToDoError, match="no values of"):
            session.features("document_text", "absent")
    with pytest.raises(StoreError, match="REDIS_URL"):
        session.features("document_text", "absent")


def test_what_two_threads_import_is_whole_before_the_second_begins(tmp_path: Path) -> None:
    lines = """
import sys
from pathlib import Path
import ml_assets
from ml_assets.embeddings import encoder
from ml_assets.session import Session
from ml_assets.settings import load_settings

encoder.preload = lambda settings: print(hasattr(sys.modules.get("numpy"), "ndarray"))
Session._published_engine = lambda self: None
with ml_assets.open(load_settings(home=Path(sys.argv[1]))) as session:
    session._opened_engine("bread", "hybrid")
"""
    command = [sys.executable, "-c", lines, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"
