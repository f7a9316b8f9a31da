"""A deployment with a published search and a champion, and the service on it, for all modules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ml_assets.embeddings.space import current_model
from ml_assets.service import answering
from ml_assets.service.app import create_app
from ml_assets.settings import load_settings
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.mlflow.artifacts import FOLDER
from ml_assets_tests.corpus import MeaningEncoder, kept_deployments, train_one
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.registry.deciding import decide, register
from ml_assets_tests.service.deployed import Deployed, OpenService


@pytest.fixture(scope="package")
def deployed(
    postgres_server: str, tracking: mlflow.Tracking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with kept_deployments(postgres_server, tracking, tmp_path_factory) as open_one:
        trained = train_one(open_one())
        deployment, home = trained[0], trained[0].settings.home
        register(trained)
        assert decide(trained).served
        assert tracking.artifacts
        (home / FOLDER).symlink_to(tracking.artifacts)
        url = postgres.server_url(postgres_server, home, f"kept_{home.name}")
        settings = load_settings(home=home, actor="tester", postgres_url=url, service_lanes=2)
        made = Deployed(deployment, settings)
        made.publish(made.generation())
        yield made


@pytest.fixture(scope="package")
def _space() -> Iterator[None]:
    """The service takes the vectors of the tests for those of its model."""
    with pytest.MonkeyPatch.context() as patch:
        model = replace(current_model(load_settings()), space=SPACE)
        patch.setattr(answering, "current_model", lambda _: model)
        yield


@pytest.fixture(scope="package")
def open_service(deployed: Deployed, _space: None) -> OpenService:
    """A client of a service of its own, to be entered; settings can be changed."""

    def open_one(**changed: Any) -> TestClient:
        settings = deployed.settings.model_copy(update=changed)
        app = create_app(settings, "here", load=lambda _: MeaningEncoder())
        return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)

    return open_one


@pytest.fixture(scope="module")
def client(open_service: OpenService) -> Iterator[TestClient]:
    """A service without keys; another module may end the connections and threads of all."""
    with open_service() as opened:
        yield opened


@pytest.fixture
def _no_keys(deployed: Deployed) -> Iterator[None]:
    yield
    deployed.deployment.connection.execute("delete from api_keys")
