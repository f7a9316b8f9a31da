"""What is looked through: the home, and what settings put elsewhere."""

from pathlib import Path
from unittest.mock import Mock, patch

import duckdb
import pytest

from ml_assets.operations.erasure import forget, verification
from ml_assets.operations.erasure.fingerprints import fingerprints_of
from ml_assets.operations.erasure.receipt import write_receipt
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.releases.forgotten import Forgotten
from ml_assets.settings import load_settings

MARKS = Marks(("zq7marker4711 of a planted document",))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home whose DuckDB file and Dagster folder are elsewhere, each with a mark."""
    settings = load_settings(home=tmp_path / "home").model_copy(
        update={"duckdb_path": tmp_path / "other" / "x.duckdb", "dagster_home": tmp_path / "runs"}
    )
    for folder in (settings.home, settings.dagster_folder, settings.duckdb_file.parent):
        folder.mkdir()
    (settings.dagster_folder / "said.log").write_text(MARKS.words[0])
    with duckdb.connect(f"{settings.duckdb_file}") as duck:
        duck.execute(f"create table t as select '{MARKS.words[0]}' as said")
    (settings.duckdb_file.parent / "of others").write_text(MARKS.words[0])
    return Place(settings, Mock())


def test_what_is_elsewhere_is_looked_through_too(place: Place) -> None:
    with patch.object(verification, "forgotten_rows", return_value=iter(())):
        verified = verification.verify(place, Subject("r1", ("d",), marks=MARKS), Forgotten())
    assert {trace.file for trace in verified.traces} == {"said.log", "x.duckdb"}
    assert verified.files == 2


def test_by_a_receipt_as_well(place: Place) -> None:
    prints = fingerprints_of(MARKS, b"salt")
    file, _ = write_receipt(place.home, {"request_id": "r1", "fingerprints": prints})
    with (
        patch.object(forget, "forgotten_rows", return_value=iter(())),
        patch.object(forget.forgotten, "read_forgotten", return_value=Forgotten(b"salt")),
    ):
        _, found = forget.verify_receipt(place, file)
    assert {name for name, _ in found} == {"said.log", "x.duckdb"}
