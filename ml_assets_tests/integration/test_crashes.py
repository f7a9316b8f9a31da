"""Killed at any point, a run leaves a state from which the next one converges."""

import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from ml_assets.defs.partitions import COLLECTIONS, PARTITIONS_NAME
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.integration import crashing
from ml_assets_tests.integration.crashing import BATCH, Attempt, Point
from ml_assets_tests.integration.forking import fork
from ml_assets_tests.integration.project import write_rows
from ml_assets_tests.integration.stores import read_stores

pytestmark = pytest.mark.xdist_group("crashes")

PATIENCE = 120

# Each list is in the order of the run: what was committed at one point is there at the next.
FIRST_BUILD = [
    Point("event", "PIPELINE_START"),
    Point("before", "documents.staging:_content", 20),
    Point("sql", "postgres/documents/count_documents"),
    Point("event", "raw_documents"),
    Point("sql", "postgres/documents/apply_chunks", 2),
    Point("after", "documents.refresh:_apply_chunks", 3),
    Point("event", "chunks"),
    Point("before", "embeddings.refresh:_write"),
    Point("sql", "postgres/embeddings/insert_staged", 2),
    Point("after", "embeddings.refresh:_write", 2),
    Point("event", "embeddings", 2),
    Point("sql", "postgres/embeddings/measure_norms"),
    Point("write", "search.indexes.chroma.index:ChromaIndex.upsert"),
    Point("after", "search.indexes.chroma.index:ChromaIndex.upsert", 2),
    Point("before", "search.indexes.chroma.index:ChromaIndex.set_mark"),
    Point("write", "search.indexes.keyword.index:KeywordIndex.upsert"),
    Point("before", "search.indexes.keyword.index:KeywordIndex._commit", 2),
    Point("after", "search.indexes.keyword.index:KeywordIndex._commit"),
    Point("before", "search.indexes.keyword.index:KeywordIndex.close"),
    Point("hnsw"),
    Point("after", "search.indexes.pgvector.building:build"),
    Point("event", "search_evaluation"),
    Point("sql", "postgres/releases/open_release"),
    Point("event", "published_search"),
    Point("event", "PIPELINE_SUCCESS"),
]
WITH_THE_SERVER = [
    Point("sql", "postgres/documents/remove_absent"),
    Point("sql", "postgres/documents/apply_chunks"),
    Point("sql", "postgres/embeddings/insert_staged"),
]
LATER_EDITS = [
    Point("after", "embeddings.refresh:_write", 2),
    Point("after", "search.indexes.chroma.index:ChromaIndex.remove"),
    Point("before", "search.indexes.keyword.index:KeywordIndex.remove"),
    Point("sql", "postgres/operations/remember_finish"),
]
OTHER_GENERATION = [Point("hnsw"), Point("sql", "postgres/releases/open_release")]
FEATURES = [
    Point("before", "features.documents:nearest_others"),
    Point("write", "features.offline:statement"),
    Point("before", "features.offline:statement", 4),
    Point("before", "features.online:_rows"),
    Point("before", "stores.online.sqlite:pack", 7),
    Point("write", "stores.online.sqlite:_Sqlite._write"),
    Point("after", "stores.online.sqlite:_Sqlite._write"),
    Point("before", "stores.online.sqlite:_Sqlite._publish"),
    Point("after", "stores.online.sqlite:_Sqlite._publish"),
]
ALONE = [
    Point("sql", "postgres/documents/count_documents"),
    Point("sql", "postgres/embeddings/insert_staged", 3),
    Point("after", "search.indexes.keyword.index:KeywordIndex.upsert", 2),
    FEATURES[1],
]


class Deployment:
    """A home with a source, and the attempts to bring it up to date.

    With the URL of a server: the stores alone, without Dagster.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.url = environment.get("POSTGRES_URL")
        self.file = home / "notes.jsonl"
        self.attempts: list[Attempt] = []
        self.environment = {
            "ML_ASSETS_HOME": str(home),
            "ML_ASSETS_SOURCE": f"files:{self.file}?collection_by=shelf",
            "ML_ASSETS_CHUNK_TOKENS": "24",
            "ML_ASSETS_CHUNK_OVERLAP": "4",
            "ML_ASSETS_MAX_REMOVED_FRACTION": "1",
            "ML_ASSETS_ACTOR": "tester",
            "COLUMNS": "200",
            **environment,
        }

    def attempt(self, point: Point | None = None, victim: Any = "process", code: int = 0) -> str:
        """Run, until something happens at the point; return what was printed."""
        number = len(self.attempts)
        attempt = Attempt(
            self.home, dict(self.environment), number, point, victim, everything=not self.url
        )
        self.attempts.append(attempt)
        given = fork(PATIENCE, crashing.run, attempt)
        assert given == code, f"{point}: {given}\n{attempt.read('output')}"
        if point and victim == "server":
            self.reuse_server_pid()
        return attempt.read("output")

    def reuse_server_pid(self) -> None:
        """Another program has the number of the server that was killed."""
        pid, rest = (self.home / "postgres" / "postmaster.pid").read_text().split("\n", 1)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).wait(PATIENCE)
        (self.home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{rest}")

    def die(self, points: Sequence[Point], victim: Any = "process") -> None:
        """Run again and again, each time killed at the next point."""
        for point in points:
            end = signal.SIGXFSZ if point.kind == "write" else signal.SIGKILL
            self.attempt(point, victim, -end)

    def read(self) -> dict[str, Any]:
        hnsw_m = self.environment.get("ML_ASSETS_HNSW_M", 16)
        with postgres.connect(self.url, self.home) as connection:
            return {
                "served": connection.execute(
                    "select generation_id from releases where upper_inf(served)"
                ).fetchall(),
                **read_stores(connection, self.home, SPACE, hnsw_m=hnsw_m),
            }


Deploy = Callable[..., Deployment]


@contextmanager
def deployments() -> Iterator[Deploy]:
    """Opens deployments with the documents of a day; their servers are stopped at the end."""
    with ExitStack() as stack:

        def deploy(day: int, **environment: str) -> Deployment:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ml_assets-")))
            stack.callback(stop_server, home)
            opened = Deployment(home, **environment)
            write_rows(opened.file, notes(day))
            return opened

        yield deploy


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with deployments() as deploy:
        yield deploy


@cache
def scratch(day: int, **environment: str) -> dict[str, Any]:
    """What the stores hold after one run on the documents of that day."""
    with deployments() as deploy:
        built = deploy(day, **environment)
        built.attempt()
        return built.read()


def stop_server(home: Path) -> None:
    if not (home / "postgres").exists():
        return
    postgres.server_url(None, home)
    postgres.stop(home)
    assert not (home / "postgres" / "postmaster.pid").exists(), "who was killed still counts"


def notes(day: int) -> list[dict[str, Any]]:
    """The documents of a day: each edits, removes, moves and adds to those of the day before."""
    rows = []
    for number in range(day * 4, 40):
        edition = f" Edition {day}." if number % 5 == 0 else ""
        text = f"Note {number} tells of thing {number * 7 % 5}.{edition} " * (1 + number % 3)
        shelf = f"s{(number + (number % 7 == 0) * day) % 3}"
        rows.append({"id": f"n{number}", "text": text, "shelf": shelf})
    rows += [{"id": f"d{day}{number}", "text": "Same.", "shelf": "s0"} for number in range(3)]
    return rows


def assert_converged(lived: Deployment, expected: dict[str, Any]) -> None:
    """The records are sound, and all stores hold what they would after a build from scratch."""
    assert_encoded_once(lived)
    if not lived.url:
        assert_recorded(lived)
    found = lived.read()
    assert expected.keys() == found.keys()
    for name, held in expected.items():
        assert found[name] == held, name
    assert len(expected["vectors"]) > 40
    assert len(expected["served"]) == (not lived.url)
    assert bool(expected["online"]) == bool(lived.url)


def assert_encoded_once(lived: Deployment) -> None:
    """No text is encoded that was committed; a killed run loses two batches at most."""
    committed = [set(attempt.read("committed").split()) for attempt in lived.attempts]
    with postgres.connect(lived.url, lived.home) as connection:
        rows = connection.execute("select text_hash from document_embeddings").fetchall()
    committed.append({value.hex() for (value,) in rows})
    for attempt, before, after in zip(lived.attempts, committed[:-1], committed[1:], strict=True):
        encoded = attempt.read("encoded").split()
        assert len(encoded) == len(set(encoded)), attempt.point
        assert before.isdisjoint(encoded), attempt.point
        assert len(set(encoded) - after) <= 2 * BATCH, attempt.point
    assert committed[-1] <= {text for one in lived.attempts for text in one.read("encoded").split()}


def assert_recorded(lived: Deployment) -> None:
    """Dagster holds no run for running, no slot for taken, and no partition for missing."""
    with dg.DagsterInstance.from_config(str(lived.home / "dagster")) as instance:
        assert all(run.is_finished for run in instance.get_runs())
        storage = instance.event_log_storage
        for pool in storage.get_concurrency_keys():
            assert storage.get_concurrency_info(pool).active_slot_count == 0
        keys = list(instance.get_dynamic_partitions(PARTITIONS_NAME))
        for asset in ("raw_documents", "chunks", "embeddings"):
            states = instance.get_status_by_partition(dg.AssetKey(asset), keys, COLLECTIONS) or {}
            assert {key: state and state.value for key, state in states.items()} == dict.fromkeys(
                keys, "MATERIALIZED"
            )


def test_a_first_build_killed_at_every_stage(deploy: Deploy) -> None:
    lived = deploy(day=0)
    lived.die(FIRST_BUILD)
    lived.attempt()
    assert_converged(lived, scratch(day=0))


def test_later_edits_killed_with_their_database(deploy: Deploy) -> None:
    lived = deploy(day=0)
    lived.attempt()
    write_rows(lived.file, notes(1))
    lived.die(WITH_THE_SERVER, "server")
    lived.die(LATER_EDITS)
    lived.environment["ML_ASSETS_HNSW_M"] = "8"
    lived.die(OTHER_GENERATION, "server")
    lived.attempt()
    assert_converged(lived, scratch(day=1, ML_ASSETS_HNSW_M="8"))


@pytest.fixture(scope="module")
def server(postgres_server: str) -> Callable[[], str]:
    """The URL of a new database on a server."""
    return lambda: postgres.server_url(postgres_server, Path(), f"crash_{uuid.uuid4().hex}")


@pytest.fixture(scope="module")
def features(server: Callable[[], str]) -> dict[str, Any]:
    return scratch(day=0, POSTGRES_URL=server())


def test_features_killed_at_every_stage(
    deploy: Deploy, server: Callable[[], str], features: dict[str, Any]
) -> None:
    lived = deploy(day=0, POSTGRES_URL=server())
    lived.die(FEATURES)
    lived.attempt()
    assert_converged(lived, features)


@pytest.mark.parametrize("point", ALONE, ids=str)
def test_killed_once(
    deploy: Deploy, server: Callable[[], str], features: dict[str, Any], point: Point
) -> None:
    lived = deploy(day=0, POSTGRES_URL=server())
    lived.die([point])
    lived.attempt()
    assert_converged(lived, features)


@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("connections", "terminating connection due to administrator command"),
        ("backend", "server closed the connection unexpectedly"),
    ],
)
def test_a_database_that_goes_away_is_one_line(deploy: Deploy, victim: str, message: str) -> None:
    lived = deploy(day=0)
    printed = lived.attempt(Point("sql", "postgres/embeddings/insert_staged", 2), victim, code=1)
    (error,) = [line for line in printed.splitlines() if line.startswith("Error")]
    assert message in error
    assert "Traceback" not in printed
    lived.attempt()
    assert_converged(lived, scratch(day=0))
