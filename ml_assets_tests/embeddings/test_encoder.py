import subprocess
import sys

import numpy as np
import pytest

from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings
from ml_assets_tests.embeddings.corpus import TEXTS


@pytest.fixture(scope="module")
def exact() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(current_model(load_settings()), "float32")


def test_vectors_have_the_shape_type_and_norm(exact: SentenceTransformerEncoder) -> None:
    vectors = exact.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert exact.encode([]).shape == (0, 384)


def test_the_default_precision_agrees_with_float32(
    exact: SentenceTransformerEncoder,
) -> None:
    chosen = load_encoder(load_settings(encoder="sentence-transformers"))
    cosine = np.sum(chosen.encode(TEXTS) * exact.encode(TEXTS), axis=1)
    assert cosine.min() >= 0.9995


def test_meaning_is_near(exact: SentenceTransformerEncoder) -> None:
    query, near, far = exact.encode(
        [
            "parse command line arguments",
            "Object for parsing command line strings.",
            "Open a socket.",
        ]
    )
    assert query @ near > query @ far + 0.2


def test_describing_a_model_imports_no_heavy_library() -> None:
    code = (
        "import sys; from ml_assets.settings import load_settings;"
        "from ml_assets.embeddings.space import current_space;"
        "current_space(load_settings());"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
