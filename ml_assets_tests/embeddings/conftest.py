import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.embeddings.runtimes.onnx import Export, export
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings

MODEL = current_model(load_settings())


@pytest.fixture(scope="package")
def reference() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(MODEL, "float32")


@pytest.fixture(scope="package")
def exported(
    reference: SentenceTransformerEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Export]]:
    home = tmp_path_factory.mktemp("onnx")
    yield home, export(MODEL, home, reference)
    shutil.rmtree(home)  # 90 MB
