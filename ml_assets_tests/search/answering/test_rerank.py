"""Reranking with a cross-encoder that is built here: no weights come from anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets.embeddings.space import current_model
from ml_assets.errors import SettingError
from ml_assets.search.answering.model import Hit
from ml_assets.search.answering.rerank import load_reranker, reranked
from ml_assets.settings import Settings, load_settings

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*MARKS, "parse", "network", "arguments", "socket", "file"]


def build(folder: Path, scores: int = 1) -> Path:
    """A BERT of one layer and random weights, always the same, that scores pairs of texts."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        num_labels=scores,
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    numbers = {word: number for number, word in enumerate(WORDS)}
    BertTokenizerFast(vocab=numbers).save_pretrained(folder)
    return folder


def of_model(name: object) -> Settings:
    return load_settings(rerank_model=str(name))


def test_none_is_loaded_unless_named(settings: Settings) -> None:
    assert load_reranker(settings) is None


def test_a_cross_encoder_reads_query_and_text_together(tmp_path: Path) -> None:
    reranker = load_reranker(of_model(build(tmp_path / "model")))
    assert reranker is not None
    texts = ["network socket", "parse arguments", "file"]
    scores = reranker("parse", texts)
    assert len(set(scores)) == 3
    assert reranker("parse", texts[::-1]) == pytest.approx(scores[::-1], abs=1e-6)
    assert reranker("network", texts) != pytest.approx(scores, abs=1e-3)
    assert reranker("parse", []) == []
    assert len(reranker("parse", ["network " * 1000])) == 1


def test_it_reads_the_headings_above_a_text() -> None:
    asked: list[str] = []

    def reranker(query: str, texts: Sequence[str]) -> list[float]:
        asked.extend(texts)
        return [0.0] * len(texts)

    hit = Hit("a", "Pumps", None, "manuals", None, 1.0, None, "Turn it off.", "", 0, 0, 12)
    bare = replace(hit, title="", text="Alone.")
    reranked(reranker, "stop", [replace(hit, path=("Safety", "Stop")), hit, bare], 3)
    assert asked == ["Pumps > Safety > Stop\nTurn it off.", "Pumps\nTurn it off.", "Alone."]


def test_what_is_no_cross_encoder_is_refused(tmp_path: Path) -> None:
    embedding_model = current_model(load_settings()).path
    for folder in (embedding_model, tmp_path):
        with pytest.raises(SettingError, match=r"ML_ASSETS_RERANK_MODEL: .* not a cross-encoder"):
            load_reranker(of_model(folder))


def test_a_cross_encoder_of_several_scores_is_refused(tmp_path: Path) -> None:
    reranker = load_reranker(of_model(build(tmp_path / "model", scores=3)))
    assert reranker is not None
    with pytest.raises(SettingError, match="gives 3 scores to a pair"):
        reranker("parse", ["file"])


def test_a_damaged_model_is_a_clear_line(tmp_path: Path) -> None:
    folder = build(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    reranker = load_reranker(of_model(folder))
    assert reranker is not None
    with pytest.raises(SettingError, match=r"RERANK_MODEL: .* cannot be loaded"):
        reranker("parse", ["file"])


def test_a_pickle_of_weights_is_not_loaded(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = build(tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    reranker = load_reranker(of_model(folder))
    assert reranker is not None
    with pytest.raises(SettingError, match=r"RERANK_MODEL: .* cannot be loaded .*safetensors"):
        reranker("parse", ["file"])


def test_a_model_of_modules_says_its_kind(tmp_path: Path) -> None:
    kind = tmp_path / "config_sentence_transformers.json"
    kind.write_text(json.dumps({"model_type": "CrossEncoder"}))
    assert load_reranker(of_model(tmp_path)) is not None


def test_a_model_that_cannot_be_had_is_a_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(name: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError(name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(SettingError, match=r"RERANK_MODEL: .* is not a folder.*cross-enc"):
        load_reranker(of_model("nobody/nothing"))
