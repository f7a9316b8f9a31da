"""Prediction: what the champion says about texts that are in no store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.encoder import Encoder
from ml_assets.errors import FeatureViewError, NothingToDoError, SpaceMismatchError
from ml_assets.features.text import text_features
from ml_assets.features.views import DOCUMENT_TEXT, fingerprint, training_views
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.releases import champion
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.examples import model_inputs
from ml_assets.training.families import TRUSTED_TYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame


def predict(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    encoder: Encoder,
    texts: Sequence[str],
) -> list[dict[str, float]]:
    """Return the champion's probabilities of every label, likeliest first, for each text.

    A text is seen as a document would be: its vector, and the features of `document_text`. A title,
    if there is one, is the first line. A long text should be given in pieces, as the encoder reads
    no more of it than its maximum of tokens.

    Raises:
        NothingToDoError: there is no champion.
        SpaceMismatchError: the encoder makes vectors of another space than the champion reads.
        FeatureViewError: the champion needs feature views that the code no longer has.
        StoreError: the model cannot be loaded.
    """
    version = champion(connection)
    if version is None:
        raise NothingToDoError("no model was promoted yet", do="Run `ml-assets run`")
    if not texts:
        return []
    _check(version, encoder)
    model = mlflow.load_model(where, version.uri, TRUSTED_TYPES)
    answers = model.predict_proba(inputs_of(connection, encoder, texts))
    return [_ranked(model.classes_, line) for line in answers]


def inputs_of(connection: postgres.Connection, encoder: Encoder, texts: Sequence[str]) -> DataFrame:
    """The inputs of a model for texts, computed as those of the training set are."""
    import numpy as np

    vectors = encoder.encode(texts)
    nearest = _nearest_distances(connection, encoder.space.space_id, vectors)
    described = [
        {**text_features(text), "nearest_distance": distance}
        for text, distance in zip(texts, nearest, strict=True)
    ]
    names = zip(DOCUMENT_TEXT.columns, DOCUMENT_TEXT.qualified, strict=True)
    features = {
        qualified: np.array([one[column] for one in described], dtype="float64")
        for column, qualified in names
    }
    return model_inputs(texts, features, vectors)


def _check(version: ModelVersion, encoder: Encoder) -> None:
    if version.space_id != encoder.space.space_id:
        raise SpaceMismatchError(
            f"the champion reads vectors of space {version.space_id},"
            f" and the encoder makes those of {encoder.space.space_id}",
            where="ML_ASSETS_EMBEDDING_MODEL",
            do="Set it back, or train and promote a model of the new space",
        )
    if version.feature_views != {view.key: fingerprint(view) for view in training_views()}:
        raise FeatureViewError(
            f"the champion was trained on other versions ({', '.join(version.feature_views)})",
            where="feature views",
            do="Run `ml-assets run` to train on the present ones",
        )


def _nearest_distances(
    connection: postgres.Connection, space_id: str, vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """1 - cosine to the nearest document, shape (len(vectors),); NaN where there is none."""
    import numpy as np

    text = statement("postgres/features/document_vectors")
    best = np.full(len(vectors), np.nan)
    for batch in postgres.read_batches(connection, text, {"space_id": space_id}, binary=True):
        held = np.stack([row[1].to_numpy() for row in batch]).astype(np.float32)
        held /= np.maximum(np.linalg.norm(held, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        best = np.fmax(best, (vectors @ held.T).max(axis=1))
    distances: NDArray[np.float64] = np.clip(1 - best, 0, 2).round(6)
    return distances


def _ranked(labels: Any, probabilities: Any) -> dict[str, float]:
    pairs = zip(map(str, labels), map(float, probabilities), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
