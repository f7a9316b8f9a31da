"""A forked command is one that was started, in what it prints, in its code, and in its end."""

from pathlib import Path

import pytest

from ml_assets_tests.integration.project import Project


@pytest.mark.parametrize("arguments", ["--version", "nonsense", "search x", "status --json"])
def test_it_says_what_a_started_one_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.setenv("POSTGRES_URL", "no/url")
    project = Project(tmp_path / "home", tmp_path / "notes.jsonl")
    process = project.start(*arguments.split())
    out, err = process.communicate(timeout=100)
    started = (out + err).replace("python -m ml_assets.cli", "ml-assets")
    assert project.call(*arguments.split(), code=process.returncode) == started
    assert started


def test_it_stops_its_server(tmp_path: Path, exported_models: Path) -> None:
    project = Project(tmp_path / "home", tmp_path / "notes.jsonl")
    project.home.mkdir()
    (project.home / "models").symlink_to(exported_models)
    project.file.write_text('{"id": "a", "text": "One.", "shelf": "b"}\n')
    project.call("run", "--until", "documents")
    assert (project.home / "postgres" / "PG_VERSION").exists()
    assert not (project.home / "postgres" / "postmaster.pid").exists()
