"""The hashes of a model's files."""

import hashlib
from pathlib import Path

import pytest

from ml_assets.embeddings import model_files
from ml_assets.embeddings.model_files import files_sha256


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    return file


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_hashed_once_until_it_is_written(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home := tmp_path / "home").mkdir()
    hashed = []

    def count(file: Path) -> str:
        hashed.append(file)
        return _sha256(file.read_bytes())

    monkeypatch.setattr(model_files, "file_sha256", count)
    monkeypatch.setattr(model_files, "is_settled", lambda _: True)
    for _ in range(2):
        assert files_sha256([weights], tmp_path, home) == _sha256(b"weights")
    assert hashed == [weights]
    weights.write_bytes(b"altered")
    for _ in range(2):
        assert files_sha256([weights], tmp_path, home) == _sha256(b"altered")
    assert hashed == [weights, weights]


def test_what_may_be_written_again_at_the_same_time_is_not_noted(
    weights: Path, tmp_path: Path
) -> None:
    (home := tmp_path / "home").mkdir()
    assert files_sha256([weights], tmp_path, home) == _sha256(b"weights")
    assert not list(home.iterdir())


def test_no_home_is_made_for_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "is_settled", lambda _: True)
    assert files_sha256([weights], tmp_path, tmp_path / "home") == _sha256(b"weights")
    assert not (tmp_path / "home").exists()
