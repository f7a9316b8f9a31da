import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_assets.embeddings import encoder as encoder_module
from ml_assets.embeddings.encoder import MANY_TOKENS, load_encoder, load_float32, load_query_encoder
from ml_assets.embeddings.runtimes import speed
from ml_assets.embeddings.runtimes.onnx import Export, onnx_encoder
from ml_assets.embeddings.runtimes.openvino import native_precision, openvino_encoder
from ml_assets.embeddings.runtimes.reference import Precision
from ml_assets.embeddings.runtimes.speed import Speeds, measured_speeds
from ml_assets.embeddings.space import current_model
from ml_assets.errors import StoreError
from ml_assets.settings import load_settings
from ml_assets_tests.embeddings.corpus import TEXTS

MODEL = current_model(load_settings())

FASTER = Speeds(
    onnx_seconds=3, openvino_seconds=1, load_seconds=6, worst_cosine=0.9999, tokens=1000
)


def share_export(source: Path, home: Path) -> None:
    (home / "models").symlink_to(source / "models")


@pytest.mark.parametrize(("precision", "worst"), [("float32", 0.999999), ("bfloat16", 0.9995)])
def test_it_agrees_with_onnx_runtime(
    exported: tuple[Path, Export], precision: Precision, worst: float
) -> None:
    path = exported[1].path
    fast, exact = openvino_encoder(MODEL, path, precision), onnx_encoder(MODEL, path)
    texts = [*TEXTS, *(f"{text[:20]} number {n}" for n in range(40) for text in TEXTS)]
    vectors = fast.encode(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.sum(vectors * exact.encode(texts), axis=1).min() >= worst
    assert fast.encode([]).shape == (0, 384)


def test_the_order_of_texts_does_not_matter(exported: tuple[Path, Export]) -> None:
    encoder = openvino_encoder(MODEL, exported[1].path, "float32")
    texts = [f"{'word ' * (n * 7 % 100)}{n}" for n in range(60)]
    forward, backward = encoder.encode(texts), encoder.encode(texts[::-1])
    np.testing.assert_allclose(forward, backward[::-1], atol=2e-6)


def test_an_encoder_goes_on_after_it_was_interrupted(exported: tuple[Path, Export]) -> None:
    """Batches that were under way are waited for: a request cannot be started twice."""
    run = openvino_encoder(MODEL, exported[1].path, "float32")._run
    batch = np.ones((4, 16), dtype=np.int64), np.ones((4, 16), dtype=np.int64)
    for _ in range(20):
        states = run([batch] * 10)
        next(states)
        states.close()
    assert len(list(run([batch] * 10))) == 10


def test_the_faster_way_is_measured_once_on_each_processor(
    tmp_path: Path, exported: tuple[Path, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported[1].path
    exact, fast = onnx_encoder(MODEL, path), openvino_encoder(MODEL, path, "float32")
    assert not fast.loaded
    measured = measured_speeds(MODEL, tmp_path, "float32", exact, fast)
    assert fast.loaded
    assert measured.worst_cosine == pytest.approx(1, abs=1e-5)
    assert min(measured.onnx_seconds, measured.openvino_seconds, measured.load_seconds) > 0
    assert measured.tokens > 1000
    monkeypatch.setattr(speed, "_measure", lambda *_: pytest.fail("measured again"))
    assert measured_speeds(MODEL, tmp_path, "float32", exact, fast) == measured


def test_many_tokens_go_where_they_end_sooner(
    tmp_path: Path, exported: tuple[Path, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    share_export(exported[0], tmp_path)
    settings = load_settings(home=tmp_path)
    monkeypatch.setattr(encoder_module, "measured_speeds", lambda *_: FASTER)
    exact, fast = load_encoder(settings), load_encoder(settings, tokens=1_000_000)
    assert exact is not fast
    assert load_encoder(settings, tokens=MANY_TOKENS - 1) is exact
    assert load_float32(settings) is exact
    assert load_encoder(load_settings(home=tmp_path, encoder="onnx"), 1_000_000) is exact
    slower = replace(FASTER, openvino_seconds=4)
    monkeypatch.setattr(encoder_module, "measured_speeds", lambda *_: slower)
    assert load_encoder(settings, tokens=1_000_000) is exact


def test_queries_go_where_each_alone_ends_sooner(
    tmp_path: Path, exported: tuple[Path, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    share_export(exported[0], tmp_path)
    settings = load_settings(home=tmp_path)
    monkeypatch.setattr(speed, "_measure", lambda *_: FASTER)
    fast = load_query_encoder(settings)
    exact = load_query_encoder(load_settings(home=tmp_path, encoder="onnx"))
    assert fast is not exact
    assert load_query_encoder(settings) is fast
    queries = ["how are options parsed", "a"]
    assert (fast.encode_queries(queries) * exact.encode_queries(queries)).sum(1).min() > 0.9995
    alone = fast.encode_queries(queries[:1])
    assert (alone * exact.encode_queries(queries[:1])).sum() > 0.9995
    (kept,) = (tmp_path / "models").glob("*-queries-*.json")
    kept.unlink()
    little = replace(FASTER, openvino_seconds=FASTER.onnx_seconds / (speed.QUERY_GAIN - 0.01))
    monkeypatch.setattr(speed, "_measure", lambda *_: little)
    assert load_query_encoder(settings) is exact


def test_what_encodes_queries_is_measured_with_each_alone(
    tmp_path: Path, exported: tuple[Path, Export]
) -> None:
    path = exported[1].path
    ways = onnx_encoder(MODEL, path, 1), openvino_encoder(MODEL, path, "float32", 1)
    measured = measured_speeds(MODEL, tmp_path, "float32", *ways, queries=True)
    assert measured.worst_cosine == pytest.approx(1, abs=1e-5)
    assert measured.tokens < 1000
    assert measured_speeds(MODEL, tmp_path, "float32", *ways) != measured


def test_of_two_processes_one_measures(
    tmp_path: Path, exported: tuple[Path, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported[1].path
    ways = onnx_encoder(MODEL, path), openvino_encoder(MODEL, path, "float32")

    def measured_beside(*_: object) -> Speeds:
        monkeypatch.setattr(speed, "_PATIENCE", 0.0)
        with pytest.raises(StoreError, match="another process has locked it"):
            measured_speeds(MODEL, tmp_path, "float32", *ways)
        return FASTER

    monkeypatch.setattr(speed, "_measure", measured_beside)
    assert measured_speeds(MODEL, tmp_path, "float32", *ways) == FASTER


@pytest.mark.parametrize("chosen", ["auto", "float32", "bfloat16"])
def test_the_setting_decides_the_precision(
    tmp_path: Path,
    exported: tuple[Path, Export],
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
) -> None:
    asked: list[str] = []

    def measured(_model: object, _home: object, precision: str, *_: object) -> Speeds:
        asked.append(precision)
        return FASTER

    share_export(exported[0], tmp_path)
    monkeypatch.setattr(encoder_module, "measured_speeds", measured)
    load_encoder(load_settings(home=tmp_path, embedding_precision=chosen), 1_000_000)
    assert asked == [native_precision() if chosen == "auto" else chosen]


def test_openvino_wins_when_it_makes_up_for_its_loading_and_is_exact() -> None:
    assert FASTER.openvino_wins(4000)
    assert not FASTER.openvino_wins(3000)
    assert FASTER.openvino_wins(3000, loaded=True)
    assert not replace(FASTER, worst_cosine=0.9994).openvino_wins(4000, loaded=True)
    assert not replace(FASTER, worst_cosine=float("nan")).openvino_wins(4000, loaded=True)
    assert FASTER.openvino_wins_queries
    assert not replace(FASTER, worst_cosine=0.9994).openvino_wins_queries


def test_many_texts_need_no_torch_and_tell_nobody(
    tmp_path: Path, exported: tuple[Path, Export]
) -> None:
    user = tmp_path / "user"
    user.mkdir()
    share_export(exported[0], tmp_path)
    code = (
        "import json, sys; from ml_assets.settings import load_settings;"
        "from ml_assets.embeddings import encoder; from ml_assets.embeddings.runtimes import speed;"
        "always = speed.Speeds(2, 1, 0, 1, 1); encoder.measured_speeds = lambda *_: always;"
        "encoder.load_encoder(load_settings(), 1_000_000).encode(['x'] * 100);"
        "print(json.dumps([name for name, module in sys.modules.items() if module]))"
    )
    environment = {"ML_ASSETS_HOME": str(tmp_path), "HOME": str(user), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    modules = set(json.loads(done.stdout))
    assert "openvino" in modules
    assert not modules & {"torch", "transformers", "sentence_transformers", "openvino_telemetry"}
    assert done.stderr == ""
    assert not list(user.iterdir())
