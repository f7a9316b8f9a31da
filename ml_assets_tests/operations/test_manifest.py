"""What is not a whole backup of a home of ours is refused, in one line that names the file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets.errors import NothingToDoError, SettingError, StoreError
from ml_assets.operations.backup import back_up, restore
from ml_assets.operations.manifest import (
    FORMAT,
    NAME,
    Manifest,
    describe,
    read_manifest,
    verify,
    write_manifest,
)
from ml_assets.settings import Settings, load_settings


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup as far as its manifest knows; no test here comes to load a database."""
    folder = tmp_path / "backup"
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "mlflow.dump").write_bytes(b"rows")
    (folder / "offline.duckdb").write_bytes(b"features" * 1000)
    files = [describe(folder, path) for path in folder.rglob("*") if path.is_file()]
    write_manifest(
        folder, Manifest(FORMAT, "0.1.0", "2026-01-01", False, ["duckdb/001_features"], files)
    )
    return folder


def edit(backup: Path, **changes: object) -> None:
    manifest = json.loads((backup / NAME).read_text())
    (backup / NAME).write_text(json.dumps({**manifest, **changes}))


def refused(settings: Settings, backup: Path) -> str:
    with pytest.raises(StoreError) as raised:
        restore(settings, backup, print)
    assert not settings.home.exists()
    return str(raised.value)


def test_a_manifest_is_read_as_it_was_written(backup: Path) -> None:
    manifest = read_manifest(backup)
    assert [file.path for file in manifest.files] == ["offline.duckdb", "postgres/mlflow.dump"]
    assert manifest.size == 8004
    verify(backup, manifest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it is missing"),
        (b"features" * 999, "it has 7,992 bytes of 8,000"),
        (b"Features" + b"features" * 999, "its sha256 is not that of the manifest"),
    ],
)
def test_a_damaged_file_is_named(
    settings: Settings, backup: Path, content: bytes | None, message: str
) -> None:
    file = backup / "offline.duckdb"
    file.unlink()
    if content:
        file.write_bytes(content)
    assert refused(settings, backup).startswith(f"{file}: the backup is damaged: {message}")


def test_what_is_no_backup_is_refused(settings: Settings, backup: Path) -> None:
    assert "not a backup: there is no manifest.json" in refused(settings, backup.parent)
    assert "not a backup" in refused(settings, backup / "nowhere")
    text = (backup / NAME).read_text()
    (backup / NAME).write_text(text[:-20])
    assert "manifest.json: the backup is damaged: it cannot be read" in refused(settings, backup)
    (backup / NAME).write_text("[]")
    assert "it cannot be read" in refused(settings, backup)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "chroma/../../x"])
def test_no_file_is_written_outside_the_home(settings: Settings, backup: Path, path: str) -> None:
    (file, *others) = json.loads((backup / NAME).read_text())["files"]
    edit(backup, files=[{**file, "path": path}, *others])
    assert "it cannot be read" in refused(settings, backup)
    edit(backup, files=[], links={path: "x"})
    assert "it cannot be read" in refused(settings, backup)


def test_a_backup_of_a_newer_version_is_refused(settings: Settings, backup: Path) -> None:
    edit(backup, ml_assets="9.1.0", migrations=["duckdb/001_features", "postgres/999_later"])
    assert "made by a newer ml_assets (9.1.0, with the migration postgres/999_later)" in refused(
        settings, backup
    )
    edit(backup, format=FORMAT + 1, migrations=[], compression="what is not known yet")
    assert "made by a newer ml_assets (9.1.0)" in refused(settings, backup)


def test_a_home_that_is_not_empty_is_left_alone(settings: Settings, backup: Path) -> None:
    settings.home.mkdir()
    (settings.home / "online.sqlite").write_text("mine")
    with pytest.raises(StoreError, match="it is not empty"):
        restore(settings, backup, print)
    assert (settings.home / "online.sqlite").read_text() == "mine"


def test_a_backup_is_not_written_where_something_is(settings: Settings, tmp_path: Path) -> None:
    (settings.home / "postgres").mkdir(parents=True)
    with pytest.raises(StoreError, match="it exists already"):
        back_up(settings, tmp_path, print)
    with pytest.raises(StoreError, match="it lies in the home"):
        back_up(settings, settings.home / "backup", print)


def test_without_a_home_nothing_is_created(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="there is nothing to back up"):
        back_up(settings, tmp_path / "backup", print)
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DUCKDB_PATH", "/elsewhere/offline.duckdb"),
        ("KEYWORD_INDEX_PATH", "/elsewhere/keyword"),
    ],
)
def test_a_store_that_is_not_in_the_home_is_named(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    settings = load_settings(home=tmp_path / "home")
    for call in (
        lambda: back_up(settings, tmp_path / "other", print),
        lambda: restore(settings, backup, print),
    ):
        with pytest.raises(SettingError, match=f"^{variable}: the store is outside the home"):
            call()


def test_a_later_manifest_may_know_more_files(backup: Path) -> None:
    manifest = read_manifest(backup)
    with pytest.raises(StoreError, match="it is missing"):
        verify(backup, replace(manifest, files=[replace(manifest.files[0], path="other")]))
