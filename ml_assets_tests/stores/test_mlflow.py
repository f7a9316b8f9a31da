"""MLflow: embedded and through a tracking server, and clear errors."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import psycopg
import pytest

from ml_assets.errors import ModelError, OutageError, StoreError
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import mlflow
from ml_assets.stores.mlflow import models, registry
from ml_assets_tests.servers import free_port, mlflow_over_http


@pytest.fixture
def server(tmp_path: Path) -> Iterator[mlflow.Tracking]:
    """A tracking server on SQLite."""
    with mlflow_over_http(tmp_path) as url:
        yield mlflow.tracking(url, None, tmp_path)


CONTENT = b"a file beside the model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("before", [None, "http://set-by-a-person:5000"])
def test_tracking_is_no_setting_of_the_next_deployment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
    where = mlflow.tracking(None, None, settings.home)
    assert mlflow.activate(where).get_tracking_uri() == where.uri
    assert secret(load_settings().mlflow_tracking_uri) == before


def contract(where: mlflow.Tracking) -> None:
    """Log a run with steps and a model, register it twice, and load it back."""
    from sklearn.linear_model import LogisticRegression

    module = mlflow.activate(where)
    inputs = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [0.0, 0.0, 1.0, 1.0]})
    model = LogisticRegression().fit(inputs, ["x", "x", "y", "y"])
    with module.start_run(run_name="contract") as run:
        uri = mlflow.log_model(module, model, inputs, ["x", "y"], [])
        steps = [(step, "loss", 1 / (step + 1)) for step in range(1500)]
        mlflow.log_steps(module, run.info.run_id, steps)
        mlflow.log_file(module, uri, "more.bin", CONTENT)
    assert mlflow.read_file(where, uri, "more.bin", SHA256) == CONTENT
    with pytest.raises(StoreError, match="its sha256 is not the recorded"):
        mlflow.read_file(where, uri, "more.bin", "0" * 64)
    with pytest.raises(StoreError, match="cannot be loaded"):
        mlflow.read_file(where, uri, "absent.bin", SHA256)
    identity = run.info.run_id
    mlflow.log_run_file(module, identity, "rows.bin", CONTENT)
    rows = mlflow.Dataset("rows", "abc", identity, "rows.bin", {"a": "double"}, {"rows": 4})
    mlflow.log_dataset(module, identity, rows)
    (given,) = module.get_run(identity).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("rows", "abc")
    assert json.loads(given.dataset.schema) == {"columns": [{"name": "a", "type": "double"}]}
    assert json.loads(given.dataset.profile) == {"rows": 4}
    source = json.loads(given.dataset.source)["uri"]
    assert source.startswith(f"{given.dataset.source_type}:")
    assert Path(module.artifacts.download_artifacts(source)).read_bytes() == CONTENT
    client = module.MlflowClient()
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1500

    name = f"model_{run.info.run_id[:8]}"
    number = mlflow.ensure_version(where, name, uri, run.info.run_id, {"tag": "value"})
    assert mlflow.ensure_version(where, name, uri, run.info.run_id, {}) == number == 1
    assert client.get_model_version(name, "1").tags["tag"] == "value"
    mlflow.describe_version(where, name, uri, run.info.run_id, "a card")
    assert client.get_model_version(name, "1").description == "a card"
    assert mlflow.read_aliases(where, name) == {}
    mlflow.set_alias(where, name, "champion", 1)
    assert mlflow.read_aliases(where, name) == {"champion": uri}
    client.delete_model_version(name, "1")
    assert mlflow.read_aliases(where, name) == {}
    assert mlflow.ensure_version(where, name, uri, run.info.run_id, {}) == 2
    client.rename_registered_model(name, f"other_{name}")
    assert mlflow.read_aliases(where, name) == {}
    assert mlflow.ensure_version(where, name, uri, run.info.run_id, {}) == 1
    sizes = mlflow.file_sizes(where, [uri], identity)
    folder = f"models/{uri.rpartition('/')[2]}/artifacts"
    assert sizes[f"{folder}/more.bin"] == sizes[f"{identity}/artifacts/rows.bin"] == len(CONTENT)
    assert sizes[f"{folder}/model.skops"] == mlflow.model_bytes(where, uri) > 100
    assert mlflow.has_model(where, uri, {"more.bin": SHA256})
    assert not mlflow.has_model(where, uri, {"absent.bin": SHA256})
    assert not mlflow.has_model(where, "models:/m-0123456789abcdef0123456789abcdef", {})
    with pytest.raises(ModelError, match="cannot be loaded"):
        mlflow.load_model(where, "models:/m-0123456789abcdef0123456789abcdef", [])
    with pytest.raises(StoreError, match="cannot be registered"):
        mlflow.ensure_version(where, name, "models:/m-0123456789abcdef", run.info.run_id, {})
    loaded = mlflow.load_model(where, uri, [])
    assert np.allclose(loaded.predict_proba(inputs), model.predict_proba(inputs))


def test_the_embedded_mode_keeps_the_contract(tracking: mlflow.Tracking) -> None:
    contract(tracking)
    module = mlflow.activate(tracking)
    experiment = module.get_experiment_by_name(mlflow.EXPERIMENT)
    assert experiment.artifact_location == "ml-assets:/"


def test_a_file_in_our_own_folder_is_read_without_mlflow(
    tracking: mlflow.Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = mlflow.activate(tracking)
    with module.start_run():
        model = module.initialize_logged_model(name="model")
        uri = f"models:/{model.model_id}"
        mlflow.log_file(module, uri, "more.bin", CONTENT)
    monkeypatch.setattr(models, "activate", None)
    assert mlflow.read_file(tracking, uri, "more.bin", SHA256) == CONTENT


def test_a_tracking_server_keeps_the_same_contract(
    server: mlflow.Tracking, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert server.artifacts is None
    contract(server)
    assert "View run" not in capfd.readouterr().out
    assert_marked(server, tmp_path)


def assert_marked(server: mlflow.Tracking, folder: Path) -> None:
    """A mark tells another alias, another version, and a lost file of a model."""
    client = mlflow.activate(server).MlflowClient()
    name = min(model.name for model in client.search_registered_models())
    assert mlflow.mark(server.uri, "absent") == mlflow.mark(server.uri, "absent")
    marks = [mlflow.mark(server.uri, "absent"), mlflow.mark(server.uri, name)]
    client.set_registered_model_alias(name, "champion", "1")
    marks.append(mlflow.mark(server.uri, name))
    assert mlflow.mark(server.uri, name) == marks[-1]
    (beside,) = folder.rglob("more.bin")
    beside.unlink()
    marks.append(mlflow.mark(server.uri, name))
    client.delete_model_version(name, "1")
    assert len({*marks, mlflow.mark(server.uri, name)}) == 5


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    where = mlflow.tracking(f"http://user:secret@127.0.0.1:{free_port()}", None, tmp_path)
    with pytest.raises(OutageError) as raised:
        mlflow.activate(where)
    assert str(raised.value) == (
        "MLFLOW_TRACKING_URI: it does not answer (Connection refused)."
        " Check that the tracking server is up and the URL is right"
    )


def test_our_own_database_is_named_where_no_server_is_set(
    tracking: mlflow.Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = mlflow.activate(tracking)

    def refuse(name: str) -> None:
        raise module.exceptions.MlflowException("the schema is out of date\nmore")

    monkeypatch.setattr(module, "get_experiment_by_name", refuse)
    with pytest.raises(StoreError, match="MLflow's own database") as raised:
        mlflow.activate(tracking)
    assert "the schema is out of date. Look at its records: " in str(raised.value)


def test_a_pickled_model_is_not_loaded(tracking: mlflow.Tracking) -> None:
    from sklearn.linear_model import LogisticRegression

    module = mlflow.activate(tracking)
    model = LogisticRegression().fit([[0.0], [1.0]], ["x", "y"])
    with module.start_run():
        info = module.sklearn.log_model(
            model, name="model", serialization_format="cloudpickle", pip_requirements=["skops"]
        )
    with pytest.raises(StoreError, match="cannot be loaded"):
        mlflow.load_model(tracking, info.model_uri, [])


def test_a_model_is_saved_with_its_example_and_not_tried(
    tracking: mlflow.Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow would load each again for that, and only warn."""
    from sklearn.linear_model import LogisticRegression

    module = mlflow.activate(tracking)
    monkeypatch.setattr(module.pyfunc, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    inputs = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0]})
    with module.start_run():
        model = LogisticRegression().fit(inputs, ["x", "y"])
        uri = mlflow.log_model(module, model, inputs, ["x", "y"], [])
    info = module.models.get_model_info(uri)
    assert info.saved_input_example_info is not None
    assert info.flavors["sklearn"]["serialization_format"] == "skops"


def test_describing_where_runs_are_kept_does_not_import_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ml_assets.stores import mlflow;"
        f"mlflow.tracking('http://127.0.0.1:1', None, Path({str(tmp_path)!r}));"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_to_save_and_load_models_imports_no_torch() -> None:
    """Nor does it keep anybody from importing it."""
    code = (
        "import sys; from ml_assets.stores.mlflow.models import import_skops; import_skops();"
        "sys.exit('torch' in sys.modules or 'skops.io' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "uri", ["mlflow", "mlflow:5000", "file:///tmp/mlruns", "postgresql://host/mlflow", "databricks"]
)
def test_a_uri_that_is_not_a_servers_is_refused_in_one_line(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^MLFLOW_TRACKING_URI: not a URL of a tracking server"):
        mlflow.tracking(uri, None, tmp_path)


def test_a_moved_folder_has_its_models_and_no_record_of_its_place(
    tracking: mlflow.Tracking, tmp_path: Path
) -> None:
    before = replace(tracking, artifacts=tmp_path / "before")
    after = replace(tracking, artifacts=tmp_path / "after")
    module = mlflow.activate(before)
    with module.start_run() as run:
        module.log_text("as it was", "note.txt")
        uri = f"models:/{module.initialize_logged_model(name='model').model_id}"
        mlflow.log_file(module, uri, "more.bin", CONTENT)
    (tmp_path / "before").rename(tmp_path / "after")
    assert mlflow.read_file(after, uri, "more.bin", SHA256) == CONTENT
    module = mlflow.activate(after)
    assert module.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "as it was"
    with module.start_run():
        module.log_text("more", "later.txt")
    assert len(list((tmp_path / "after").rglob("later.txt"))) == 1
    assert not (tmp_path / "before").exists()


def test_records_with_the_path_of_a_folder_follow_the_home(
    tracking: mlflow.Tracking, tmp_path: Path
) -> None:
    """As MLflow has them by itself, and homes had them before."""
    where, old = replace(tracking, artifacts=tmp_path / "home"), (tmp_path / "old").as_uri()
    module = mlflow.activate(where)
    with psycopg.connect(where.uri.replace("+psycopg2", "")) as connection:
        query = "update experiments set artifact_location = %s where name = %s"
        connection.execute(query, [old, mlflow.EXPERIMENT])
    with module.start_run() as run:
        module.log_text("as it was", "note.txt")
        uri = f"models:/{module.initialize_logged_model(name='model').model_id}"
        mlflow.log_file(module, uri, "more.bin", CONTENT)
        rows = mlflow.Dataset("moved", uri[-32:], run.info.run_id, "note.txt", {}, {})
        mlflow.log_dataset(module, run.info.run_id, rows)
    assert (tmp_path / "old").is_dir()
    (tmp_path / "old").rename(tmp_path / "home")
    module = mlflow.activate(where)
    assert module.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "as it was"
    model = module.MlflowClient().get_logged_model(uri.rpartition("/")[2])
    assert model.artifact_location.startswith("ml-assets:/models/m-")
    (given,) = module.get_run(run.info.run_id).inputs.dataset_inputs
    source = f"ml-assets:/{run.info.run_id}/artifacts/note.txt"
    assert json.loads(given.dataset.source) == {"uri": source}
    assert given.dataset.source_type == "ml-assets"
    assert mlflow.read_file(where, uri, "more.bin", SHA256) == CONTENT


def test_what_a_dead_run_left_running_is_ended_and_nothing_else(
    tracking: mlflow.Tracking,
) -> None:
    module = mlflow.activate(tracking)
    client = module.MlflowClient()
    experiment = module.get_experiment_by_name(mlflow.EXPERIMENT).experiment_id

    def start(**tags: str) -> str:
        return str(client.create_run(experiment, tags=tags).info.run_id)

    def status(run_id: str) -> str:
        return str(client.get_run(run_id).info.status)

    dead, alive = start(dagster_run_id="dead"), start(dagster_run_id="alive")
    of_dead, of_alive = (start(**{"mlflow.parentRunId": parent}) for parent in (dead, alive))
    ended = start(dagster_run_id="dead")
    client.set_terminated(ended, "FAILED")
    of_ended, foreign = start(**{"mlflow.parentRunId": ended}), start()
    mlflow.end_abandoned(tracking, lambda run_id: run_id == "dead")
    assert [status(run_id) for run_id in (dead, of_dead, of_ended)] == ["KILLED"] * 3
    assert [status(run_id) for run_id in (alive, of_alive, foreign)] == ["RUNNING"] * 3
    assert status(ended) == "FAILED"


def test_an_experiment_that_was_deleted_by_hand_is_restored(tracking: mlflow.Tracking) -> None:
    client = mlflow.activate(tracking).MlflowClient()
    experiment = client.get_experiment_by_name(mlflow.EXPERIMENT)
    client.delete_experiment(experiment.experiment_id)
    with mlflow.activate(tracking).start_run() as run:
        assert run.info.experiment_id == experiment.experiment_id


def test_a_database_that_does_not_answer_is_told_once_and_soon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = mlflow.Tracking("postgresql+psycopg2://postgres@/mlflow?host=/nowhere", tmp_path)
    started = perf_counter()
    with pytest.raises(StoreError, match="Check that PostgreSQL is up") as raised:
        mlflow.activate(where)
    assert perf_counter() - started < 20, "MLflow itself asks ten times, for 100 s"
    assert "\n" not in str(raised.value)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_mark_is_asked_for_with_the_credentials_that_mlflow_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the URL, or else in MLflow's own variables: without a mark each run is a whole one."""
    asked: list[str] = []

    def ask(url: str, path: str) -> bytes:
        asked.append(url)
        return b""

    monkeypatch.setattr(registry, "ask", ask)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    mlflow.mark("http://host:5000/below", "x")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me@home")
    mlflow.mark("http://host:5000", "x")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p/w")
    mlflow.mark("http://host:5000/below", "x")
    mlflow.mark("http://other:own@host", "x")
    assert asked == [
        "http://host:5000/below",
        "http://host:5000",
        "http://me%40home:p%2Fw@host:5000/below",
        "http://other:own@host",
    ]


def test_records_that_cannot_be_connected_to_are_one_line() -> None:
    where = mlflow.Tracking(f"postgresql+psycopg2://127.0.0.1:{free_port()}/mlflow", Path())
    with pytest.raises(OutageError, match=r"own database.*Check that PostgreSQL is up"):
        mlflow.read_aliases(where, "x")
