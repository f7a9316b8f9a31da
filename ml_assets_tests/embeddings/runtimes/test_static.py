"""A static model: the bundled model's own vectors of tokens, as model2vec writes them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from model2vec import StaticModel
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from ml_assets.embeddings.encoder import load_encoder, load_float32
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.runtimes.static import StaticEncoder
from ml_assets.embeddings.space import current_chunker, current_model, current_space
from ml_assets.errors import ModelError
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.embeddings.corpus import TEXTS

BUNDLED = current_model(load_settings())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = load_file(BUNDLED.path / "model.safetensors")
    vectors = weights["embeddings.word_embeddings.weight"].astype(np.float32)
    target = tmp_path_factory.mktemp("static")
    tokenizer = Tokenizer.from_file(str(BUNDLED.tokenizer_file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        StaticModel(vectors, tokenizer, normalize=True).save_pretrained(target)
    return target


@pytest.fixture
def static(folder: Path, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, embedding_model=str(folder))


def test_a_static_model_is_run_by_model2vec_alone(static: Settings) -> None:
    space = current_space(static)
    assert (space.pooling, space.dimension, space.normalized) == ("static", 384, True)
    encoder = load_encoder(static)
    assert isinstance(encoder, StaticEncoder)
    assert load_encoder(static) is encoder is load_float32(static)
    assert current_chunker(static).tokens == 220
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


def test_its_vectors_are_those_of_sentence_transformers(static: Settings) -> None:
    texts = [text for text in TEXTS if text.isascii() and text.strip()]
    reference = SentenceTransformerEncoder(current_model(static), "float32").encode(texts)
    cosine = (load_encoder(static).encode(texts) * reference).sum(axis=1)
    assert cosine.min() >= 0.9999


def test_fewer_dimensions_are_the_first_ones(static: Settings) -> None:
    cut = load_encoder(static.model_copy(update={"embedding_dimensions": 64})).encode(TEXTS)
    first = load_encoder(static).encode(TEXTS)[:, :64]
    expected = first / np.linalg.norm(first, axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=1e-6)


def test_a_text_without_a_known_token_has_a_vector_all_the_same(static: Settings) -> None:
    vectors = load_encoder(static).encode(["\U0001f642", "parse arguments"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_an_extra_that_is_missing_is_named(
    static: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(ModelError, match="needs the extra `static`, which is not installed"):
        StaticEncoder(current_model(static)).encode(["x"])
