"""A pilot's home goes to servers and back: row for row, and nothing is computed again."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from mlflow import MlflowClient

from ml_assets.registry.model import MODEL_NAME
from ml_assets.stores import chroma, postgres
from ml_assets_tests.integration.contents import Contents, read_home
from ml_assets_tests.integration.crashing import Point
from ml_assets_tests.integration.killing import Command, call
from ml_assets_tests.integration.project import write_documents
from ml_assets_tests.servers import (
    PASSWORD,
    chroma_over_http,
    mlflow_over_http,
    postgres_over_tcp,
    redis_over_tcp,
)
from ml_assets_tests.servers.postgres import make_role

pytestmark = pytest.mark.xdist_group("backup")

KILLS = [
    Point("before", "operations.backup:load_mlflow"),
    Point("sql", "postgres/stores/move_artifacts"),
    Point("after", "operations.backup:place"),
    Point("after", "operations.backup:load_ours"),
]
OF_A_PLACE = ("chroma", "dagster/", "online.sqlite.migrations", "postgres.ml_schema.finished_run")
"""Ids, times and counts that a store gives anew wherever the same is written to it."""

ASKED = ("predict", "--json", "About oven and soup.")

Servers = dict[str, str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With the home of a pilot that has a champion.

    Not below pytest's own folder, which another session may close to the server.
    """
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ml_assets-")))
        path.chmod(0o755)
        for home in ("pilot", "back"):
            stack.callback(postgres.stop, path / home)
        write_documents(path / "notes.jsonl", per_topic=20)
        ml_assets(path, "pilot", "run")
        yield path


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Servers]:
    """As `docker/compose.yaml` has them, on an older PostgreSQL, with a role of few rights."""
    with ExitStack() as stack:
        for name in ("server", "redis", "chroma-server", "mlflow"):
            (folder / name).mkdir(mode=0o755)
        admin = stack.enter_context(postgres_over_tcp(folder / "server", "16"))
        port = urlsplit(admin).port or 0
        make_role(port, PASSWORD, PASSWORD)
        server = f"ml_assets:{PASSWORD}@127.0.0.1:{port}"
        records = f"postgresql+psycopg2://{server}/mlflow"
        mlflow = stack.enter_context(mlflow_over_http(folder / "mlflow", records))
        yield {
            "POSTGRES_URL": f"postgresql://{server}/ml_assets",
            "REDIS_URL": stack.enter_context(redis_over_tcp(folder / "redis")),
            "CHROMA_URL": stack.enter_context(chroma_over_http(folder / "chroma-server")),
            "MLFLOW_TRACKING_URI": mlflow,
        }


def ml_assets(
    folder: Path,
    home: str,
    *arguments: str,
    servers: Servers | None = None,
    point: Point | None = None,
    code: int = 0,
) -> str:
    environment = {
        "ML_ASSETS_HOME": str(folder / home),
        "ML_ASSETS_SOURCE": f"files:{folder / 'notes.jsonl'}?collection_by=shelf",
        "ML_ASSETS_ACTOR": "tester",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        **(servers or {}),
    }
    given, printed = call(Command(arguments, environment, folder / "output", point, fast=True), 600)
    assert given == code, f"{arguments} {point}: exit {given}\n{printed}"
    return printed


def contents(home: Path) -> Contents:
    return {name: rows for name, rows in read_home(home).items() if not name.startswith(OF_A_PLACE)}


def chroma_entries(home: Path) -> dict[str, tuple[Any, dict[str, Any], list[Any]]]:
    """The mark of every collection, the metadata of its entries by id, and their vectors."""
    entries = {}
    with chroma.connect(None, home) as client:
        for collection in client.list_collections():
            held: Any = collection.get(include=["embeddings", "metadatas"])
            vectors = dict(zip(held["ids"], held["embeddings"], strict=True))
            described = dict(zip(held["ids"], held["metadatas"], strict=True))
            in_order = [vectors[id_] for id_ in sorted(vectors)]
            entries[collection.name] = (collection.metadata, described, in_order)
    return entries


def test_a_pilot_goes_to_servers_and_back(folder: Path, servers: Servers) -> None:
    backup, again = str(folder / "backup"), str(folder / "again")
    ml_assets(folder, "pilot", "backup", backup)
    for point in KILLS:
        ml_assets(folder, "served", "restore", backup, servers=servers, point=point, code=-9)
        assert not (folder / "served").exists(), point
    ml_assets(folder, "served", "restore", backup, servers=servers)
    with psycopg.connect(servers["POSTGRES_URL"]) as connection:
        query = "select obj_description('ml_schema'::regnamespace)"
        assert connection.execute(query).fetchone() == (None,), "nothing is left to be finished"
    assert not {"postgres", "chroma", "online.sqlite", "mlflow_artifacts"} & {
        path.name for path in (folder / "served").iterdir()
    }
    answer = ml_assets(folder, "pilot", *ASKED)
    assert ml_assets(folder, "served", *ASKED, servers=servers) == answer
    ran = ml_assets(folder, "served", "run", servers=servers)
    assert "Nothing changed" in ran
    told = ml_assets(folder, "third", "restore", backup, servers=servers, code=1)
    assert "POSTGRES_URL: the server is not empty" in told

    ml_assets(folder, "served", "backup", again, servers=servers)
    ml_assets(folder, "back", "restore", again)
    before, after = contents(folder / "pilot"), contents(folder / "back")
    assert before.keys() == after.keys()
    for name, rows in before.items():
        assert after[name] == rows, name
    copied = chroma_entries(folder / "back")
    for name, (mark, described, vectors) in chroma_entries(folder / "pilot").items():
        assert copied[name][:2] == (mark, described)
        # Chroma stores vectors at norm 1: one that was copied differs in the last bit.
        assert np.allclose(copied[name][2], vectors, atol=1e-6)
    assert json.loads(ml_assets(folder, "back", *ASKED)) == json.loads(answer)
    ran = ml_assets(folder, "back", "run")
    assert "embedded new    0" in ran
    runs = "mlflow.public.runs"
    assert len(contents(folder / "back")[runs]) == len(before[runs]), "nothing is trained again"


def test_a_fresh_tracking_server_never_names_the_champion(folder: Path) -> None:
    """Its models passed no gate; the next run trains and registers again, and is told why."""
    (folder / "fresh").mkdir()
    with mlflow_over_http(folder / "fresh") as url:
        client = MlflowClient(url, registry_uri=url)
        client.create_registered_model(MODEL_NAME)
        client.create_model_version(MODEL_NAME, "s3://bucket/model", await_creation_for=0)
        client.set_registered_model_alias(MODEL_NAME, "champion", "1")
        fresh = {"MLFLOW_TRACKING_URI": url}
        told = ml_assets(folder, "pilot", *ASKED, servers=fresh, code=1)
        assert "the model cannot be loaded (MLflow does not have it). Run `ml-assets run`" in told
        told = ml_assets(folder, "pilot", "backup", str(folder / "none"), servers=fresh, code=1)
        assert "MLFLOW_TRACKING_URI: the tracking server keeps its records elsewhere" in told
        assert not (folder / "none").exists()
        ran = ml_assets(folder, "pilot", "run", servers=fresh)
        assert "the model of champion 1 is lost: it answers nothing" in " ".join(ran.split())
        ml_assets(folder, "pilot", *ASKED, servers=fresh)
        served = client.get_model_version_by_alias(MODEL_NAME, "champion")
        assert served.tags["version"] == "2"
