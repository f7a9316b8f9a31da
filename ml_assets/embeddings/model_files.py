"""What the files of a sentence-transformers model say: its parts, sizes and prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_assets.documents.sources.stamps import file_stamp, is_settled
from ml_assets.errors import SettingError, StoreError, WeightsError
from ml_assets.stores.folders import folder as make_folder
from ml_assets.stores.folders import write_whole

_NO_LIMIT = 1_000_000
"""A tokenizer without a limit names a number beyond this."""

_STATIC_TOKENS = 8192
"""A static model reads any number of tokens."""

STATIC = "static"
"""The pooling of a model that model2vec wrote."""

_OF_TEXTS = ("document", "passage", "corpus")
"""Names of the prompt of texts, the first that a model has, as in sentence-transformers."""


def weight_files(path: Path) -> list[Path]:
    """The weights of all modules of a model, sorted."""
    folders = {path, *modules_of(path).values()}
    return sorted(file for each in folders for file in each.glob("*.safetensors"))


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of the model's `VectorSpace`, but those of its name and weights.

    Raises:
        SettingError: a file of such a model is missing, or does not say enough.
        WeightsError: there is no tokenizer.
    """
    modules = modules_of(path)
    if "StaticEmbedding" in modules:
        of_model2vec = "embeddings" in _shapes(modules["StaticEmbedding"] / "model.safetensors")
        pooling, modes = {"pooling_mode": STATIC if of_model2vec else "mean"}, []
    else:
        pooling = _json(modules.get("Pooling", path / "1_Pooling") / "config.json")
        modes = [mode for mode, on in pooling.items() if on and mode.startswith("pooling_mode")]
    config = _json(path / "config_sentence_transformers.json", {})
    prompts = config.get("prompts") or {}
    usual = prompts.get(config.get("default_prompt_name")) or ""
    texts = next((prompts[kind] for kind in _OF_TEXTS if kind in prompts), usual)
    asked = prompts.get("query", usual)
    return {
        "tokenizer_sha256": files_sha256([path / "tokenizer.json"], path),
        "pooling": pooling.get("pooling_mode") or ",".join(sorted(modes)),
        "max_tokens": _max_tokens(path, modules),
        "normalized": "Normalize" in modules,
        "prompt": texts,
        "dimension": _dimension(path, modules, pooling),
        "query_prompt": None if asked == texts else asked,
    }


def modules_of(path: Path) -> dict[str, Path]:
    """The folder of each kind of module; of two of a kind, that of the last."""
    listed = _json(path / "modules.json")
    return {module["type"].rsplit(".", 1)[-1]: path / module["path"] for module in listed}


def _max_tokens(path: Path, modules: Mapping[str, Path]) -> int:
    """What the model reads, at most: as its files say, in the first of them that does."""
    of_tokenizer = _json(path / "tokenizer_config.json", {}).get("model_max_length")
    positions = _json(path / "config.json", {}).get("max_position_embeddings")
    configured = _json(path / "sentence_bert_config.json", {}).get("max_seq_length")
    known = [int(n) for n in (configured, of_tokenizer, positions) if n and n < _NO_LIMIT]
    if known:
        return known[0]
    if "StaticEmbedding" in modules:
        return _STATIC_TOKENS
    raise SettingError(
        "no file says how many tokens the model reads",
        where=str(path),
        do='Write {"max_seq_length": 512}, or what it is, into its sentence_bert_config.json',
    )


def _dimension(path: Path, modules: Mapping[str, Path], pooling: Mapping[str, Any]) -> int:
    """How many numbers a vector has: those of the last layer."""
    if "Dense" in modules:
        return int(_json(modules["Dense"] / "config.json")["out_features"])
    if "StaticEmbedding" in modules:
        shapes = _shapes(modules["StaticEmbedding"] / "model.safetensors").values()
        return next(shape[1] for shape in shapes if len(shape) == 2)
    return int(pooling.get("word_embedding_dimension") or pooling["embedding_dimension"])


def _shapes(file: Path) -> dict[str, list[int]]:
    """The shape of every tensor of a file."""
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118


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


def files_sha256(files: list[Path], folder: Path, home: Path | None = None) -> str:
    """sha256 of a file, or of those of several, as 64 hex digits; noted in a `home`.

    Raises:
        WeightsError: one is missing, or there is none.
    """
    if not files or not all(file.exists() for file in files):
        missing = files[0].name if files else "*.safetensors"
        do = "Reinstall the model, or set ML_ASSETS_EMBEDDING_MODEL to a folder that is whole"
        raise WeightsError(f"{missing} is missing", where=str(folder), do=do)
    digests = [_noted_sha256(file, home) if home else file_sha256(file) for file in files]
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """sha256 of a file, as 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _noted_sha256(file: Path, home: Path) -> str:
    """sha256 of a file, which is hashed once as long as its file system says that it is the same.

    A process that answers one query would hash for longer than it searches. Whoever writes to a
    file moves its time of change, which nobody can set.
    """
    notes = home / "models" / "hashes.json"
    seen, noted = file_stamp(file), _noted(notes)
    if noted.get(str(file), ["", ""])[0] == seen:
        return str(noted[str(file)][1])
    sha256 = file_sha256(file)
    if home.is_dir() and is_settled(file) and file_stamp(file) == seen:
        with suppress(OSError, StoreError):  # it may be read-only
            make_folder(notes.parent)
            write_whole(notes, json.dumps({**noted, str(file): [seen, sha256]}))
    return sha256


def _noted(notes: Path) -> dict[str, list[str]]:
    """The stamp and the hash of files, by path."""
    try:
        noted: dict[str, list[str]] = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none was noted
        return {}
    return noted
