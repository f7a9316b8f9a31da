from pathlib import Path

import pytest

from ml_assets.errors import DamagedStoreError
from ml_assets.stores.folders import refusal, write_whole

OF_QUERIES = [
    "error returned from database: (code: 1) too many SQL variables",
    "(code: 1) Expression tree is too large (maximum depth 1000)",
    "Validation error: where: invalid",
]
OF_FILES = ["database disk image is malformed", "An error occurred: hnsw: cannot read segment"]


def test_an_error_of_the_query_is_not_told_as_one_of_the_disk(tmp_path: Path) -> None:
    for said in OF_QUERIES:
        error = refusal(tmp_path, "the folder", ValueError(said))
        assert not isinstance(error, DamagedStoreError)
        assert "does not take this query" in str(error)
        assert "disk" not in error.do
    for said in OF_FILES:
        assert isinstance(refusal(tmp_path, "the folder", ValueError(said)), DamagedStoreError)
    assert "space on its disk" in str(refusal(tmp_path, "the folder", OSError("no")))


def test_a_file_is_the_old_one_until_it_is_the_whole_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "speeds.json"
    write_whole(file, "old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_whole(file, "new")
    assert file.read_text() == "old"
    write_whole(file, "new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]
