"""Labelled documents whose label is in their meaning: vectors show it, words do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.space import current_model
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.online import refresh_online
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import duckdb, mlflow, online, postgres
from ml_assets.training.candidates import train_candidates
from ml_assets.training.families.base import Family
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import TrainingSet
from ml_assets.training.training_set import build_training_set, freeze
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource

LABELS = ("cooking", "music", "sport")
FAST = FAMILIES[:3]
"""Both baselines and the logistic regression."""


def family(name: str) -> Family:
    """The family of that name."""
    return next(one for one in FAMILIES if one.name == name)


def labelled_documents(count: int = 240, seed: int = 0) -> list[Document]:
    """Documents of rare words, two to a group; a word's number modulo 3 is its subject."""
    generator = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        label = number // 2 % len(LABELS)
        words = generator.integers(0, 3000, 8) * 3 + label
        # A few words are of any subject, so that nothing is perfect.
        words[:4] = generator.integers(0, 9000, 4)
        documents.append(
            Document(
                document_id=f"document-{number:04}",
                collection="all",
                text=" ".join(f"w{word}" for word in words),
                label=LABELS[label],
                group=f"group-{number // 2:04}",
            )
        )
    return documents


def unlabelled(documents: Sequence[Document]) -> list[Document]:
    """The same documents without their labels."""
    return [replace(document, label=None) for document in documents]


class MeaningEncoder(HashEncoder):
    """Vectors that lean towards the subjects of their words, with noise from the text's hash."""

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = 0.6 * super()._vector(text)
        for word in re.findall(r"w(\d+)", text):
            vector[int(word) % 3] += 0.2
        return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Deployment:
    """The stores of one deployment, for a test to fill and to train on."""

    connection: postgres.Connection
    settings: Settings
    tracking: mlflow.Tracking

    def open_duck(self) -> AbstractContextManager[duckdb.Connection]:
        return duckdb.connect(self.settings.duckdb_file)

    def fill(self, documents: Sequence[Document]) -> None:
        """Bring documents, chunks, vectors and features to the state of `documents`."""
        names = ["all"]
        source = MemorySource(documents)
        refresh_documents(self.connection, source, names, max_removed_fraction=1.0)
        refresh_chunks(self.connection, _chunker(), names)
        refresh_embeddings(self.connection, SPACE, MeaningEncoder, names)
        with self.open_duck() as duck:
            refresh_document_features(self.connection, duck, SPACE.space_id)
            with online.connect(None, self.settings.home) as store:
                refresh_online(duck, store, DOCUMENT_TEXT)

    def build(self) -> TrainingSet:
        """Build and freeze the training set of the present documents."""
        with self.open_duck() as duck:
            built = build_training_set(self.connection, duck, self.settings, SPACE.space_id)
            freeze(duck, built)
        return built

    def train(self, training_set: TrainingSet, families: Sequence[Family] = FAST) -> None:
        """Train `families` in an MLflow run of the test's own."""
        with mlflow.activate(self.tracking).start_run():
            train_candidates(
                self.connection,
                self.open_duck,
                self.tracking,
                training_set,
                families,
                owner="ann",
            )


@cache
def _chunker() -> Chunker:
    """One for all deployments: it reads the tokenizer from its file once."""
    return Chunker(current_model(load_settings()).tokenizer_file, 256)


@pytest.fixture(scope="session")
def tracking(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> mlflow.Tracking:
    """The MLflow database and artifacts that all tests of this worker share.

    As those of a home whose PostgreSQL is embedded: there is no other host.
    """
    where = mlflow.tracking(None, postgres_server, tmp_path_factory.mktemp("mlflow"))
    mlflow.activate(where)
    return replace(where, shared=False)


@pytest.fixture
def deployment(
    connection: postgres.Connection, settings: Settings, tracking: mlflow.Tracking
) -> Deployment:
    """An empty deployment of the test's own."""
    return Deployment(connection, settings, tracking)


@contextmanager
def kept_deployments(
    server: str, tracking: mlflow.Tracking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Deployment]]:
    """Opens empty deployments until the end of the block."""
    with ExitStack() as stack:

        def open_one() -> Deployment:
            home = tmp_path_factory.mktemp("home")
            url = postgres.server_url(server, home, f"kept_{home.name}")
            connection = stack.enter_context(postgres.connect(url, home))
            return Deployment(connection, load_settings(home=home, actor="tester"), tracking)

        yield open_one


def train_one(deployment: Deployment) -> tuple[Deployment, TrainingSet]:
    """A deployment with a training set and the fast families trained on it."""
    deployment.fill(labelled_documents())
    training_set = deployment.build()
    deployment.train(training_set)
    return deployment, training_set


@pytest.fixture(scope="module")
def kept_deployment(
    postgres_server: str, tracking: mlflow.Tracking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Deployment]]:
    """Opens empty deployments for one module; its tests leave them as they were."""
    with kept_deployments(postgres_server, tracking, tmp_path_factory) as open_one:
        yield open_one


@pytest.fixture(scope="module")
def trained(kept_deployment: Callable[[], Deployment]) -> tuple[Deployment, TrainingSet]:
    """A trained deployment for one module."""
    return train_one(kept_deployment())
