"""Files of a Chroma graph that another hand changed are told, and never read in native code."""

import hashlib
import os
from pathlib import Path

import pytest

from ml_assets.errors import DamagedStoreError
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import Doc, fill, put

DOCS = {f"d{n}": Doc(tuple(f"text {n} {piece}" for piece in range(110))) for n in range(10)}
"""So many chunks that Chroma writes its graph out; of less than 1,000 it has none."""


def size(connection: postgres.Connection, settings: Settings, generation: Generation) -> int:
    with Indexes(settings).open(connection, generation, "chroma") as index:
        return index.size()


def sync(connection: postgres.Connection, settings: Settings, generation: Generation) -> int:
    with Indexes(settings).open(connection, generation, "chroma") as index:
        return sync_index(connection, index).delta.touched


def test_altered_files_of_a_graph_are_told(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, DOCS)
    sync(connection, settings, generation)
    for file in sorted(graph(settings.home).iterdir()):
        content = file.read_bytes()
        for damaged in (with_another_bit(content), content[:-1]):
            file.write_bytes(damaged)
            with pytest.raises(DamagedStoreError, match=f"{file.name} is not as it was written"):
                size(connection, settings, generation)
        file.unlink()
        with pytest.raises(DamagedStoreError, match="is not as it was written"):
            size(connection, settings, generation)
        file.write_bytes(content)  # at another time, the same content
        assert size(connection, settings, generation) == 1100

    # What is written since, and built anew, is as it was written.
    put(connection, "d3", Doc(tuple(f"other text {piece}" for piece in range(20))))
    assert sync(connection, settings, generation) == 110
    with Indexes(settings).open(connection, generation, "chroma") as index:
        assert isinstance(index, ChromaIndex)
        index.rebuild()
    assert size(connection, settings, generation) == 1010
    file = graph(settings.home) / "data_level0.bin"
    file.write_bytes(with_another_bit(file.read_bytes()))
    with pytest.raises(DamagedStoreError, match=file.name):
        size(connection, settings, generation)


def test_files_that_were_copied_without_their_times_are_read_once(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(connection, DOCS)
    sync(connection, settings, generation)
    copied = sorted(graph(settings.home).iterdir())
    for file in copied:
        os.utime(file, ns=(1, 1))
    read, digest = [], hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name)
    )
    for _ in range(3):
        assert size(connection, settings, generation) == 1100
    assert sorted(read) == [str(file) for file in copied]


def graph(home: Path) -> Path:
    """The folder of the graph that was written last."""
    return max(home.glob("chroma/*/index_metadata.pickle"), key=os.path.getmtime).parent


def with_another_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_files_are_not_known_while_a_writer_is_at_work(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    """Or after one that was killed: the mark, which says what they were, is off."""
    fill(connection, {"d": Doc(("one",))})
    sync(connection, settings, generation)
    with Indexes(settings).open(connection, generation, "chroma") as index:
        assert isinstance(index, ChromaIndex)
        (collection,) = index._client.list_collections()
        absent = {"files": '{"data_level0.bin": [1, 1, "0"]}'}
        collection.modify(metadata={"mark": "m", **absent})
    with pytest.raises(DamagedStoreError, match=r"data_level0\.bin"):
        size(connection, settings, generation)
    with Indexes(settings).open(connection, generation, "chroma") as index:
        assert isinstance(index, ChromaIndex)
        (collection,) = index._client.list_collections()
        collection.modify(metadata={"mark": "", **absent})
    assert size(connection, settings, generation) == 1
