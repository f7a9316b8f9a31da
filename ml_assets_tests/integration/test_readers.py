"""A role that may only read, and a replica, answer what a run on a server published.

It takes its time: one run, and each command of a reader as a process of its own.
"""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from ml_assets_tests.integration.project import Project, write_documents
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers import replica

DOCS = PROJECT / "docs" / "production.md"


def grants() -> str:
    """The statements of the documentation, which an administrator copies."""
    return DOCS.read_text("utf-8").partition("```sql needs a server\n")[2].partition("```")[0]


def test_readers_need_select_alone(
    tmp_path: Path, postgres_admin: str, postgres_url: str, exported_models: Path
) -> None:
    write_documents(tmp_path / "notes.jsonl", per_topic=5)
    project = Project(tmp_path / "home", tmp_path / "notes.jsonl")
    project.home.mkdir()
    (project.home / "models").symlink_to(exported_models)
    path = urlsplit(postgres_url).path
    admin = urlunsplit(urlsplit(postgres_admin)._replace(path=path))
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("create role reader login password 'tests-only'")
        connection.execute("create schema ml_schema authorization ml_assets")
        connection.execute(grants().encode())
    try:
        project.call("run", "--until", "search", POSTGRES_URL=postgres_url)
        reader = postgres_url.replace("ml_assets:", "reader:", 1)
        asks_all(project, POSTGRES_URL=reader)
        refused = project.call("run", "--all", code=1, POSTGRES_URL=reader)
        assert "`grant ml_assets to reader`" in refused
        assert "Traceback" not in refused
        write_documents(tmp_path / "notes.jsonl", per_topic=6)
        planned = project.call("plan", POSTGRES_URL=reader)
        assert planned == project.call("plan", POSTGRES_URL=postgres_url)
        assert "documents" in planned
        assert "20" in project.call("status", POSTGRES_URL=reader)
        assert "About" in project.call("search", "flour", POSTGRES_URL=reader)
        project.call("run", "--until", "search", POSTGRES_URL=postgres_url)
        asks_all(project, documents=24, POSTGRES_URL=reader)
        with replica(tmp_path / "replica", admin, "16") as copied:
            asks_all(project, documents=24, POSTGRES_URL=postgres_url, POSTGRES_READ_URL=copied)
            refused = project.call("run", "--all", code=1, POSTGRES_URL=copied)
            assert "read-only transaction. Write to the primary" in refused
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("drop owned by reader")
            connection.execute("drop role reader")


def asks_all(project: Project, documents: int = 20, **urls: str) -> None:
    assert str(documents) in project.call("status", **urls)
    assert "About" in project.call("search", "flour", **urls)
    project.call("plan", **urls)
    assert "publish" in project.call("releases", **urls)
