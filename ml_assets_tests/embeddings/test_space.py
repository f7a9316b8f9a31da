import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets.embeddings import space as space_module
from ml_assets.embeddings.space import BUNDLED_SHA256, current_chunker, current_model, current_space
from ml_assets.errors import SettingError, WeightsError
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.fakes import SPACE


@pytest.fixture
def copied_model(tmp_path: Path) -> Path:
    """The bundled model without its weights, which are a few bytes here."""
    bundled = current_model(load_settings()).path
    target = tmp_path / "model"
    shutil.copytree(bundled, target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "model.safetensors").write_bytes(b"other weights")
    return target


def of_path(path: Path) -> Settings:
    return load_settings(embedding_model=str(path))


def test_the_default_is_the_bundled_minilm(settings: Settings) -> None:
    space = current_space(settings)
    assert (space.dimension, space.max_tokens, space.normalized) == (384, 256, True)
    assert space.weights_sha256 == BUNDLED_SHA256
    assert len(space.space_id) == 16


def test_the_id_follows_every_field_but_the_name() -> None:
    changes = [
        {"weights_sha256": "1" * 64},
        {"tokenizer_sha256": "1" * 64},
        {"pooling": "cls"},
        {"max_tokens": 128},
        {"normalized": False},
        {"prompt": "query: "},
        {"dimension": 8},
    ]
    ids = {replace(SPACE, **change).space_id for change in changes}  # type: ignore[arg-type]
    assert len(ids | {SPACE.space_id}) == len(changes) + 1
    assert replace(SPACE, model="renamed").space_id == SPACE.space_id


def test_other_weights_are_another_space(copied_model: Path, settings: Settings) -> None:
    assert current_space(of_path(copied_model)).space_id != current_space(settings).space_id


def test_wrong_bundled_weights_are_refused(
    copied_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space_module._open.cache_clear()
    monkeypatch.setattr(space_module, "_bundled_folder", lambda: copied_model)
    with pytest.raises(WeightsError, match=r"have sha256 .*, not 53aa51172d14.*Reinstall gt-all"):
        current_space(load_settings())
    space_module._open.cache_clear()


def test_a_folder_without_a_part_is_named(copied_model: Path) -> None:
    (copied_model / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"\*\.safetensors is missing"):
        current_space(of_path(copied_model))
    (copied_model / "modules.json").unlink()
    (copied_model / "model.safetensors").write_bytes(b"x")
    with pytest.raises(SettingError, match=r"modules\.json is missing"):
        space_module._open.__wrapped__(str(copied_model))


def test_a_model_that_cannot_be_had_is_a_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(name: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError(name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(SettingError, match=r"ML_ASSETS_EMBEDDING_MODEL: .* is not a folder"):
        current_space(load_settings(embedding_model="nobody/nothing"))


def test_a_prompt_is_part_of_the_space(copied_model: Path) -> None:
    before = current_space(of_path(copied_model)).space_id
    config = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (copied_model / "config_sentence_transformers.json").write_text(json.dumps(config))
    assert space_module._open.__wrapped__(str(copied_model)).space.space_id != before


def test_a_chunker_is_made_once_for_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert current_chunker(settings) is current_chunker(Settings(home=tmp_path / "other"))
    shorter = current_chunker(settings.model_copy(update={"chunk_tokens": 100}))
    assert shorter.tokens == 100
    apart = current_chunker(settings.model_copy(update={"chunk_overlap": 10}))
    assert apart.overlap == 10
