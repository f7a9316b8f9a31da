import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_assets.embeddings import encoder as encoder_module
from ml_assets.embeddings.encoder import load_encoder, preload
from ml_assets.embeddings.runtimes.batching import BatchingEncoder
from ml_assets.embeddings.runtimes.onnx import (
    VERSION,
    Export,
    export,
    export_apart,
    find_export,
    onnx_encoder,
)
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import ModelFolder, current_model
from ml_assets.errors import ModelError
from ml_assets.settings import load_settings
from ml_assets_tests.embeddings.corpus import TEXTS

MODEL = current_model(load_settings())


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

    monkeypatch.setattr("ml_assets.embeddings.runtimes.onnx._worst_cosine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(MODEL, tmp_path, reference)
    assert find_export(MODEL, tmp_path) is None
    assert not list(tmp_path.glob("**/*.tmp"))


def test_torch_is_needed_only_beside_the_process_that_exports(tmp_path: Path) -> None:
    code = (
        "import sys; from ml_assets.settings import load_settings;"
        "from ml_assets.embeddings.encoder import load_encoder;"
        "print(load_encoder(load_settings()).encode(['x']).shape);"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])"
    )
    environment = {"ML_ASSETS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines() == ["(1, 384)", "[]"]
    made = find_export(MODEL, tmp_path)
    assert made
    assert made.usable


def test_a_process_that_ends_without_an_export_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    for lines, said in (("exit 3", "it ended with 3"), ("echo No memory >&2; exit 1", "No memory")):
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))
        with pytest.raises(ModelError, match=rf"cannot be exported \({said}\).*ML_ASSETS_ENCODER"):
            export_apart(MODEL, tmp_path / "home")


def test_what_was_exported_is_loaded_ahead_and_nothing_is_exported_for_that(
    tmp_path: Path, exported: tuple[Path, Export]
) -> None:
    shutil.copytree(exported[0], tmp_path / "home")
    settings = load_settings(home=tmp_path / "home")
    preload(settings)
    encoder = load_encoder(settings)
    assert isinstance(encoder, BatchingEncoder)
    assert encoder.loaded
    preload(load_settings(home=tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


def test_the_setting_and_a_gpu_choose_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load_settings(home=tmp_path, encoder="sentence-transformers")
    assert isinstance(load_encoder(chosen), SentenceTransformerEncoder)
    monkeypatch.setattr(encoder_module, "_has_gpu", lambda: True)
    assert isinstance(load_encoder(load_settings(home=tmp_path)), SentenceTransformerEncoder)


def test_a_model_without_a_usable_export_runs_on_the_reference(tmp_path: Path) -> None:
    record = tmp_path / "models" / f"{MODEL.space.space_id}-{VERSION}.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"worst_cosine": 0.5, "reason": "its vectors differ"}))
    chosen = load_encoder(load_settings(home=tmp_path, embedding_precision="float32"))
    assert isinstance(chosen, SentenceTransformerEncoder)


@pytest.mark.parametrize("part", [0, 1], ids=["graph", "weights"])
def test_a_model_file_that_was_not_verified_is_made_again(
    tmp_path: Path, exported: tuple[Path, Export], part: int
) -> None:
    shutil.copytree(exported[0], tmp_path, dirs_exist_ok=True)
    found = find_export(MODEL, tmp_path)
    assert found is not None
    assert found.usable
    assert found.files[0].stat().st_size < 1_000_000 < found.files[1].stat().st_size
    found.files[part].write_bytes(b"truncated")
    assert find_export(MODEL, tmp_path) is None
    found.files[part].unlink()
    assert find_export(MODEL, tmp_path) is None


def test_the_export_of_an_earlier_version_is_removed(
    tmp_path: Path, reference: SentenceTransformerEncoder
) -> None:
    older = tmp_path / "models" / f"{MODEL.space.space_id}-1.onnx"
    older.parent.mkdir()
    older.write_bytes(b"whole")
    made = export(MODEL, tmp_path, reference)
    assert sorted(older.parent.glob("*.onnx")) == [made.path]
