"""Serving: what the champion says about texts that are in no store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from math import isnan
from typing import TYPE_CHECKING, Any

from ml_assets.documents.history import last_change
from ml_assets.documents.normalize import normalize
from ml_assets.errors import (
    FeatureViewError,
    NothingToDoError,
    SourceError,
    SpaceMismatchError,
    UserError,
)
from ml_assets.features.documents import read_vectors, text_hashes
from ml_assets.features.neighbours import nearest_distances
from ml_assets.features.requests import Described, Read, describe_rows
from ml_assets.features.views import training_views, views_for
from ml_assets.registry.decisions import challenger_standing
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.versions import current_challenger, read_version
from ml_assets.releases.pointer import Release, present_release
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes.kinds import Indexes, kept_by_tables
from ml_assets.search.model import Generation
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.cache import Kind, ReadThrough
from ml_assets.training.examples import model_inputs
from ml_assets.training.families.registry import TRUSTED_TYPES
from ml_assets.training.model import Candidate
from ml_assets.training.onnx.model import FILE, OnnxModel
from ml_assets.training.training_set import untrainable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.encoder import Encoder


CACHED = "predictions"
"""The kind of values that a cache has of answers. They hold no text."""

_CANDIDATES = 50
"""Chunks near a text whose documents are compared with it: the mean of a document's vectors may be
nearer than any chunk of it is."""


def predict_texts(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    indexes: Indexes,
    space_id: str,
    load: Callable[[], Encoder],
    cut: Callable[[str], list[str]],
    inputs: Inputs,
    cache: ReadThrough | None = None,
    seconds: float = 0,
) -> ServedPredictions:
    """Return what the champion says of each text.

    The encoder is of `space_id`; `cut` makes chunks of a text. The nearest document is looked for
    in the `indexes` of the served search. What the version answered about a text is kept in the
    `cache` for so many seconds, or until another search is published or a document changes.

    Raises:
        NothingToDoError: there is no champion.
        SpaceMismatchError: the champion reads vectors of another space.
        FeatureViewError: the champion needs feature views that the code no longer has.
        StoreError: a store does not answer, or the model cannot be loaded.
    """
    release, version = _served(connection, space_id)
    generation = published_generation(connection)
    opened = Answering(version, lambda: _kept(where, version), generation, _place(where))
    predictions = predict_with(connection, indexes, opened, load, cut, inputs, cache, seconds)
    return ServedPredictions(release.release_id, version, predictions)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts, normalised, with their features but those of other documents; see `inputs_of`."""

    texts: list[str]
    described: Described


def inputs_of(
    texts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None, read: Read
) -> Inputs:
    """What a model reads of texts; `metadata`, of each text, name entities, as in `author_id`.

    Of these the latest online values are taken. What is not known of an entity, or does not hold
    any more, is null, as it is in training: the median takes its place.

    Raises:
        SourceError: a text is empty.
        UserError: there are not as many metadata as texts.
        FeatureViewError: a function of the user's own fails.
        StoreError: the online store cannot be used.
    """
    given: Sequence[Mapping[str, Any]] = [{} for _ in texts] if metadata is None else metadata
    if len(given) != len(texts):
        raise UserError(
            f"there are metadata of {len(given)} texts, and {len(texts)} texts",
            do="Give those of each text, {} where there are none",
        )
    normal = [_normal(text, number) for number, text in enumerate(texts, 1)]
    rows = [{**own, "title": "", "text": text} for text, own in zip(normal, given, strict=True)]
    return Inputs(normal, describe_rows(views_for("training"), rows, read))


@dataclass(frozen=True, slots=True)
class Prediction:
    """The probability of every label, likeliest first, and the features that it was told from.

    A feature is None where there is nothing to tell it from; `unknown` says, by the name of a view,
    why there are no values of the text's author, say.
    """

    probabilities: dict[str, float]
    features: Mapping[str, float | None]
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServedPredictions:
    """Predictions, in the order of the texts, of a version as it was served by a release."""

    release_id: int
    version: ModelVersion
    predictions: list[Prediction]


@dataclass(frozen=True, slots=True)
class Answering:
    """A version, what gives its model, and the generation in which neighbours are sought.

    `place`: where the files of models lie.
    """

    version: ModelVersion
    model: Callable[[], Any]
    generation: Generation | None
    place: str


def open_version(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    version: ModelVersion,
    generation: Generation | None,
    space_id: str,
) -> Answering:
    """Load a version that is to answer with vectors of `space_id`.

    Raises:
        SpaceMismatchError: it reads vectors of another space.
        FeatureViewError: it needs feature views that the code no longer has.
        StoreError: MLflow does not answer, or the model cannot be loaded.
    """
    _check(version, space_id)
    model = _kept(where, version)
    return Answering(version, lambda: model, generation, _place(where))


def _place(where: mlflow.Tracking) -> str:
    return str(where.artifacts or where.uri)


def predict_with(
    connection: postgres.Connection,
    indexes: Indexes,
    opened: Answering,
    load: Callable[[], Encoder],
    cut: Callable[[str], list[str]],
    inputs: Inputs,
    cache: ReadThrough | None = None,
    seconds: float = 0,
) -> list[Prediction]:
    """What an opened version says of each text; see `predict_texts`.

    Raises:
        StoreError: a store does not answer.
    """
    texts, described = inputs.texts, inputs.described
    if not texts:
        return []

    def compute(places: Sequence[int]) -> list[Prediction]:
        asked = [texts[place] for place in places]
        vectors = _embed(load(), [cut(text) or [text] for text in asked])
        vectors, nearest = _placed(
            connection, indexes, opened.generation, version.space_id, vectors, asked
        )
        features = _features(described, places, nearest)
        labels, given = answer(opened.model(), asked, features, vectors)
        return [
            Prediction(
                _ranked(labels, row),
                {
                    name: None if isnan(values[number]) else float(values[number])
                    for name, values in features.items()
                },
                described.unknown[place],
            )
            for number, (place, row) in enumerate(zip(places, given, strict=True))
        ]

    version, generation = opened.version, opened.generation
    if cache is None or not seconds:
        return compute(range(len(texts)))
    corpus = f"{generation and generation.generation_id} {last_change(connection)}"
    # Another tracking server has other files under the same name, or none.
    answering = (version.subject, version.candidate.served_uri, opened.place, corpus)
    names: list[tuple[str, ...]] = [
        (*answering, json.dumps([values[place] for values in described.values.values()]), text)
        for place, text in enumerate(texts)
    ]
    kind = Kind(CACHED, seconds)
    recalled = zip(names, cache.recall(kind, names), strict=True)
    known = {name: json.loads(stored) for name, stored in recalled if stored is not None}
    if missing := {name: place for place, name in enumerate(names) if name not in known}:
        computed = zip(missing, compute([*missing.values()]), strict=True)
        fresh = {name: [given.probabilities, given.features] for name, given in computed}
        cache.remember(kind, {name: json.dumps(given).encode() for name, given in fresh.items()})
        known |= fresh
    # Why something is not known may change while it is not known.
    pairs = zip(names, described.unknown, strict=True)
    return [Prediction(known[name][0], known[name][1], unknown) for name, unknown in pairs]


def served_version(connection: postgres.Connection, space_id: str) -> ModelVersion:
    """The champion, which answers with vectors of `space_id`.

    Raises:
        NothingToDoError: there is none.
        SpaceMismatchError: it reads vectors of another space.
        FeatureViewError: it needs feature views that the code no longer has.
    """
    return _served(connection, space_id)[1]


def _served(connection: postgres.Connection, space_id: str) -> tuple[Release, ModelVersion]:
    release = present_release(connection)
    number = release.parts.model_version if release else None
    version = None if number is None else read_version(connection, number)
    if release is None or version is None:
        raise _nothing_served(connection)
    _check(version, space_id)
    return release, version


def answer(
    model: Any,
    texts: Sequence[str],
    features: Mapping[str, NDArray[np.float64]],
    vectors: NDArray[np.float32],
) -> tuple[list[str], NDArray[np.floating]]:
    """The labels that a model knows, and its probabilities, (len(texts), len(labels)).

    The only way from a loaded model to an answer, for `predict` and for the gates: what is measured
    is what is served, with the labels that have left the training set.
    """
    if isinstance(model, OnnxModel):
        return model.labels, model.predict_proba(texts, features, vectors)

    from threadpoolctl import threadpool_limits

    # On a busy machine two threads are several times slower than one.
    with threadpool_limits(1):
        given = model.predict_proba(model_inputs(texts, features, vectors))
    return [str(label) for label in model.classes_], given


def load_measured(where: mlflow.Tracking, candidate: Candidate) -> Any:
    """Load the model of a candidate that has seen no test document: the one that gates measure.

    Raises:
        ModelError: its files are missing or damaged.
    """
    return mlflow.load_model(where, candidate.model_uri, TRUSTED_TYPES)


def load_served(where: mlflow.Tracking, version: ModelVersion) -> Any:
    """Load a version as it answers: its ONNX form, or else the model itself.

    Raises:
        ModelError: its files are missing or damaged.
    """
    candidate = version.candidate
    if candidate.onnx_sha256:
        content = mlflow.read_file(where, candidate.served_uri, FILE, candidate.onnx_sha256)
        return OnnxModel(content)
    return mlflow.load_model(where, candidate.served_uri, TRUSTED_TYPES)


def _kept(where: mlflow.Tracking, version: ModelVersion) -> Any:
    """The ONNX form of a version, loaded once in a process: a prediction takes less than that."""
    candidate = version.candidate
    if candidate.onnx_sha256:
        return _open(where, candidate.served_uri, candidate.onnx_sha256)
    return load_served(where, version)


@lru_cache(maxsize=2)
def _open(where: mlflow.Tracking, uri: str, sha256: str) -> OnnxModel:
    return OnnxModel(mlflow.read_file(where, uri, FILE, sha256))


def _nothing_served(connection: postgres.Connection) -> NothingToDoError:
    last = current_challenger(connection)
    if last is None:
        if reason := untrainable(connection):  # a run would not help
            do = "Give more documents a label: name its column, `files:…?label=COLUMN`"
            return NothingToDoError(f"no model was promoted yet: {reason}", do=do)
        return NothingToDoError("no model was promoted yet", do="Run `ml-assets run`")
    if standing := challenger_standing(connection):  # a run on the same documents does not help
        return NothingToDoError(f"no model is served; {standing}", do=standing.do)
    return NothingToDoError(
        f"no model is served; version {last.version} was registered last",
        do=f"Run `ml-assets publish {last.version} --reason …`",
    )


def _normal(text: str, number: int) -> str:
    normal = normalize(text)
    if not normal.strip():
        raise SourceError("it is empty", where=f"text {number}", do="Give a text with a word")
    return normal


def _embed(encoder: Encoder, pieces: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """The mean vector of the pieces of each text, made a unit again."""
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    encoded = encoder.encode([piece for text in pieces for piece in text])
    ends = np.cumsum([len(text) for text in pieces])
    return unit([part.mean(axis=0) for part in np.split(encoded, ends[:-1])])


def _features(
    described: Described, places: Sequence[int], nearest: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """The features by name of the texts at `places`, whose distances to documents are `nearest`."""
    import numpy as np

    features = {
        name: np.array([values[place] for place in places], dtype="float64")
        for name, values in described.values.items()
    }
    return {**features, "document_text__nearest_distance": nearest}


def _check(version: ModelVersion, space_id: str) -> None:
    if version.space_id != space_id:
        raise SpaceMismatchError(
            f"the champion reads vectors of space {version.space_id},"
            f" and the encoder makes those of {space_id}",
            where="ML_ASSETS_EMBEDDING_MODEL",
            do="Set it back, or train and promote a model of the new space",
        )
    if version.feature_views != training_views():
        raise FeatureViewError(
            f"the champion was trained on other versions ({', '.join(version.feature_views)})",
            where="feature views",
            do="Run `ml-assets run` to train on the present ones",
        )


def _placed(
    connection: postgres.Connection,
    indexes: Indexes,
    generation: Generation | None,
    space_id: str,
    vectors: NDArray[np.float32],
    texts: Sequence[str],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Vectors, (n, dimension), and 1 - cosine to the nearest document, (n,); NaN: there is none.

    A text that a document has is taken for that one, as it was in training: its vector is the
    stored one, which knows of headings, and it is not its own neighbour. It is compared with the
    documents that the served index finds near; with all while no index is of this space.
    """
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    near = _near_documents(connection, indexes, generation, space_id, vectors)
    chunker = generation.chunker if generation and near is not None else None
    document_ids, stored = read_vectors(connection, space_id, near, chunker=chunker)
    if not document_ids:
        return vectors, np.full(len(vectors), np.nan)
    documents, hashes = unit(stored), text_hashes(connection, document_ids)
    described = np.array([hashes.get(name, "") for name in document_ids])
    asked = np.array([sha256(text.encode()).hexdigest() for text in texts])
    own = asked[:, None] == described
    known = own.any(axis=1)
    vectors = np.where(known[:, None], documents[own.argmax(axis=1)], vectors)
    distances = nearest_distances(vectors, documents, own)
    distances[own.sum(axis=1) > 1] = 0  # another document has the same text
    return vectors, distances


def _near_documents(
    connection: postgres.Connection,
    indexes: Indexes,
    generation: Generation | None,
    space_id: str,
    vectors: NDArray[np.float32],
) -> set[str] | None:
    kind = kept_by_tables(generation) if generation else None
    if generation is None or kind is None or generation.space_id != space_id:
        return None
    with indexes.open(connection, generation, kind) as index:
        rankings = index.query_many(list(vectors), _CANDIDATES)
    return {name.rpartition("#")[0] for ranking in rankings for name in ranking.chunk_ids}


def _ranked(labels: Any, probabilities: Any) -> dict[str, float]:
    pairs = zip(map(str, labels), map(float, probabilities), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
