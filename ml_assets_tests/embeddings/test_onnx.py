import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_assets.embeddings import encoder as encoder_module
from ml_assets.embeddings import speed
from ml_assets.embeddings.encoder import load_encoder, load_float32
from ml_assets.embeddings.onnx import Export, export, find_export, onnx_encoder
from ml_assets.embeddings.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import ModelFolder, current_model
from ml_assets.embeddings.speed import Speeds, measured_speeds
from ml_assets.embeddings.transformer import native_precision, torch_encoder
from ml_assets.settings import load_settings
from ml_assets_tests.embeddings.test_encoder import TEXTS

MODEL = current_model(load_settings())


@pytest.fixture(scope="module")
def reference() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(MODEL, "float32")


@pytest.fixture(scope="module")
def exported(
    reference: SentenceTransformerEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Export]]:
    home = tmp_path_factory.mktemp("onnx")
    yield home, export(MODEL, home, reference)
    shutil.rmtree(home)  # 90 MB


def test_an_export_agrees_with_the_reference(
    exported: tuple[Path, Export], reference: SentenceTransformerEncoder
) -> None:
    home, made = exported
    assert made.usable
    assert find_export(MODEL, home) == made
    vectors = onnx_encoder(MODEL, made.path).encode(TEXTS)
    assert vectors.dtype == np.float32
    cosine = np.sum(vectors * reference.encode(TEXTS), axis=1)
    assert cosine.min() >= 0.9999
    assert onnx_encoder(MODEL, made.path).encode([]).shape == (0, 384)


def test_the_order_of_texts_does_not_matter(exported: tuple[Path, Export]) -> None:
    encoder = onnx_encoder(MODEL, exported[1].path)
    texts = [f"{'word ' * (n % 7)}{n}" for n in range(20)]
    forward, backward = encoder.encode(texts), encoder.encode(texts[::-1])
    np.testing.assert_allclose(forward, backward[::-1], atol=2e-6)


def test_vectors_that_differ_are_never_used(
    tmp_path: Path, reference: SentenceTransformerEncoder
) -> None:
    class Other(SentenceTransformerEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return -reference.encode(texts)

    verdict = export(MODEL, tmp_path, Other(MODEL, "float32"))
    assert not verdict.usable
    assert verdict.reason == "its vectors differ, cosine -1.00000"
    assert find_export(MODEL, tmp_path) == verdict


def test_another_pooling_is_left_to_the_reference(
    tmp_path: Path, reference: SentenceTransformerEncoder
) -> None:
    other = ModelFolder(MODEL.path, replace(MODEL.space, pooling="pooling_mode_cls_token"))
    verdict = export(other, tmp_path, reference)
    assert verdict.reason.startswith("only normalised mean pooling is exported")
    assert not list(tmp_path.glob("**/*.onnx"))


def test_an_interrupted_export_leaves_no_verdict(
    tmp_path: Path, reference: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("ml_assets.embeddings.onnx._worst_cosine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(MODEL, tmp_path, reference)
    assert find_export(MODEL, tmp_path) is None
    assert not list(tmp_path.glob("**/*.tmp"))


def test_a_second_process_needs_no_torch(exported: tuple[Path, Export]) -> None:
    code = (
        "import sys; from ml_assets.settings import load_settings;"
        "from ml_assets.embeddings.encoder import load_encoder;"
        "load_encoder(load_settings()).encode(['x']);"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])"
    )
    environment = {"ML_ASSETS_HOME": str(exported[0]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_the_setting_and_a_gpu_choose_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load_settings(home=tmp_path, encoder="sentence-transformers")
    assert isinstance(load_encoder(chosen), SentenceTransformerEncoder)
    monkeypatch.setattr(encoder_module, "_has_gpu", lambda: True)
    assert isinstance(load_encoder(load_settings(home=tmp_path)), SentenceTransformerEncoder)


def test_a_model_without_a_usable_export_runs_on_the_reference(tmp_path: Path) -> None:
    record = tmp_path / "models" / f"{MODEL.space.space_id}-1.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"worst_cosine": 0.5, "reason": "its vectors differ"}))
    chosen = load_encoder(load_settings(home=tmp_path, embedding_precision="float32"))
    assert isinstance(chosen, SentenceTransformerEncoder)


def test_a_model_file_that_was_not_verified_is_made_again(
    tmp_path: Path, exported: tuple[Path, Export]
) -> None:
    shutil.copytree(exported[0], tmp_path, dirs_exist_ok=True)
    found = find_export(MODEL, tmp_path)
    assert found is not None
    assert found.usable
    found.path.write_bytes(b"truncated")
    assert find_export(MODEL, tmp_path) is None
    found.path.unlink()
    assert find_export(MODEL, tmp_path) is None


def test_torch_in_the_native_precision_agrees_with_float32(
    reference: SentenceTransformerEncoder,
) -> None:
    fast = torch_encoder(MODEL, native_precision())
    cosine = np.sum(fast.encode(TEXTS) * reference.encode(TEXTS), axis=1)
    assert cosine.min() >= speed.MIN_COSINE


def test_the_faster_way_is_measured_once_on_each_processor(
    tmp_path: Path, exported: tuple[Path, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = onnx_encoder(MODEL, exported[1].path)
    measured = measured_speeds(MODEL, tmp_path, "float32", exact, exact)
    assert measured.worst_cosine == pytest.approx(1, abs=1e-5)
    assert measured.onnx_seconds > 0 < measured.torch_seconds
    assert measured.tokens > 1000
    monkeypatch.setattr(speed, "_measure", lambda *_: pytest.fail("measured again"))
    assert measured_speeds(MODEL, tmp_path, "float32", exact, exact) == measured


def test_many_tokens_go_where_they_end_sooner(
    tmp_path: Path, exported: tuple[Path, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported[0], tmp_path, dirs_exist_ok=True)
    settings = load_settings(home=tmp_path)
    torch_is_faster = Speeds(onnx_seconds=3, torch_seconds=1, worst_cosine=0.9999, tokens=1000)
    monkeypatch.setattr(encoder_module, "measured_speeds", lambda *_: torch_is_faster)
    exact, fast = load_encoder(settings), load_encoder(settings, tokens=1_000_000)
    assert exact is not fast
    assert load_encoder(settings, tokens=10_000) is exact
    assert load_float32(settings) is exact
    assert load_encoder(load_settings(home=tmp_path, encoder="onnx"), 1_000_000) is not fast


def test_torch_wins_when_it_makes_up_for_its_loading_and_is_exact() -> None:
    speeds = Speeds(onnx_seconds=3, torch_seconds=1, worst_cosine=0.9999, tokens=1000)
    assert speeds.torch_wins(4000, load_seconds=6)
    assert not speeds.torch_wins(3000, load_seconds=6)
    assert speeds.torch_wins(3000, load_seconds=0)
    assert not replace(speeds, worst_cosine=0.9994).torch_wins(4000, load_seconds=0)
