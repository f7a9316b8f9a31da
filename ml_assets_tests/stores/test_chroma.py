import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.errors import DamagedStoreError, OutageError, StoreError
from ml_assets.stores import chroma
from ml_assets_tests.servers import chroma_over_http
from ml_assets_tests.servers.pages import answering


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    with chroma.connect(None, tmp_path) as client:
        collection = client.create_collection("kept", embedding_function=None)
        collection.add(ids=["a"], embeddings=[[1.0, 0.0]])
    with chroma.connect(None, tmp_path) as client:
        assert client.get_collection("kept", embedding_function=None).count() == 1


OPEN = """
import sys
from pathlib import Path
import chromadb
from ml_assets.stores import chroma
from ml_assets_tests.servers import chroma_over_http
print("ready", flush=True)
sys.stdin.readline()
with chroma.connect(None, Path(sys.argv[1])) as client:
    client.get_or_create_collection("shared", embedding_function=None)
"""


def test_processes_that_open_a_new_folder_at_once_all_succeed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path / "new")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 3


def test_a_collection_is_read_page_by_page_whole_or_by_ids(tmp_path: Path) -> None:
    with chroma.connect(None, tmp_path) as client:
        collection = client.create_collection("kept", embedding_function=None)
        collection.add(ids=["a", "b", "c"], embeddings=[[1.0, 0.0]] * 3)

        def read(ids: list[str] | None = None) -> list[list[str]]:
            return [page["ids"] for page in chroma.pages(collection, [], None, ids, size=1)]

        assert sorted(read()) == [["a"], ["b"], ["c"]]
        # A page of ids that are not there is empty, and the next one follows.
        assert read(["absent", "b"]) == [[], ["b"]]
    assert list(chroma.pages(None, [])) == []


def test_telemetry_is_off(tmp_path: Path) -> None:
    with chroma.connect(None, tmp_path) as client:
        assert client.get_settings().anonymized_telemetry is False


def test_settings_of_the_library_are_read_once_and_no_folder_is_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chroma.connect(None, tmp_path / "first") as client:
        client.create_collection("one", embedding_function=None)
    monkeypatch.setenv("CHROMA_SERVER_HTTP_PORT", "no number")  # whoever reads it fails
    with (
        chroma.connect(None, tmp_path / "second") as second,
        chroma.connect(None, tmp_path / "first") as first,
    ):
        assert [each.name for each in first.list_collections()] == ["one"]
        assert second.list_collections() == []


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://"])
def test_what_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match=r"CHROMA_URL: not a URL"), chroma.connect(url, tmp_path):
        pass


def test_an_unreachable_server_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"CHROMA_URL: Chroma does not answer"),
        chroma.connect("http://ann:secret@127.0.0.1:9", tmp_path),
    ):
        pass


@pytest.fixture
def other_server() -> Iterator[str]:
    """A server that speaks HTTP, and is no Chroma."""
    with answering(lambda *_: (200, b"hello")) as place:
        yield f"http://{place}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_server_that_is_no_chroma_names_the_setting(tmp_path: Path, other_server: str) -> None:
    with pytest.raises(StoreError, match="CHROMA_URL"), chroma.connect(other_server, tmp_path):
        pass


def test_a_damaged_folder_is_named_and_opens_once_it_is_removed(tmp_path: Path) -> None:
    folder = chroma.embedded_folder(tmp_path)
    folder.mkdir()
    (folder / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(DamagedStoreError, match=str(folder)), chroma.connect(None, tmp_path):
            pass
    shutil.rmtree(folder)
    with chroma.connect(None, tmp_path) as client:
        assert client.list_collections() == []


def test_an_unusable_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "chroma").write_text("in the way")
    with pytest.raises(StoreError, match="cannot create"), chroma.connect(None, tmp_path):
        pass


def test_a_copy_of_what_was_cut_short_is_made_anew_and_others_stay(tmp_path: Path) -> None:
    name = f"{chroma.PREFIX}a"
    with (
        chroma.connect(None, tmp_path / "source") as source,
        chroma.connect(None, tmp_path / "target") as target,
    ):
        for client, ids in ((source, ["a", "b"]), (target, ["cut short"])):
            collection = client.create_collection(name, embedding_function=None)
            collection.add(
                ids=ids, embeddings=[[1.0, 0.0]] * len(ids), metadatas=[{"n": 1}] * len(ids)
            )
        source.get_collection(name, embedding_function=None).modify(metadata={"mark": "whole"})
        target.create_collection("another-program", embedding_function=None)
        for _ in range(2):
            chroma.copy_collections(source, target)
            copied = target.get_collection(name, embedding_function=None)
            assert copied.get()["ids"] == ["a", "b"]
            assert copied.get()["metadatas"] == [{"n": 1}] * 2
            assert copied.metadata == {"mark": "whole"}
        copied.modify(metadata={"mark": "another"})
        with pytest.raises(StoreError, match=f"it is not empty: it has the collection {name}"):
            chroma.copy_collections(source, target)
        assert len(target.list_collections()) == 2


@pytest.mark.parametrize(
    "answer",
    [b"<html>404</html>", b'{"detail": "Not Found"}', b"7", b'[{"name": "generation-1"}]', b"[7]"],
)
def test_what_answers_in_the_place_of_chroma_is_no_mark(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """A proxy has pages of its own for what it does not know."""
    monkeypatch.setattr(chroma, "ask", lambda url, path: answer)
    with pytest.raises(OutageError, match="what answers is not Chroma"):
        chroma.mark("http://x")


def test_a_mark_of_a_server_tells_entries_metadata_and_another_collection(tmp_path: Path) -> None:
    name = f"{chroma.PREFIX}x"
    with chroma_over_http(tmp_path) as url, chroma.connect(url, tmp_path) as client:
        marks = [chroma.mark(url)]
        client.create_collection("not-ours", embedding_function=None)
        assert chroma.mark(url) == marks[0]
        for _ in range(2):
            collection = client.create_collection(name, embedding_function=None)
            marks.append(chroma.mark(url))
            collection.add(ids=["a"], embeddings=[[1.0, 0.0]])
            marks.append(chroma.mark(url))
            collection.modify(metadata={"mark": "1", "files": "{}", "more": "x"})
            marks.append(chroma.mark(url))
            assert {chroma.mark(url) for _ in range(8)} == {marks[-1]}  # in whatever order
            client.delete_collection(name)
        assert len({*marks}) == len(marks)
    with pytest.raises(OutageError):
        chroma.mark(url)
