"""A deployment that registers and decides as the assets do, and what is asked of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_assets.registry import gates
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.promotion import promote
from ml_assets.registry.serving import predict_texts
from ml_assets.registry.versions import (
    champion,
    follow_release,
    register_challenger,
)
from ml_assets.releases.gates import Decision
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.stores import mlflow
from ml_assets.training.model import TrainingSet
from ml_assets_tests.corpus import Deployment, MeaningEncoder, labelled_documents
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


def set_score(given: Trained, family: str, score: float) -> None:
    """Pretend that a family did as well as `score` on the test split."""
    deployment, training_set = given
    deployment.connection.execute(
        "update experiments set metrics = jsonb_set(metrics, '{test_macro_f1}', %s::text::jsonb)"
        " where training_set_hash = %s and family = %s",
        [str(score), training_set.hash, family],
    )


def let_the_champion_score(
    score: float, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretend that the present champion does as well as `score` wherever it is tested."""
    reigning, measure = champion(deployment.connection), gates.score_on_test
    monkeypatch.setattr(
        gates,
        "score_on_test",
        lambda *given: score if given[-1] == reigning else measure(*given),
    )


def forget_onnx(deployment: Deployment) -> None:
    """The champion answers from its skops file, as one that ONNX cannot carry."""
    deployment.connection.execute("update experiments set onnx_sha256 = ''")


def ask(
    deployment: Deployment, texts: list[str], space_id: str = SPACE.space_id
) -> list[dict[str, float]]:
    return predict_texts(
        deployment.connection,
        deployment.tracking,
        Indexes(deployment.settings),
        space_id,
        MeaningEncoder,
        lambda text: [text],
        texts,
    )


def folder_of(models: Path, version: ModelVersion) -> Path:
    return models / version.candidate.served_uri.rpartition("/")[2]


def extra_documents() -> list[Any]:
    return [
        replace(one, document_id=f"new-{one.document_id}", group=f"new-{one.group}")
        for one in labelled_documents(90, seed=1)
    ]
