"""From documents to a champion, and what each later change costs; the tests build on each other."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.build import build_definitions
from ml_assets.settings import load_settings
from ml_assets_tests.integration.project import Project, write_rows

NOTHING = "Nothing changed since the run that ended"

pytestmark = pytest.mark.xdist_group("lineage")


@pytest.fixture(scope="module")
def first_run(project: Project) -> str:
    return project.call("run")


def test_one_command_goes_from_documents_to_a_champion(project: Project, first_run: str) -> None:
    for part in ("embedded new", "recall@10", "Candidates", "Champion", "Seconds per stage"):
        assert part in first_run
    status = project.json("status")
    assert status["collections"] == 2
    assert status["documents"] == status["chunks"] == status["vectors"] == 240
    assert [row["state"] for row in status["generations"]] == ["published"]
    assert len(status["candidates"]) >= 5
    assert status["champion"]["version"] == 1
    assert {run["status"] for run in status["last_runs"]} == {"SUCCESS"}


TABLES = {
    "raw_documents": "postgres.ml_schema.documents",
    "chunks": "postgres.ml_schema.chunks",
    "embeddings": "postgres.ml_schema.document_embeddings",
    "feature_definitions": "postgres.ml_schema.feature_definitions",
    "document_features": "offline.main.features_document_text_v2",
    "collection_features": "offline.main.features_collection_activity_v1",
    "online_features": "online_features",
    "training_set": "offline.main.training_sets",
    "label_issues": "offline.main.label_issues",
    "training_metrics": "ml_assets.training_metrics",
    "experiment_analytics": "offline.main.experiment_summary",
}
NO_TABLE = {
    *("pgvector_index", "published_search", "champion_model"),
    *("metric_points", "search_quality_daily"),
}
"""Kept in a database, but an index, a pointer, or told by the day."""


def test_every_table_tells_its_name_columns_and_rows(project: Project, first_run: str) -> None:
    graph = build_definitions(load_settings(home=project.home)).resolve_asset_graph()
    tables = {"postgres", "duckdb", "sqlite", "clickhouse"}
    keys = [key for key in graph.get_all_asset_keys() if tables & graph.get(key).kinds]
    with dg.DagsterInstance.from_config(str(project.home / "dagster")) as instance:
        events = [instance.get_latest_materialization_event(key) for key in keys]
    told = {
        event.asset_materialization.asset_key.to_user_string(): event.asset_materialization.metadata
        for event in events
        if event and event.asset_materialization
    }
    assert told.keys() - NO_TABLE == TABLES.keys()
    told = {name: told[name] for name in TABLES}
    assert {name: told[name]["dagster/relation_identifier"].value for name in told} == TABLES
    for name, metadata in told.items():
        schema, rows = metadata["dagster/column_schema"], metadata["dagster/row_count"].value
        assert isinstance(schema, dg.TableSchemaMetadataValue)
        assert all(column.name and column.type for column in schema.schema.columns)
        assert len(schema.schema.columns) > 3, name
        assert isinstance(rows, int)
        assert rows > 0 or name == "label_issues", name  # where no label is in doubt


def test_search_finds_filters_and_explains(project: Project, first_run: str) -> None:
    found = project.json("search", "a telescope that looks at planets", "-k", "5")
    assert {hit["label"] for hit in found["hits"]} == {"space"}
    assert found["complete"]
    filtered = project.json(
        "search", "telescope", "--label", "garden", "--where", "shelf=odd", "--since", "2026-03-01"
    )
    assert filtered["hits"]
    assert {(hit["label"], hit["collection"]) for hit in filtered["hits"]} == {("garden", "odd")}
    written = (
        'label = "garden" and not metadata.shelf in ("even", "none") and created_at >= 2026-03-01'
    )
    again = project.json("search", "telescope", "--filter", written)
    assert again["complete"]
    assert {(hit["label"], hit["collection"]) for hit in again["hits"]} == {("garden", "odd")}
    assert "telescope" in project.call("search", "telescope", "--method", "keyword")


def test_a_column_of_the_source_leads_to_all_that_it_feeds(
    project: Project, first_run: str, tmp_path: Path
) -> None:
    def kinds(traced: dict[str, Any]) -> list[str]:
        return list(dict.fromkeys(node["kind"] for node in traced["made_into"]))

    label = project.json("lineage", "column", "label")
    assert label["made_into"][0]["facts"] == {"label": 240}
    told = ["table", "generation", "feature view", "training set", "version", "release"]
    assert kinds(label) == told
    shelf = project.json("lineage", "column", "shelf")
    assert shelf["made_into"][0]["columns"] == {
        "metadata.shelf": ["shelf"],
        "collection": ["shelf"],
    }
    assert kinds(shelf) == ["table", "generation", "feature view", "release"]
    assert "label_count of label" in project.call("lineage", "column", "label", COLUMNS="200")
    refused = project.call("lineage", "column", "topic", code=1)
    assert "no column 'topic' is read from it. Read are: id, text, title" in " ".join(
        refused.split()
    )
    file = tmp_path / "lineage.jsonl"
    project.call("lineage", "column", "*", "--openlineage", str(file))
    events = [json.loads(line) for line in file.read_text().splitlines()]
    (documents,) = events[0]["outputs"]
    assert documents["facets"]["columnLineage"]["fields"].keys() >= {"label", "metadata.shelf"}


def test_models_tell_what_they_are_and_where_they_err(project: Project, first_run: str) -> None:
    (version,) = project.json("models")
    assert (version["version"], version["role"]) == (1, "champion")
    card = project.call("models", "1")
    for part in ("# document_classifier 1", "| kitchen | 60 |", "| even | 120 |", "## Going back"):
        assert part in card
    errors = project.json("errors")
    assert errors["of"] > 0
    assert all(row["label"] != row["suggested"] for row in errors["rows"])
    assert project.json("errors", "--labels")["of"] == 240
    assert "There are no unlabelled documents." in project.call("errors", "--suggest", "3")


def test_predict_gives_probabilities(project: Project, first_run: str) -> None:
    (answer,) = project.json("predict", "Butter the pan, then bake the bread and taste the soup.")
    assert max(answer, key=answer.get) == "kitchen"
    assert sum(answer.values()) == pytest.approx(1, abs=1e-6)


UNCHANGED = ("generations", "candidates", "champion", "vectors", "by_collection")
TO_EMBED = ("torch", "transformers", "sentence_transformers", "onnxruntime", "openvino")
TO_RUN = ("dagster", "mlflow", "chromadb", "chdb", "sklearn")


def modules_imported(project: Project, *arguments: str) -> set[str]:
    """Run `ml-assets` in a process that tells which modules it ended with."""
    return set(ended_with(project, "*sys.modules", *arguments).split())


def ended_with(project: Project, told: str, *arguments: str) -> str:
    """Run `ml-assets` in a process that prints an expression at its end."""
    code = (
        "import sys\nfrom ml_assets.cli import app\n"
        f"app({list(arguments)!r}, standalone_mode=False)\n"
        f"print('\\ntold', {told})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=project.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rpartition("\ntold ")[2]


def test_predicting_imports_nothing_that_trains(project: Project, first_run: str) -> None:
    training = {"sklearn", "skops", "scipy", "pandas", "torch", "transformers", "mlflow", "dagster"}
    assert not modules_imported(project, "predict", "bread and soup") & training


def test_a_prediction_takes_little_memory(project: Project, first_run: str) -> None:
    # Not by getrusage: a child begins with the peak of the process that it was forked from.
    status = ended_with(project, "open('/proc/self/status').read()", "predict", "bread and soup")
    assert int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) < 400_000


def test_a_second_run_runs_nothing(project: Project, first_run: str) -> None:
    before = project.json("status")
    second = project.call("run")
    assert "Nothing changed since the run that ended" in second
    assert project.json("status") == before
    assert not modules_imported(project, "run") & {*TO_EMBED, *TO_RUN}


def test_looking_at_every_step_computes_nothing(project: Project, first_run: str) -> None:
    before = project.json("status")
    assert "0 changed" in project.call("run", "--all")
    after = project.json("status")
    assert {name: after[name] for name in UNCHANGED} == {name: before[name] for name in UNCHANGED}
    assert after["last_runs"] != before["last_runs"]
    # The champion is loaded as it answers, which is by ONNX Runtime.
    assert not modules_imported(project, "run", "--all") & {*TO_EMBED} - {"onnxruntime"}


def test_a_store_that_was_lost_is_made_again(project: Project, first_run: str) -> None:
    shutil.rmtree(project.home / "keyword")
    assert "Nothing changed" not in project.call("run")
    assert project.json("search", "oven bread", "--method", "keyword")["hits"]
    assert "Nothing changed" in project.call("run")


def test_an_edit_and_a_removal_reach_every_store(project: Project, first_run: str) -> None:
    rows = [json.loads(line) for line in project.file.read_text().splitlines()]
    rows[0]["text"] = "A xylophone was repaired in the workshop."
    removed = rows.pop()["id"]
    write_rows(project.file, rows)
    planned = project.json("plan")
    assert planned["documents"] == {"added": 0, "changed": 1, "removed": 1, "unchanged": 238}
    assert (planned["encode"], planned["texts_per_second"] > 0) == (1, True)
    output = project.call("run", "--until", "documents")
    assert re.search(r"embedded new +1 ", output)
    assert "rebuild search" not in output
    output = project.call("run")
    assert re.search(r"embedded new +0 ", output)
    assert "train models" in output
    status = project.json("status")
    assert (status["documents"], status["tombstones"], status["vectors"]) == (239, 1, 239)
    hits = project.json("search", "xylophone", "-k", "1")["hits"]
    assert [hit["document_id"] for hit in hits] == ["kitchen-0"]
    told = [entry["reason"] for entry in project.json("history", removed)]
    assert told == ["new", "left the source"]
    everything = project.json("search", "lunar crater", "-k", "100", "--label", "space")["hits"]
    assert removed not in {hit["document_id"] for hit in everything}


def test_the_runs_are_those_of_the_ui(project: Project, first_run: str) -> None:
    with dg.DagsterInstance.from_config(str(project.home / "dagster")) as instance:
        records = instance.get_run_records()
        jobs = {record.dagster_run.job_name for record in records}
        assert jobs >= {"refresh_documents", "rebuild_search", "train_models", "watch_search"}
        recorded = [each for each in records if each.dagster_run.job_name == "watch_search"]
        assert len(recorded) == len({each.create_timestamp.date() for each in recorded})
        names = ("champion_model", "search_quality_daily", "metric_points")
        events = [instance.get_latest_materialization_event(dg.AssetKey(name)) for name in names]
    assert None not in events
    points = events[-1] and events[-1].asset_materialization
    assert points is not None
    assert int(str(points.metadata["points"].value)) > 100


def test_dagster_materializes_in_a_fresh_home(
    project: Project, first_run: str, tmp_path: object
) -> None:
    environment = {**project.environment, "DAGSTER_HOME": str(tmp_path)}

    def materialize(*arguments: str) -> int:
        command = ["asset", "materialize", "-m", "ml_assets.definitions", *arguments]
        return subprocess.run(
            [sys.executable, "-m", "dagster", *command],
            env=environment,
            capture_output=True,
            check=False,
            cwd=os.fspath(tmp_path),  # type: ignore[call-overload]
        ).returncode

    assert materialize("--select", "collections") == 0
    documents = ["--select", "raw_documents,chunks,embeddings"]
    assert materialize(*documents, "--partition-range", "even...odd") == 0
    assert materialize("--select", "group:search") == 0


def test_a_restored_home_answers_the_same_and_has_nothing_to_do(
    project: Project, first_run: str, tmp_path: Path
) -> None:
    project.call("run")
    project.call("backup", str(tmp_path / "backup"))
    restored = replace(project, home=tmp_path / "elsewhere")
    restored.call("restore", str(tmp_path / "backup"))
    questions = (
        *(("search", text, "-k", "20") for text in ("a telescope", "warm bread", "violin")),
        ("search", "seedlings", "--method", "vector", "--label", "garden"),
        ("predict", "Butter the pan.", "The comet is near the moon.", "A duet of two flutes."),
        ("releases",),
        ("search-generations",),
    )
    for question in questions:
        assert restored.json(*question) == project.json(*question), question
    assert NOTHING in restored.call("run")
    assert NOTHING in project.call("run")
    # Moved once more, by hand: no path of it is kept anywhere.
    moved = replace(project, home=tmp_path / "moved")
    restored.home.rename(moved.home)
    assert moved.json(*questions[4]) == project.json(*questions[4])
    assert NOTHING in moved.call("run")
