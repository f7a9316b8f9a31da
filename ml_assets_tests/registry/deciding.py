"""A deployment that registers and decides as the assets do, and what is asked of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_assets.embeddings.encoder import Encoder
from ml_assets.registry import comparison
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.promotion import promote
from ml_assets.registry.serving import Prediction, inputs_of, predict_texts
from ml_assets.registry.versions import (
    champion,
    follow_release,
    register_challenger,
)
from ml_assets.releases.gates import Decision
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.stores import mlflow, online
from ml_assets.stores.cache import ReadThrough
from ml_assets.training.experiments import read_candidates
from ml_assets.training.model import TrainingSet
from ml_assets_tests.corpus import LABELS, Deployment, MeaningEncoder, labelled_documents
from ml_assets_tests.fakes import SPACE

Trained = tuple[Deployment, TrainingSet]


def register(given: Trained) -> Any:
    deployment, training_set = given
    return register_challenger(
        deployment.connection, deployment.tracking, training_set, deployment.settings
    )


def decide(given: Trained, **changed: object) -> Decision:
    """Decide as the asset does: the aliases follow."""
    deployment, training_set = given
    settings = deployment.settings.model_copy(update=changed)
    decision = promote(
        deployment.connection, deployment.open_duck, deployment.tracking, training_set, settings
    )
    follow_release(deployment.connection, deployment.tracking)
    return decision


def numbers(decision: Decision) -> dict[str, float]:
    """What all gates compared."""
    return {name: value for gate in decision.gates for name, value in gate.numbers.items()}


def alias(deployment: Deployment, name: str) -> str | None:
    """The model that an alias names: its URI."""
    client = mlflow.activate(deployment.tracking).MlflowClient()
    number = client.get_registered_model(MODEL_NAME).aliases.get(name)
    return client.get_model_version(MODEL_NAME, number).source if number else None


def entries(deployment: Deployment) -> list[tuple[str, str]]:
    return deployment.connection.execute(
        "select action, subject from model_audit_logs order by entry_id"
    ).fetchall()


def let_answer(run_id: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the candidate of a run is right about this share of what it is asked."""
    measure = comparison._answered

    def answered(*given: Any) -> Any:
        _, _, _, candidate, examples = given
        measured = measure(*given)
        if candidate.run_id != run_id:
            return measured
        wrong = [LABELS[LABELS.index(label) - 1] for label in examples.truth]
        right = np.arange(len(wrong)) < share * len(wrong)
        return replace(measured, given=np.where(right, examples.truth, wrong).tolist())

    monkeypatch.setattr(comparison, "_answered", answered)


def let_the_champion_score(
    share: float, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretend that the present champion is right about this share wherever it is tested."""
    reigning = champion(deployment.connection)
    assert reigning
    let_answer(reigning.candidate.run_id, share, monkeypatch)


def run_of(given: Trained, family: str) -> str:
    """The run of a family on the training set."""
    deployment, training_set = given
    (run_id,) = (
        each.run_id
        for each in read_candidates(deployment.connection, training_set.hash)
        if each.family == family
    )
    return run_id


def forget_onnx(deployment: Deployment) -> None:
    """The champion answers from its skops file, as one that ONNX cannot carry."""
    deployment.connection.execute("update experiments set onnx_sha256 = ''")


def ask(
    deployment: Deployment,
    texts: list[str],
    space_id: str = SPACE.space_id,
    *,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    cache: ReadThrough | None = None,
    load: Callable[[], Encoder] = MeaningEncoder,
) -> list[dict[str, float]]:
    given = ask_all(deployment, texts, space_id, metadata=metadata, cache=cache, load=load)
    return [each.probabilities for each in given]


def ask_all(
    deployment: Deployment,
    texts: list[str],
    space_id: str = SPACE.space_id,
    *,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    cache: ReadThrough | None = None,
    load: Callable[[], Encoder] = MeaningEncoder,
) -> list[Prediction]:
    def read(view: str, entities: Sequence[str]) -> online.Reading:
        with online.connect(None, deployment.settings.home) as store:
            return store.get_many(view, entities)

    return predict_texts(
        deployment.connection,
        deployment.tracking,
        Indexes(deployment.settings),
        space_id,
        load,
        lambda text: [text],
        inputs_of(texts, metadata, read),
        cache,
        3600,
    ).predictions


def folder_of(models: Path, version: ModelVersion) -> Path:
    return models / version.candidate.served_uri.rpartition("/")[2]


def extra_documents() -> list[Any]:
    return [
        replace(one, document_id=f"new-{one.document_id}", group=f"new-{one.group}")
        for one in labelled_documents(90, seed=1)
    ]
