"""Reranking: a cross-encoder reads the query and each of the first documents together."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.model_files import find_model
from ml_assets.errors import SettingError, first_line
from ml_assets.search.answering.model import Hit, Reranker
from ml_assets.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

VARIABLE = "ML_ASSETS_RERANK_MODEL"


def load_reranker(settings: Settings) -> Reranker | None:
    """The cross-encoder that the settings name, loaded at its first query; None without a name.

    It gives one score per text, in its own units; a text that is too long is cut. It raises a
    SettingError, too, where it cannot be loaded, or gives several scores to a pair.

    Raises:
        SettingError: there is no such model, or it is no cross-encoder.
    """
    return _find(settings.rerank_model) if settings.rerank_model else None


def reranked(reranker: Reranker, query: str, hits: Sequence[Hit], top: int) -> list[Hit]:
    """The first `top` hits in the order of the reranker, before the others."""
    first, others = hits[:top], hits[top:]
    scores = reranker(query, [_read(hit) for hit in first])
    scored = sorted(zip(scores, first, strict=True), key=lambda pair: -pair[0])
    return [*(replace(hit, rerank_score=score) for score, hit in scored), *others]


def _read(hit: Hit) -> str:
    """What the reranker reads of a hit: the headings above its text, and the text."""
    headings = " > ".join(filter(None, (hit.title, *hit.path)))
    return f"{headings}\n{hit.text}".strip()


@lru_cache(maxsize=1)
def _find(name: str) -> Reranker:
    path = find_model(name, VARIABLE, "a cross-encoder")
    kind = _json(path / "config_sentence_transformers.json").get("model_type")
    architectures = map(str, _json(path / "config.json").get("architectures") or [])
    if kind != "CrossEncoder" and not any(
        architecture.endswith("ForSequenceClassification") for architecture in architectures
    ):
        # Loaded all the same, it would get a last layer of random weights.
        raise SettingError(
            f"{name} is not a cross-encoder", where=VARIABLE, do="Set it to one, or unset it"
        )
    return partial(_score, path)


def _score(path: Path, query: str, texts: Sequence[str]) -> list[float]:
    pairs = [(query, text) for text in texts]
    scores = _load(path).predict(pairs, show_progress_bar=False) if pairs else ()
    return [float(score) for score in scores]


@lru_cache(maxsize=1)
def _load(path: Path) -> CrossEncoder:
    """The model, on a GPU if there is one."""
    import transformers
    from sentence_transformers import CrossEncoder

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: CrossEncoder = CrossEncoder(
                str(path),
                local_files_only=True,
                model_kwargs={"use_safetensors": True},  # a pickle could run anything
            )
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{path} cannot be loaded ({first_line(error)})",
            where=VARIABLE,
            do="Set it to the folder of a cross-encoder that is whole",
        ) from None
    if model.num_labels != 1:
        raise SettingError(
            f"{path} gives {model.num_labels} scores to a pair",
            where=VARIABLE,
            do="Set it to a cross-encoder that gives one",
        )
    return model


def _json(file: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
