import os
from pathlib import Path

import pytest

from ml_assets.embeddings.encoder import load_encoder
from ml_assets.settings import load_settings
from ml_assets.stores.file_locks import locked
from ml_assets_tests.integration.project import Project, write_documents


@pytest.fixture(scope="session")
def exported_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported models, so that each project need not do it again; all workers share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    home = folder / "with-models"
    with locked(folder / "with-models.lock", 600):
        if not (home / "models").exists():
            load_encoder(load_settings(home=home)).encode(["once"])
    return home / "models"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, exported_models: Path) -> Project:
    folder = tmp_path_factory.mktemp("project")
    (folder / "home").mkdir()
    (folder / "home" / "models").symlink_to(exported_models)
    opened = Project(folder / "home", folder / "notes.jsonl")
    write_documents(opened.file)
    return opened
