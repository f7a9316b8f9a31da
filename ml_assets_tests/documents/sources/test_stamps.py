"""The bytes of a file are hashed when its file system says that it was written, and only then."""

import hashlib
import os
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document
from ml_assets.documents.sources import stamps
from ml_assets.documents.sources.files import Files
from ml_assets.errors import SourceError

LOCAL = fsspec.filesystem("file")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were opened; none is too young to be known by its stamp."""
    opened: list[str] = []
    plain = type(LOCAL).open

    def counted(self: Any, path: str, *args: Any, **more: Any) -> Any:
        opened.append(Path(path).name)
        return plain(self, path, *args, **more)

    monkeypatch.setattr(type(LOCAL), "open", counted)
    monkeypatch.setattr(stamps, "_SETTLED_NANOSECONDS", 0)
    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"The page {name}.")
    return tmp_path


def source(folder: Path) -> Files:
    return Files(str(folder), columns_from({}), 10_000)


def test_only_the_file_that_was_written_is_hashed_again(folder: Path, hashed: list[str]) -> None:
    before = source(folder).collections()
    assert sorted(hashed) == ["a.txt", "b.txt", "c.txt"]
    hashed.clear()
    assert source(folder).collections() == before
    assert hashed == []
    (folder / "b.txt").write_text("Another page.")
    assert source(folder).collections() != before
    assert hashed == ["b.txt"]


def test_a_file_that_was_written_as_it_was_is_no_news(folder: Path, hashed: list[str]) -> None:
    before, stamp = source(folder).collections(), source(folder).stamp()
    assert source(folder).stamp() == stamp
    (folder / "a.txt").write_text("The page a.")
    assert source(folder).stamp() != stamp
    assert source(folder).collections() == before


def test_an_edit_of_equal_size_and_time_is_seen(folder: Path, hashed: list[str]) -> None:
    file = folder / "a.txt"
    before, times = source(folder).collections(), file.stat()
    file.write_text("The page A.")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert source(folder).collections() != before


def test_an_edit_behind_a_link_is_seen(folder: Path, tmp_path: Path, hashed: list[str]) -> None:
    (folder / "d.txt").symlink_to(folder / "a.txt")
    linked = Files(str(folder / "d.txt"), columns_from({}), 10_000)
    before = linked.collections()
    (folder / "a.txt").write_text("The page z.")
    assert linked.collections() != before


def test_a_file_written_just_now_is_not_known_by_its_stamp(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "_SETTLED_NANOSECONDS", 60_000_000_000)
    source(folder).collections()
    hashed.clear()
    source(folder).collections()
    assert len(hashed) == 3


def test_where_nothing_tells_the_bytes_do() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/told/a.txt", b"The page a.")
    assert stamps.stamp(memory, "/told/a.txt") is None
    told = Files("memory://told", columns_from({}), 10_000)
    before, stamp = told.collections(), told.stamp()
    memory.pipe("/told/a.txt", b"The page b.")
    assert told.collections() != before
    assert told.stamp() != stamp


@pytest.mark.parametrize(
    ("info", "stamp"),
    [
        ({"size": 3, "ETag": '"x"', "type": "file"}, '3 ETag="x"'),
        ({"size": 3, "LastModified": "2026-01-01"}, "3 LastModified=2026-01-01"),
        ({"size": 3, "created": 5.0}, None),
    ],
)
def test_what_a_server_says(info: dict[str, object], stamp: str | None) -> None:
    class Server:
        protocol = ("s3", "s3a")

        def info(self, path: str) -> dict[str, object]:
            return info

    assert stamps.stamp(Server(), "/bucket/x") == stamp


class Bucket(MemoryFileSystem):
    """An object store: files have tags, and every listing and every reading is counted."""

    protocol = "bucket"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    calls: ClassVar[list[str]] = []
    find = AbstractFileSystem.find  # of its own it asks no listing

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("bucket://", "memory://")))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return self._tagged(super().info(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        self.calls.append("list")
        listed = [self._tagged(info) for info in super().ls(path, detail=True)]
        return listed if detail else [info["name"] for info in listed]

    def _open(self, path: str, *args: Any, **more: Any) -> Any:
        self.calls.append("open")
        return super()._open(path, *args, **more)

    def _tagged(self, info: dict[str, Any]) -> dict[str, Any]:
        if info["type"] != "file":
            return info
        content = self.store[info["name"]].getvalue()
        return {**info, "ETag": hashlib.md5(content).hexdigest()}  # noqa: S324 - as S3 does


@pytest.fixture
def bucket() -> Bucket:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    store = Bucket(skip_instance_cache=True)
    Bucket.store.clear()
    for number in range(20):
        store.pipe(f"/docs/{number}.txt", f"Text {number}".encode())
    Bucket.calls.clear()
    return store


@pytest.mark.parametrize("pattern", ["bucket://docs", "bucket://docs/*.txt", "bucket://docs/7.txt"])
def test_an_unchanged_bucket_is_listed_and_not_read(bucket: Bucket, pattern: str) -> None:
    source = Files(pattern, columns_from({}), 1_000)
    before = source.stamp(), source.collections()
    assert "open" not in Bucket.calls
    assert Bucket.calls.count("list") <= 4
    assert (source.stamp(), source.collections()) == before
    bucket.pipe("/docs/7.txt", b"Changed")
    assert source.stamp() != before[0]
    assert source.collections() != before[1]
    texts = [row.text for row in source.read(before[1]) if isinstance(row, Document)]
    assert "Changed" in texts


def test_an_error_of_a_client_is_one_line_and_another_is_a_defect(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndpointError(Exception):
        pass

    def fails(*_: object, **__: object) -> None:
        raise EndpointError("cannot connect\nat all")

    monkeypatch.setattr(Bucket, "ls", fails)
    source = Files("bucket://docs", columns_from({}), 1_000)
    with pytest.raises(EndpointError):
        source.collections()
    EndpointError.__module__ = "botocore.exceptions"
    with pytest.raises(SourceError, match=r"^files:bucket://docs: cannot connect\. Check the URL"):
        source.collections()
