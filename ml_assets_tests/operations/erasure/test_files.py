"""Files of a home: those in which something is left are written anew, others are as they were."""

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest

from ml_assets.operations.erasure.stores import files
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.operations.erasure.wording import Wording
from ml_assets.settings import load_settings

MARK = "zq7marker4711"
SUBJECT = Subject("r1", ("note-1",), texts=(f"It tells of {MARK}.",), marks=Marks((MARK,)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    # A folder above the home has the name of one in it.
    home = tmp_path / "extracted" / "home"
    for folder in ("extracted", "dagster/storage", "mlflow_artifacts/run/artifacts", "service"):
        (home / folder).mkdir(parents=True)
    return Place(load_settings(home=home), Mock())


def names(place: Place) -> set[str]:
    return {f"{path.relative_to(place.home)}" for path in place.home.rglob("*") if path.is_file()}


def test_logs_lose_it_and_what_was_extracted_or_put_aside_goes(place: Place) -> None:
    (place.home / "postgres.log").write_text(f"ERROR: {MARK}\nLOG: ready\n")
    (place.home / "service" / "said.log").write_text("ready\n")
    (place.home / "extracted" / "one.json").write_text(f'{{"text": "{MARK}"}}')
    (place.home / "extracted" / "other.json").write_text('{"text": "other"}')
    (place.home / "online.sqlite.damaged").write_bytes(b"?")
    with (place.home / "postgres.log").open("a") as appended:  # as a server has it open
        (removed,) = files.erase_files(place, SUBJECT)
        appended.write("LOG: on\n")
    assert removed.count == 3
    assert names(place) == {"postgres.log", "service/said.log", "extracted/other.json"}
    log = (place.home / "postgres.log").read_text()
    assert log == "ERROR: [forgotten]\nLOG: ready\nLOG: on\n"
    assert files.erase_files(place, SUBJECT)[0].count == 0


def test_events_of_dagster_lose_it_and_free_pages_too(place: Place) -> None:
    file = place.settings.dagster_folder / "storage" / "run.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table events (id integer primary key, event text, at real)")
        rows = [(f'{{"id": "note-{n % 12}", "text": "It tells of {MARK}."}}', n) for n in range(99)]
        connection.executemany("insert into events (event, at) values (?, ?)", rows)
        connection.execute("delete from events where id > 3")
        connection.commit()
    (removed,) = files.erase_records(place, SUBJECT)
    assert removed.count == 1
    with closing(sqlite3.connect(file)) as connection:
        events = [event for (event,) in connection.execute("select event from events order by id")]
    assert events == [
        '{"id": "note-0", "text": "[forgotten]"}',
        '{"id": "[forgotten]", "text": "[forgotten]"}',
        '{"id": "note-2", "text": "[forgotten]"}',
    ]
    assert MARK.encode() not in file.read_bytes()
    assert files.erase_records(place, SUBJECT)[0].count == 0


def test_of_a_column_only_what_changes_is_held() -> None:
    connection = Mock()
    connection.execute.return_value = iter([(1, "other"), (2, MARK)])  # rows as they come
    files._erase_column(connection, "t", "c", Wording((MARK,), ()))
    assert connection.executemany.call_args.args[1] == [("[forgotten]", 2)]
