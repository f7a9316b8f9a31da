"""What the tests of the service ask, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from fastapi.testclient import TestClient

from ml_assets.releases import pointer
from ml_assets.releases.audit import Entry
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.model import CHUNKING, Generation
from ml_assets.settings import Settings
from ml_assets_tests.corpus import Deployment
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.search.corpus import sync_all
from ml_assets_tests.search.measurements import publish

OpenService = Callable[..., TestClient]


@dataclass(frozen=True)
class Deployed:
    """What is served, and the settings that the service is given."""

    deployment: Deployment
    settings: Settings

    def generation(self, **changed: Any) -> Generation:
        """A generation of other parameters, with its indexes."""
        connection = self.deployment.connection
        settings = self.deployment.settings.model_copy(update=changed)
        [(chunker,)] = connection.execute("select chunker from chunkers where is_current")
        parameters = {**index_parameters(settings), CHUNKING: {"chunker": chunker}}
        generation = ensure_generation(connection, SPACE.space_id, parameters)
        sync_all(connection, settings, generation)
        return generation

    def publish(self, generation: Generation) -> None:
        publish(self.deployment.connection, generation)

    def back(self) -> None:
        """Roll back, without the aliases of MLflow."""
        connection = self.deployment.connection
        entry = Entry("tester", "rollback", "search", "test")
        pointer.roll_back(connection, pointer.rollback_target(connection), entry)


def get(client: TestClient, path: str, status: int = 200, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters)
    assert answer.status_code == status, answer.text
    return answer.json()


def post(client: TestClient, path: str, body: Any, status: int = 200) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def soon(check: Callable[[], bool], seconds: float = 10) -> float:
    """Wait until it holds; return how long that took."""
    started = monotonic()
    while not check():
        assert monotonic() - started < seconds
        sleep(0.02)
    return monotonic() - started
