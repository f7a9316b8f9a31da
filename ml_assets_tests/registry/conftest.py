"""Trained deployments, each made once for all tests of the registry."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml_assets.registry.versions import (
    follow_release,
)
from ml_assets.stores import mlflow
from ml_assets_tests.corpus import (
    Deployment,
    kept_deployments,
    labelled_documents,
    train_one,
)
from ml_assets_tests.registry.deciding import (
    Trained,
    decide,
    extra_documents,
    register,
)


@pytest.fixture(scope="package")
def kept_deployment(
    postgres_server: str, tracking: mlflow.Tracking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Deployment]]:
    """Opens empty deployments for all modules here; their tests leave them as they were."""
    with kept_deployments(postgres_server, tracking, tmp_path_factory) as open_one:
        yield open_one


@pytest.fixture(scope="package")
def trained(kept_deployment: Callable[[], Deployment]) -> Trained:
    """A trained deployment."""
    return train_one(kept_deployment())


@pytest.fixture
def first(trained: Trained) -> Iterator[Trained]:
    """The trained deployment; what a test writes to PostgreSQL is rolled back."""
    with trained[0].connection.transaction(force_rollback=True):
        yield trained


@pytest.fixture(scope="package")
def champion_and_challenger(kept_deployment: Callable[[], Deployment]) -> Trained:
    """A champion of one training set, and the candidates of the next."""
    deployment = kept_deployment()
    deployment.fill(labelled_documents(180))
    before = deployment.build()
    deployment.train(before)
    register((deployment, before))
    assert decide((deployment, before)).served
    deployment.fill(labelled_documents(180) + extra_documents())
    after = deployment.build()
    deployment.train(after)
    register((deployment, after))
    return deployment, after


@pytest.fixture
def second(champion_and_challenger: Trained, tmp_path: Path) -> Iterator[Trained]:
    """The same; what a test writes to PostgreSQL and DuckDB is undone, and MLflow follows."""
    deployment, _ = champion_and_challenger
    file = deployment.settings.duckdb_file
    shutil.copy(file, tmp_path / file.name)
    with deployment.connection.transaction(force_rollback=True):
        follow_release(deployment.connection, deployment.tracking)
        yield champion_and_challenger
    shutil.copy(tmp_path / file.name, file)


@pytest.fixture
def models(tracking: mlflow.Tracking, tmp_path: Path) -> Iterator[Path]:
    """The folder of MLflow's models, for a test to damage; whole again afterwards."""
    assert tracking.artifacts is not None
    folder = tracking.artifacts / "models"
    shutil.copytree(folder, tmp_path / "models")
    yield folder
    shutil.copytree(tmp_path / "models", folder, dirs_exist_ok=True)
