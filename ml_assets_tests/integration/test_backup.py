"""A backup is whole or absent, and a home restored from it equals the one it is of."""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil
import pytest

from ml_assets.monitoring.predictions import PREDICTIONS
from ml_assets.monitoring.spool.segments import SPOOL, closed_segments, place_of, read_records
from ml_assets.monitoring.spool.writer import SpoolWriter
from ml_assets.releases import pointer
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import wait_for
from ml_assets.stores.postgres import locks
from ml_assets_tests.integration.contents import read_home, read_postgres
from ml_assets_tests.integration.crashing import Point
from ml_assets_tests.integration.killing import Command, call
from ml_assets_tests.integration.project import write_rows

pytestmark = pytest.mark.xdist_group("backup")

BACKUP = [
    Point("before", "operations.backup:dump"),
    Point("after", "operations.backup:dump"),
    Point("before", "operations.backup:copy_still"),
    Point("before", "operations.copying:_copy_sqlite"),
    Point("after", "operations.copying:_copy_sqlite", 2),
    Point("before", "operations.copying:shutil.copyfile", 5),
    Point("write", "operations.backup:write_manifest"),
    Point("before", "operations.backup:verify"),
    Point("after", "operations.backup:verify"),
    Point("after", "operations.copying:os.sync"),
]
RESTORE = [
    Point("before", "operations.backup:verify"),
    Point("after", "operations.backup:verify"),
    Point("before", "operations.backup:shutil.copyfile"),
    Point("after", "operations.backup:shutil.copyfile", 5),
    Point("write", "operations.backup:shutil.copyfile"),
    Point("before", "operations.backup:load_ours"),
    Point("after", "operations.backup:load_ours"),
    Point("before", "operations.backup:postgres.stop"),
    Point("after", "operations.backup:postgres.stop"),
    Point("after", "operations.copying:os.sync"),
]
NOTHING = "Nothing changed since the run that ended"


@dataclass
class Place:
    """A folder with homes and backups, and the command line on them."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def restored(self) -> Path:
        return self.folder / "restored"

    @property
    def backup(self) -> Path:
        return self.folder / "backup"

    def call(
        self, *arguments: str, home: Path | None = None, point: Point | None = None, code: int = 0
    ) -> str:
        environment = {
            "ML_ASSETS_HOME": str(home or self.home),
            "ML_ASSETS_SOURCE": f"files:{self.folder / 'notes.jsonl'}?collection_by=shelf",
            "ML_ASSETS_CHUNK_TOKENS": "24",
            "ML_ASSETS_CHUNK_OVERLAP": "4",
            "ML_ASSETS_ACTOR": "tester",
            "COLUMNS": "200",
        }
        output = self.folder / "output"
        given, printed = call(Command(arguments, environment, output, point))
        assert given == code, f"{point}: exit {given}\n{printed}"
        return printed

    def waits(self) -> bool:
        output = self.folder / "output"
        return output.exists() and locks.ANOTHER_RUN in output.read_text()

    def die(self, *arguments: str, home: Path | None = None, point: Point) -> None:
        end = signal.SIGXFSZ if point.kind == "write" else signal.SIGKILL
        self.call(*arguments, home=home, point=point, code=-end)

    def partial(self, name: str) -> list[Path]:
        return list(self.folder.glob(f"{name}.*.partial"))


@contextmanager
def places() -> Iterator[Place]:
    """Not below pytest's own folder, which another session may close to the server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ml_assets-")))
        folder.chmod(0o755)
        place = Place(folder)
        for home in (place.home, place.restored):
            stack.callback(postgres.stop, home)
        rows = [
            {
                "id": f"n{number}",
                "text": f"Note {number} tells of {number % 7}.",
                "shelf": f"s{number % 3}",
            }
            for number in range(40)
        ]
        write_rows(folder / "notes.jsonl", rows)
        yield place


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A home after one run; the tests leave it as it is."""
    with places() as opened:
        opened.call("run")
        yield opened


def test_a_backup_killed_at_ten_points_loses_nothing_and_is_never_half(place: Place) -> None:
    before = read_postgres(place.home)
    for point in BACKUP:
        place.die("backup", str(place.backup), point=point)
        assert not place.backup.exists(), point
        assert place.partial("backup"), point
    assert read_postgres(place.home) == before
    assert NOTHING in place.call("run"), "no file of the other stores has moved"
    assert "verified" in place.call("backup", str(place.backup))
    assert not place.partial("backup"), "what the killed left is removed"
    assert NOTHING in place.call("run")


def test_a_restore_killed_at_ten_points_leaves_no_home_and_the_backup_whole(place: Place) -> None:
    if not place.backup.exists():
        place.call("backup", str(place.backup))
    for point in RESTORE:
        place.die("restore", str(place.backup), home=place.restored, point=point)
        assert not place.restored.exists(), point
    place.call("restore", str(place.backup), home=place.restored)
    assert not place.partial("restored")
    assert not [p.info for p in psutil.process_iter(["cmdline"]) if ".partial" in str(p.info)]
    assert NOTHING in place.call("run", home=place.restored)
    files = [path for path in place.restored.rglob("*") if path.is_file()]
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    for query in ("note 7", "tells of 3"):
        asked = ("search", query, "-k", "20", "--json")
        assert place.call(*asked, home=place.restored) == place.call(*asked)
    assert read_home(place.restored) == read_home(place.home)


def test_a_backup_waits_for_who_writes_or_publishes(place: Place) -> None:
    target = place.folder / "later"
    with (
        ThreadPoolExecutor() as pool,
        postgres.connect(None, place.home) as connection,
        pointer.deciding_alone(connection),
    ):
        with locks.turn(connection, print):
            (place.folder / "output").unlink()
            backup = pool.submit(place.call, "backup", str(target))
            assert wait_for(place.waits, 60)
        time.sleep(1)
        assert not backup.done()
    assert "verified" in backup.result()
    assert target.exists()


def test_a_backup_takes_what_a_service_writes_meanwhile(place: Place) -> None:
    ended, target = Event(), place.folder / "meanwhile"

    def predict() -> None:
        spool = SpoolWriter(place_of(place.home, PREDICTIONS), "a" * 32, 1 << 30, "never")
        while not ended.is_set():
            spool.put([{"number": 1}]).result(10)
        spool.close()

    with ThreadPoolExecutor(1) as pool:
        predicting = pool.submit(predict)
        try:
            assert "verified" in place.call("backup", str(target))
        finally:
            ended.set()
        predicting.result()
    (segment,) = closed_segments(place_of(target, PREDICTIONS))
    records, _ = read_records(segment.path)
    assert [each["sequence"] for each in records] == [*range(1, len(records) + 1)]
    assert records
    shutil.rmtree(place.home / SPOOL)
