"""Sources without labels, interruptions, two runs at once, and input that cannot be used."""

import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets_tests.integration.project import Project, write_documents, write_rows


@pytest.fixture
def fresh(tmp_path: Path, exported_models: Path) -> Project:
    """A home where nothing was run yet."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").symlink_to(exported_models)
    return Project(tmp_path / "home", tmp_path / "notes.jsonl")


def unlabelled(project: Project, count: int) -> None:
    rows = [
        {"id": f"n{number}", "text": f"Note {number} about thing {number * 7}.", "shelf": "one"}
        for number in range(count)
    ]
    write_rows(project.file, rows)


def test_a_source_without_labels_ends_at_the_published_search(fresh: Project) -> None:
    unlabelled(fresh, 30)
    assert "No document has a label, so there is no model to train." in fresh.call("run")
    status = fresh.json("status")
    assert [row["state"] for row in status["generations"]] == ["published"]
    assert status["champion"] is None
    assert status["candidates"] == []
    refusal = fresh.call("predict", "anything", code=1)
    assert "no model was promoted yet" in refusal


def test_faiss_serves_where_it_is_chosen(fresh: Project) -> None:
    unlabelled(fresh, 30)
    chosen = {"ML_ASSETS_VECTOR_INDEX": "faiss-flat"}
    fresh.call("run", "--until", "search", **chosen)
    assert list(fresh.home.glob("faiss/*/*.faiss"))
    method = ("--method", "vector", "--json")
    found = json.loads(fresh.call("search", "Note 7 about thing 49.", *method, **chosen))["hits"]
    usual = json.loads(fresh.call("search", "Note 7 about thing 49.", *method))["hits"]
    assert [hit["document_id"] for hit in found] == [hit["document_id"] for hit in usual]
    assert found[0]["document_id"] == "n7"
    scores = [hit["score"] for hit in usual]
    assert [hit["score"] for hit in found] == pytest.approx(scores, abs=1e-3)


def test_ctrl_c_keeps_what_was_committed(fresh: Project) -> None:
    unlabelled(fresh, 1000)
    process = fresh.start("run")
    deadline = time.monotonic() + 120
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().startswith("chunks") or time.monotonic() > deadline:
            break
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Interrupted. What was committed is kept" in err
    assert "Traceback" not in err
    kept = fresh.json("status")
    assert kept["documents"] == 1000
    fresh.call("run")
    assert fresh.json("status")["vectors"] == 1000


def test_two_runs_at_once_end_as_one(fresh: Project) -> None:
    write_documents(fresh.file, per_topic=12)
    project = replace(fresh, fast=True)
    with ThreadPoolExecutor() as pool:
        printed = [*pool.map(lambda _: project.call("run"), range(2))]
    assert sum("Another run is at work" in output for output in printed) == 1
    status = fresh.json("status")
    assert status["documents"] == status["vectors"] == 48
    assert len(status["generations"]) == 1


def test_a_collection_that_fails_stops_no_other(fresh: Project) -> None:
    rows = [
        {"id": f"n{number}", "text": f"Note {number}.", "shelf": f"shelf {number % 3}"}
        for number in range(60)
    ]
    write_rows(fresh.file, rows)
    fresh.call("run")
    # Shelf 1 shrinks to less than half, in the same edit a note of shelf 2 changes.
    shrunken = [row for row in rows if row["shelf"] != "shelf 1"]
    edited = {**shrunken[-1], "text": "A theremin hums."}
    write_rows(fresh.file, [rows[1], *shrunken[:-1], edited])
    refusal = "collection 'shelf 1' stays as it was: 19 of 20 documents would be removed"
    assert refusal in fresh.call("plan", code=1)
    output = fresh.call("run", code=1)
    assert re.search(r"embedded new +1 ", output)
    assert re.search(r"not read +1 ", output)
    assert [refusal in line for line in output.splitlines() if line.startswith("Error")] == [True]
    status = fresh.json("status")
    assert status["documents"] == status["vectors"] == 60
    assert [bool(row["read_error"]) for row in status["by_collection"]] == [False, True, False]
    assert "Could not be read" in fresh.call("status")
    hits = fresh.json("search", "theremin", "-k", "1")["hits"]
    assert [hit["document_id"] for hit in hits] == [edited["id"]]
    fresh.call("run", ML_ASSETS_MAX_REMOVED_FRACTION="1")
    assert fresh.json("status")["vectors"] == 41


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("ML_ASSETS_SOURCE", "files:/nowhere/x.csv", "/nowhere/x.csv"),
        ("ML_ASSETS_SOURCE", "nonsense:x", "unknown kind of source 'nonsense'"),
        (
            "ML_ASSETS_CHUNK_TOKENS",
            "many",
            "ML_ASSETS_CHUNK_TOKENS: 'many' is not a whole number",
        ),
        ("ML_ASSETS_CHUNK_TOKENS", "400", "do not fit the model"),
        ("ML_ASSETS_HOME", "/proc/ml_assets", "cannot create the folder"),
        ("POSTGRES_URL", "postgresql://u:secret@127.0.0.1:1/x", "POSTGRES_URL"),
        ("POSTGRES_URL", "nonsense", "POSTGRES_URL"),
        ("ML_ASSETS_EMBEDDING_MODEL", "/nowhere/model", "ML_ASSETS_EMBEDDING_MODEL"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    fresh: Project, setting: str, value: str, message: str
) -> None:
    unlabelled(fresh, 3)
    output = fresh.call("run", code=1, **{setting: value})
    assert message in output
    assert "secret" not in output
    assert "Traceback" not in output
    assert sum(line.startswith("Error") for line in output.splitlines()) == 1


def test_bad_rows_are_set_aside_and_said(fresh: Project) -> None:
    good = [{"id": f"n{n}", "text": f"Note {n}.", "shelf": "one"} for n in range(20)]
    bad = [
        {"id": "n0", "text": "The id stands twice.", "shelf": "one"},
        {"id": "empty", "text": "  ", "shelf": "one"},
        {"id": "date", "text": "x", "shelf": "one", "created_at": "yesterday"},
        {"id": "path", "text": "x", "shelf": "../../x"},
        {"id": "long", "text": "x", "shelf": "x" * 300},
    ]
    lines = [json.dumps(row).encode() for row in good + bad] + [b"{not json", b'{"id": "\xff"}']
    fresh.file.write_bytes(b"\n".join(lines))
    output = fresh.call("run")
    assert "Check failed rows_were_readable" in output
    status = fresh.json("status")
    assert (status["documents"], status["rejected"]) == (20, 7)
    # The rows are as bad as they were: nothing is run for them again, and they are told again.
    again = fresh.call("run")
    assert "Nothing changed since the run that ended" in again
    assert "Check failed rows_were_readable: rejected 7" in again


def test_asking_before_the_first_run_says_what_to_do(fresh: Project) -> None:
    unlabelled(fresh, 3)
    assert "nothing was run here yet" in fresh.call("search", "anything", code=1)
