import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets.embeddings import space as space_module
from ml_assets.embeddings.space import (
    BUNDLED_SHA256,
    VectorSpace,
    current_chunker,
    current_model,
    current_space,
)
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


def described(folder: Path, **config: object) -> VectorSpace:
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return space_module._open.__wrapped__(str(folder)).space


@pytest.mark.parametrize(
    ("prompts", "default", "text", "query"),
    [
        ({"query": "query: ", "passage": "passage: "}, None, "passage: ", "query: "),
        ({"query": "Q ", "document": "D ", "passage": "P "}, None, "D ", "Q "),
        ({"query": "Represent: "}, None, "", "Represent: "),
        ({"query": "query: "}, "query", "query: ", "query: "),
        ({"document": "", "query": ""}, None, "", ""),
        ({"sts": "S "}, None, "", ""),
        ({"sts": "S "}, "sts", "S ", "S "),
    ],
)
def test_prompts_of_queries_and_texts_are_those_of_sentence_transformers(
    copied_model: Path, prompts: dict[str, str], default: str | None, text: str, query: str
) -> None:
    space = described(copied_model, prompts=prompts, default_prompt_name=default)
    assert (space.prompt, space.prompt_of_queries) == (text, query)


def test_settings_override_prompts_and_dimension(copied_model: Path) -> None:
    described(copied_model, prompts={"query": "Q ", "document": "D "})
    settings = of_path(copied_model)
    chosen = settings.model_copy(update={"query_prompt": "ask: ", "embedding_dimensions": 64})
    space = current_space(chosen)
    assert (space.prompt_of_queries, space.dimension) == ("ask: ", 64)
    assert space.space_id != current_space(settings).space_id
    too_many = settings.model_copy(update={"embedding_dimensions": 385})
    with pytest.raises(SettingError, match=r"EMBEDDING_DIMENSIONS: .* gives 384 numbers, not 385"):
        current_space(too_many)


def test_weights_of_every_module_are_part_of_the_space(copied_model: Path) -> None:
    modules = json.loads((copied_model / "modules.json").read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (copied_model / "modules.json").write_text(json.dumps([*modules, dense]))
    (copied_model / "3_Dense").mkdir()
    (copied_model / "3_Dense" / "config.json").write_text(
        '{"in_features": 384, "out_features": 96}'
    )
    (copied_model / "3_Dense" / "model.safetensors").write_bytes(b"one")
    first = described(copied_model)
    assert first.dimension == 96
    (copied_model / "3_Dense" / "model.safetensors").write_bytes(b"two")
    assert described(copied_model).space_id != first.space_id


def test_the_most_tokens_are_in_the_first_file_that_says_so(copied_model: Path) -> None:
    (copied_model / "sentence_bert_config.json").write_text(
        "{}"
    )  # as sentence-transformers 6 saves
    assert described(copied_model).max_tokens == 512
    (copied_model / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    assert described(copied_model).max_tokens == 128
    (copied_model / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    (copied_model / "config.json").write_text("{}")
    with pytest.raises(SettingError, match="no file says how many tokens"):
        described(copied_model)


def test_the_bundled_space_is_what_it_was_before_prompts_of_queries(settings: Settings) -> None:
    assert current_space(settings).space_id == "9455891d1f17db5a"
    assert "query_prompt" not in current_space(settings).definition
