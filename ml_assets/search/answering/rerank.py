"""Reranking: a cross-encoder reads the query and each of the first documents together."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.space import find_model
from ml_assets.errors import SettingError
from ml_assets.search.answering.model import Hit, Reranker
from ml_assets.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

VARIABLE = "ML_ASSETS_RERANK_MODEL"


def load_reranker(settings: Settings) -> Reranker | None:
    """The cross-encoder that the settings name; None when they name none.

    Raises:
        SettingError: there is no such model, or it is no cross-encoder.
    """
    return _find(settings.rerank_model) if settings.rerank_model else None


def reranked(
    reranker: Reranker, query: str, hits: Sequence[tuple[Hit, str]], top: int
) -> list[tuple[Hit, str]]:
    """The first `top` hits in the order of the reranker, before the others; each with its text."""
    first, others = hits[:top], hits[top:]
    scores = reranker.score(query, [f"{hit.title}\n{text}".strip() for hit, text in first])
    scored = sorted(zip(scores, first, strict=True), key=lambda pair: -pair[0])
    return [*((replace(hit, rerank_score=score), text) for score, (hit, text) in scored), *others]


class CrossEncoderReranker:
    """A sentence-transformers CrossEncoder of one score, on a GPU if there is one."""

    def __init__(self, path: Path) -> None:
        """Name the folder of the model; it is loaded at the first query."""
        self._path = path

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in the model's own units; a text that is too long is cut.

        Raises:
            SettingError: the model cannot be loaded, or gives several scores to a pair.
        """
        pairs = [(query, text) for text in texts]
        scores = self._model.predict(pairs, show_progress_bar=False) if pairs else ()
        return [float(score) for score in scores]

    @cached_property
    def _model(self) -> CrossEncoder:
        import transformers
        from sentence_transformers import CrossEncoder

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model: CrossEncoder = CrossEncoder(str(self._path), local_files_only=True)
        except (OSError, ValueError) as error:
            raise SettingError(
                f"{self._path} cannot be loaded ({str(error).splitlines()[0]})",
                where=VARIABLE,
                do="Set it to the folder of a cross-encoder that is whole",
            ) from None
        if model.num_labels != 1:
            raise SettingError(
                f"{self._path} gives {model.num_labels} scores to a pair",
                where=VARIABLE,
                do="Set it to a cross-encoder that gives one",
            )
        return model


@lru_cache(maxsize=1)
def _find(name: str) -> CrossEncoderReranker:
    path = find_model(name, VARIABLE, "a cross-encoder")
    if not _is_cross_encoder(path):
        # Loaded all the same, it would get a last layer of random weights.
        raise SettingError(
            f"{name} is not a cross-encoder", where=VARIABLE, do="Set it to one, or unset it"
        )
    return CrossEncoderReranker(path)


def _is_cross_encoder(path: Path) -> bool:
    kind = _json(path / "config_sentence_transformers.json").get("model_type")
    architectures = _json(path / "config.json").get("architectures") or []
    return kind == "CrossEncoder" or any(
        str(name).endswith("ForSequenceClassification") for name in architectures
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
