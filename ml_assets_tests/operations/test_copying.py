"""Copies of folders that others read and write meanwhile."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ml_assets.errors import StoreError
from ml_assets.operations import copying
from ml_assets.operations.copying import copy_still

copyfile = shutil.copyfile


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "parts" / "empty").mkdir(parents=True)
    (folder / "parts" / "data.bin").write_bytes(os.urandom(1000))
    (folder / "link").symlink_to("parts/data.bin")
    return folder


def test_links_empty_folders_and_times_are_kept(store: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("outside the home")
    (store / "absolute").symlink_to(elsewhere)
    os.utime(store / "parts" / "data.bin", ns=(1, 1_234_567_891))
    copy_still(store, tmp_path / "copy")
    copied = tmp_path / "copy"
    assert (copied / "parts" / "empty").is_dir()
    assert (copied / "link").readlink() == Path("parts/data.bin")
    assert not (copied / "absolute").is_symlink()
    assert (copied / "absolute").read_text() == "outside the home"
    assert (copied / "parts" / "data.bin").stat().st_mtime_ns == 1_234_567_891


def test_sqlite_is_copied_with_what_is_in_its_log_alone(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with closing(sqlite3.connect(tmp_path / "store" / "rows.db")) as rows:
        rows.execute("pragma journal_mode = wal")
        rows.execute("create table t (x)")
        rows.execute("insert into t values (42)")
        rows.commit()
        copy_still(tmp_path / "store", tmp_path / "copy")
    assert [file.name for file in (tmp_path / "copy").iterdir()] == ["rows.db"]
    with closing(sqlite3.connect(tmp_path / "copy" / "rows.db")) as copied:
        assert copied.execute("select x from t").fetchall() == [(42,)]


def test_a_damaged_sqlite_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    with closing(sqlite3.connect(file)) as rows:
        rows.execute("create table t (x)")
        rows.commit()
    file.write_bytes(file.read_bytes()[:100] + bytes(8092))
    with pytest.raises(StoreError, match=f"{file}: it is damaged"):
        copy_still(file, tmp_path / "copy.db")


def test_what_changes_while_it_is_copied_is_copied_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store / "parts" / "data.bin"
    edits = iter([b"second", None])

    def edited(source: Path, target: Path) -> None:
        copyfile(source, target)
        match next(edits, b"again"):
            case None:
                pass
            case content:
                file.write_bytes(content)

    monkeypatch.setattr(copying.shutil, "copyfile", edited)
    copy_still(store, tmp_path / "copy")
    assert (tmp_path / "copy" / "parts" / "data.bin").read_bytes() == b"second"


def test_what_goes_while_it_is_copied_is_not_missed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = store / "parts" / "merged.bin"
    gone = iter([store / "parts" / "data.bin"])

    def merged(source: Path, target: Path) -> None:
        for file in gone:
            file.rename(other)
        copyfile(source, target)

    monkeypatch.setattr(copying.shutil, "copyfile", merged)
    (store / "link").unlink()
    copy_still(store, tmp_path / "copy")
    assert [file.name for file in (tmp_path / "copy" / "parts").glob("*.bin")] == ["merged.bin"]


def test_a_store_that_never_stands_still_is_told(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(source: Path, target: Path) -> None:
        copyfile(source, target)
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(copying.shutil, "copyfile", written)
    with pytest.raises(StoreError, match="another program writes it"):
        copy_still(store, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
