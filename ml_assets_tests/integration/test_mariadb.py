"""All on one MariaDB of a user's own: the documents, and the records of MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ml_assets.registry.model import MODEL_NAME
from ml_assets.stores import postgres
from ml_assets_tests.integration.project import Project, write_documents
from ml_assets_tests.servers import mariadb_over_tcp, mlflow_over_http

COLUMNS = ("id", "title", "text", "label", "shelf", "created_at")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of the server, as SQLAlchemy writes it; it has the documents in `notes`."""
    (tmp_path / "mariadb").mkdir()
    with mariadb_over_tcp(tmp_path / "mariadb") as given:
        url = given.replace("mysql://", "mysql+pymysql://")
        rows = write_documents(tmp_path / "notes.jsonl", per_topic=20)
        names = ", ".join(f":{name}" for name in COLUMNS)
        ask(url, "create database mlflow")
        ask(url, f"create table notes ({' text, '.join(COLUMNS)} text)")
        ask(url, f"insert into notes values ({names})", rows)
        yield url


def ask(url: str, statement: str, bound: Any = None) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), bound)
        return [tuple(row) for row in result] if result.returns_rows else []


def champions(url: str) -> list[tuple[Any, ...]]:
    """The version that answers, as MLflow's own tables tell."""
    query = "select version from registered_model_aliases where name = :name and alias = 'champion'"
    return ask(url, query, {"name": MODEL_NAME})


def test_models_are_trained_where_all_records_are_in_mariadb(
    url: str, tmp_path: Path, exported_models: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(exported_models)
    records = url.replace("/shop", "/mlflow")
    (tmp_path / "mlflow").mkdir()
    with ExitStack() as stack:
        stack.callback(postgres.stop, home)
        tracking = stack.enter_context(mlflow_over_http(tmp_path / "mlflow", records))
        where: Mapping[str, str] = {
            "ML_ASSETS_SOURCE": "sql:notes?collection_by=shelf&metadata=shelf",
            "ML_ASSETS_SOURCE_URL": url,
            "MLFLOW_TRACKING_URI": tracking,
        }
        project = Project(home, tmp_path / "notes.jsonl", fast=True)
        project.call("run", **where)
        assert champions(records) == [(1,)]
        assert ask(records, "select count(*) from runs where status <> 'FINISHED'") == [(0,)]
        (answer,) = json.loads(project.call("predict", "--json", "About oven and soup.", **where))
        assert max(answer, key=answer.__getitem__) == "kitchen"
        assert "Nothing changed since the run" in project.call("run", **where)
        ask(url, "update notes set label = 'space' where id = 'garden-3'")
        project.call("run", **where)
        assert len(ask(records, "select version from model_versions")) == 2
