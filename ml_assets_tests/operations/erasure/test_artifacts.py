"""Artifacts of MLflow, here and on a real tracking server: what is forgotten goes, no more."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from ml_assets.errors import StoreError
from ml_assets.operations.erasure.stores import artifacts
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.settings import load_settings
from ml_assets.stores import mlflow
from ml_assets_tests.servers import mlflow_over_http

MARK = "zq7marker4711"
SUBJECT = Subject("r1", ("note-1",), texts=(f"It tells of {MARK}.",), marks=Marks((MARK,)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "mlflow_artifacts/run/artifacts").mkdir(parents=True)
    return Place(load_settings(home=tmp_path), Mock())


@pytest.mark.parametrize("name", ["set.parquet", "example.json"])
def test_a_kill_leaves_no_artifact_with_the_hash_of_another(
    name: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    file = place.home / "mlflow_artifacts" / "run" / name
    if name == "set.parquet":
        pq.write_table(pa.table({"document_id": ["note-1", "x"]}), file)
    else:
        file.write_text(f'["It tells of {MARK}."]')
    before = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            artifacts.erase(place, SUBJECT)
    assert file.read_bytes() == before
    execute: Mock = place.connection.execute  # type: ignore[assignment]
    kept = execute.call_args.args[1]["sha256"]
    assert artifacts.erase(place, SUBJECT)[0].count == 1
    assert hashlib.sha256(file.read_bytes()).hexdigest() == kept


def test_rows_of_training_sets_go_and_the_hash_of_the_file_follows(place: Place) -> None:
    folder = place.home / "mlflow_artifacts" / "run" / "artifacts"
    columns = {
        "document_id": ["note-1", "note-10"],
        "label": ["a", "b"],
        "group_id": ["note-1"] * 2,
    }
    table: Any = pa.table(columns)  # of near duplicates, one names the group
    pq.write_table(table, folder / "training_set.parquet")
    pq.write_table(table.select(["label"]), folder / "numbers.parquet")
    (folder / "input_example.json").write_text(f'{{"data": ["It tells of {MARK}."]}}')
    (removed,) = artifacts.erase(place, SUBJECT)
    assert removed.count == 2
    assert pq.read_table(folder / "training_set.parquet").to_pylist() == [
        {"document_id": "note-10", "label": "b", "group_id": "[forgotten]"}
    ]
    assert (folder / "input_example.json").read_text() == '{"data": ["[forgotten]"]}'
    calls = [call.args[1]["path"] for call in place.connection.execute.call_args_list]  # type: ignore[attr-defined]
    prefix = "run/artifacts"
    assert calls == [f"{prefix}/training_set.parquet", f"{prefix}/input_example.json"]
    assert artifacts.erase(place, SUBJECT)[0].count == 0


@pytest.fixture
def on_server(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "server").mkdir()
    with mlflow_over_http(tmp_path / "server") as url:
        settings = load_settings(home=tmp_path / "home", mlflow_tracking_uri=SecretStr(url))
        (tmp_path / "home").mkdir()
        yield Place(settings, Mock())


def logged(place: Place) -> str:
    """A run whose artifacts, tags and model version say something of it, and of others."""
    where = tracked(place)
    imported = mlflow.activate(where)
    columns = {"document_id": ["note-1", "note-10"], "text": [SUBJECT.texts[0], "other"]}
    table = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), table)
    client = imported.MlflowClient()
    with imported.start_run(tags={"said": f"It is {MARK}", "kept": "as it is"}) as run:
        run_id = str(run.info.run_id)
    mlflow.log_run_file(imported, run_id, "training_set.parquet", table.getvalue().to_pybytes())
    mlflow.log_run_file(imported, run_id, "card.md", f"Of {MARK}, and others".encode())
    mlflow.log_run_file(imported, run_id, "other.md", b"Of others")
    theirs = client.create_run(client.create_experiment("theirs")).info.run_id
    for name, of in (("classifier", run_id), ("of_somebody_else", theirs)):
        client.create_registered_model(name)
        source = f"{client.get_run(of).info.artifact_uri}/model"
        client.create_model_version(name, source, of, tags={"of": MARK}, description=MARK)
    return run_id


def tracked(place: Place) -> mlflow.Tracking:
    url = place.settings.mlflow_tracking_uri
    assert url is not None
    return mlflow.tracking(url.get_secret_value(), None, place.home)


def test_what_a_tracking_server_has_is_replaced_there(on_server: Place) -> None:
    run_id = logged(on_server)
    files, texts = artifacts.erase(on_server, SUBJECT)
    assert (files.count, texts.count) == (2, 3)
    where = tracked(on_server)
    rows = pq.read_table(
        pa.BufferReader(mlflow.read_run_file(where, run_id, "training_set.parquet"))
    )
    assert rows.to_pylist() == [{"document_id": "note-10", "text": "other"}]
    assert mlflow.read_run_file(where, run_id, "card.md") == b"Of [forgotten], and others"
    assert mlflow.read_run_file(where, run_id, "other.md") == b"Of others"
    client = mlflow.activate(where).MlflowClient()
    tags = client.get_run(run_id).data.tags
    assert (tags["said"], tags["kept"]) == ("It is [forgotten]", "as it is")
    version = client.get_model_version("classifier", "1")
    assert (version.tags, version.description) == ({"of": "[forgotten]"}, "[forgotten]")
    assert client.get_model_version("of_somebody_else", "1").tags == {"of": MARK}
    assert not list(on_server.home.rglob("*.parquet"))
    assert [each.count for each in artifacts.erase(on_server, SUBJECT)] == [0, 0]


def test_a_server_that_keeps_a_file_as_it_was_is_told(
    on_server: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(on_server)
    location, there = mlflow.artifacts_of(tracked(on_server))
    monkeypatch.setattr(there, "log_artifact", lambda *_: None)
    monkeypatch.setattr(mlflow, "artifacts_of", lambda _: (location, there))
    with pytest.raises(StoreError, match=r"it keeps .*training_set\.parquet as it was"):
        artifacts.erase(on_server, SUBJECT)
    assert not list(on_server.home.rglob("*.parquet")), "nothing is left of what was fetched"


def test_what_a_kill_left_of_what_was_fetched_goes(on_server: Place) -> None:
    left = on_server.home / "mlflow_fetched" / "old.md"
    left.parent.mkdir()
    left.write_text(MARK)
    mlflow.activate(tracked(on_server))
    assert [each.count for each in artifacts.erase(on_server, SUBJECT)] == [0, 0]
    assert not left.parent.exists()
