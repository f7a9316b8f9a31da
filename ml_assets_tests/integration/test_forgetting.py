"""Documents are forgotten: no file of the home has anything of them, and all else is as without."""

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_assets.operations.erasure import request
from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.releases.pointer import present_parts
from ml_assets.stores import mlflow, postgres
from ml_assets_tests.integration.crashing import Point
from ml_assets_tests.integration.dying import Place, documents, read
from ml_assets_tests.integration.project import write_rows

OWNER, KEEPER = "owner zq7z4711", "keeper zq8k4711"
MARKS = ("zq7marker4711", "zq7title4711", "zq7label4711", "zq7id4711", "zq7z4711")
KILLS = 10

POINTS = [
    Point("before", "operations.erasure.forget:_hide"),
    Point("sql", "postgres/releases/remember_forgotten"),
    Point("after", "operations.erasure.forget:_hide"),
    *(Point("after", "operations.erasure.request:keep", times) for times in (2, 4)),
    Point("before", "operations.erasure.stores.postgres:rewrite", 5),
    Point("before", "stores.postgres.rewriting:_swap"),
    Point("before", "operations.erasure.stores.postgres:renew_log"),
    Point("before", "operations.erasure.forget:write_receipt"),
    Point("before", "operations.erasure.request:end"),
]
"""Where a request is killed, each for a document of its own."""


def planted() -> list[dict[str, Any]]:
    """A document with a mark wherever there can be one, one that models learn from, and more."""
    shared = {"shelf": "a", "owner": OWNER}
    first = {
        "id": "document-zq7id4711",
        "title": "The zq7title4711 of it",
        "text": "It tells of zq7marker4711 and of nothing else. " * 3,
        "label": "label zq7label4711",
        **shared,
    }
    second = {
        "id": "kitchen-zq7id4711",
        "text": "About oven and bread and zq7marker4711.",
        "label": "kitchen",
        **shared,
    }
    one_each = [
        {
            "id": f"killed-zq8id{number}x4711",
            "text": f"Number zq8marker{number}x4711 tells of a whole story of its own.",
            "shelf": "a",
            "owner": KEEPER,
        }
        for number in range(KILLS)
    ]
    meanwhile = {
        "id": "meanwhile-zq8id4711",
        "text": "It tells of zq8meanwhilex4711 and of what is done at the same time.",
        "shelf": "a",
        "owner": KEEPER,
    }
    together = {
        "id": "together-zq8id4711",
        "text": "It tells of zq8togetherx4711 and of what somebody else decides.",
        "shelf": "a",
        "owner": KEEPER,
    }
    return [first, second, *one_each, meanwhile, together]


def source(file: Path) -> str:
    return f"files:{file}?collection_by=shelf&metadata=owner"


def throw_a_run_away(home: Path) -> None:
    """MLflow only marks a run as deleted, and `mlflow gc` may leave its artifacts: issue 17240."""
    module = mlflow.activate(mlflow.tracking(None, None, home))
    with module.start_run() as run:
        module.set_tag("about", "what zq7marker4711 is")
        module.log_param("title", "The zq7title4711 of it")
        module.log_text("It tells of zq7marker4711 and of nothing else.", "notes/about.txt")
    module.delete_run(run.info.run_id)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home that was built with all that is to be forgotten."""
    folder = tmp_path_factory.mktemp("forgetting")
    settings = {
        "ML_ASSETS_SOURCE": source(folder / "notes.jsonl"),
    }
    opened = Place(folder, settings, fast=True)
    write_rows(opened.file, [*documents(0), *planted()])
    opened.call("run")
    throw_a_run_away(opened.home)
    yield opened
    postgres.stop(opened.home)


@pytest.fixture(scope="module")
def vectors(place: Place) -> tuple[np.ndarray, ...]:
    query = "select embedding from document_embeddings where chunk_id like %s"
    with postgres.connect(None, place.home) as connection:
        rows = connection.execute(query, ["document-zq7id4711#%"]).fetchall()
    return tuple(row.to_numpy().astype(np.float32) for (row,) in rows)


def bytes_of(file: Path) -> bytes:
    """None of a file that PostgreSQL or Chroma has just removed."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def left(home: Path, *words: str, vectors: tuple[np.ndarray, ...] = ()) -> list[str]:
    """Where anything of it is left: in the bytes of a file, or in what it has compressed."""
    forms = [form for word in words for form in (word.encode(), word.encode("utf-16-le"))]
    files = [file for file in home.rglob("*") if file.is_file()]
    found = [str(file) for file in files for form in forms if form in bytes_of(file).lower()]
    return found + [f"{each}" for each in find_traces(home, Marks(words, vectors))]


@pytest.fixture(scope="module")
def forgotten(place: Place, vectors: tuple[np.ndarray, ...]) -> str:
    """What was printed when two documents were forgotten."""
    postgres.stop(place.home)
    assert len(left(place.home, *MARKS, vectors=vectors)) > 20
    where = f'metadata.owner = "{OWNER}"'
    planned = json.loads(place.call("forget", "--where", where, "--dry-run", "--json"))
    assert planned["documents"] == ["document-zq7id4711", "kitchen-zq7id4711"]
    assert all(re.match(r"notes\.jsonl .*\d+", each) for each in planned["source"])
    return place.call("forget", "--where", where, "--reason", "case 1")


def test_nothing_of_it_is_left(
    place: Place, vectors: tuple[np.ndarray, ...], forgotten: str
) -> None:
    postgres.stop(place.home)
    assert not left(place.home, *MARKS, vectors=vectors), forgotten
    assert re.search(r"Its source still has it: .*\n +notes\.jsonl", forgotten)
    assert "Model versions 1 learned from it" in forgotten


@pytest.mark.usefixtures("forgotten")
def test_no_command_knows_it(place: Place) -> None:
    assert "no run ever saw" in place.call("history", "document-zq7id4711", code=1)
    for asked in (("search", "zq7marker4711", "--json"), ("status", "--json"), ("audit",)):
        answer = place.call(*asked)
        assert "zq7id4711" not in answer
        assert "zq7label4711" not in answer
    assert "forgotten already" in place.call("forget", "kitchen-zq7id4711", "--reason", "x", code=1)
    assert "no run ever saw" in place.call("forget", "nobody", "--reason", "x", code=1)


@pytest.mark.usefixtures("forgotten")
def test_the_receipt_lets_look_again(place: Place) -> None:
    receipts = (place.home / request.FOLDER).glob("*.json")
    (file,) = (each for each in receipts if '"case 1"' in each.read_text())
    receipt = json.loads(file.read_text())
    assert receipt["verified"]["is_clean"]
    assert receipt["model_versions"] == [1]
    assert "no table has an id" in place.call("forget", "--verify", str(file))
    trace = place.home / "left.txt"
    trace.write_text("here is the zq7title4711 of it, the zq7marker4711 and so on")
    assert "left.txt" in place.call("forget", "--verify", str(file), code=1)
    trace.unlink()
    file.with_name("other.json").write_text(file.read_text().replace('"case 1"', '"case 2"'))
    other = str(file.with_name("other.json"))
    assert "not as it was signed" in place.call("forget", "--verify", other, code=1)
    file.with_name("other.json").unlink()


@pytest.mark.parametrize("number", range(KILLS))
def test_a_request_that_is_killed_is_completed(number: int, place: Place) -> None:
    asked = ("forget", f"killed-zq8id{number}x4711", "--reason", "case 2")
    place.call(*asked, point=POINTS[number], code=-9)
    if number % 5:
        place.call(*asked)
    else:
        assert "it is completed now" in place.call("run", "--until", "search")
    assert not request.unfinished(place.home)


def test_runs_and_searches_go_on_meanwhile(place: Place, tmp_path: Path) -> None:
    """It waits for the run, in which it is still read, and leaves nothing all the same."""
    row = next(row for row in planted() if row["id"] == "meanwhile-zq8id4711")
    others = [Place(tmp_path / name, place.settings, fast=True) for name in ("run", "search")]
    for other in others:
        other.folder.mkdir()
    write_rows(place.file, [*documents(1), *planted()])
    asked = [("run", "--until", "search"), ("search", row["text"], "--json")]
    with ThreadPoolExecutor() as pool:
        ran, searched = (
            pool.submit(other.call, *words, home=place.home)
            for other, words in zip(others, asked, strict=True)
        )
        place.call("forget", row["id"], "--reason", "case 3")
        assert searched.result()
        assert ran.result()
    write_rows(place.file, [*documents(0), *planted()])
    postgres.stop(place.home)
    assert not left(place.home, "zq8meanwhilex4711")


def decided(home: Path) -> tuple[list[str], Any]:
    """What the audit log has of this test, in its order, and what is served then."""
    with postgres.connect(None, home) as connection:
        query = "select action from model_audit_logs where reason = 'case 5' order by entry_id"
        actions = [action for (action,) in connection.execute(query)]
        return actions, present_parts(connection)


def begin_one_after_the_other(place: Place, home: Path, *asked: tuple[str, ...]) -> None:
    """The second begins when the first has the lock under which all is decided."""
    others = [Place(home.parent / f"{home.name} {words[0]}", place.settings) for words in asked]
    for other in others:
        other.folder.mkdir()
    held = "select from pg_locks where locktype = 'advisory' and objid::bigint = %s & 4294967295"
    with postgres.connect(None, home) as connection, ThreadPoolExecutor() as pool:
        ((lock,),) = connection.execute("select hashtext('ml_schema.releases')::bigint").fetchall()
        first = pool.submit(others[0].call, *asked[0], "--reason", "case 5", home=home)
        while not connection.execute(held, [lock]).fetchall():
            assert not first.done(), first.result()
        second = pool.submit(others[1].call, *asked[1], "--reason", "case 5", home=home)
        assert first.result()
        assert second.result()


@pytest.fixture(scope="module")
def second(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the home that serves another generation since, and its id."""
    home = tmp_path_factory.mktemp("second") / "home"
    postgres.stop(place.home)
    shutil.copytree(place.home, home, symlinks=True)
    other = Place(home.parent, {**place.settings, "ML_ASSETS_HNSW_M": "8"}, fast=True)
    other.call("run", "--until", "search", home=home)
    _, parts = decided(home)
    postgres.stop(home)
    return home, parts.generation_id


@pytest.mark.parametrize("decision", ["rollback", "publish"])
def test_what_is_decided_at_the_same_time_ends_the_same_in_either_order(
    place: Place, second: tuple[Path, str], tmp_path: Path, decision: str
) -> None:
    origin, generation = second
    forget = ("forget", "together-zq8id4711")
    asked = (decision,) if decision == "rollback" else (decision, generation)
    homes = [tmp_path / "before", tmp_path / "after"]
    for home in homes:
        shutil.copytree(origin, home, symlinks=True)
        if decision == "publish":
            place.call("rollback", "--reason", "before", home=home)
    begin_one_after_the_other(place, homes[0], asked, forget)
    begin_one_after_the_other(place, homes[1], forget, asked)
    before, after = map(decided, homes)
    assert before[0] == [decision, "forget"]
    assert after[0] == ["forget", decision]
    assert before[1] == after[1]
    assert (before[1].generation_id == generation) is (decision == "publish")
    assert read(homes[0]) == read(homes[1])
    for home in homes:
        postgres.stop(home)
        assert not left(home, "zq8togetherx4711")


@pytest.mark.usefixtures("forgotten")
def test_all_else_is_as_without_it(place: Place) -> None:
    """The source still has all of it, and the run does not read it."""
    # What other tests forgot, unless they did so in another process.
    place.attempt("forget", "--where", f'metadata.owner = "{KEEPER}"', "--reason", "case 4")
    place.call("run")
    assert place.call("rejected").count("it was forgotten") == len(planted())
    plain = place.settings["ML_ASSETS_SOURCE"].removesuffix("&metadata=owner")
    without = Place(place.folder, {"ML_ASSETS_SOURCE": plain}, fast=True)
    scratch = place.folder / "scratch"
    write_rows(place.file, documents(0))
    without.call("run", home=scratch)
    expected, found = read(scratch), read(place.home)
    postgres.stop(scratch)
    assert found.keys() == expected.keys()
    for name in expected.keys() - {"collections", "served"}:  # fingerprints are of the file
        assert found[name] == expected[name], name
    killed = (f"zq8{what}{number}x4711" for what in ("marker", "id") for number in range(KILLS))
    assert not left(place.home, *MARKS, *killed)
