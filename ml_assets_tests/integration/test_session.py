"""The Python API on a real deployment: opened once, and never behind what was published."""

import subprocess
import sys
from typing import Any

import pytest

import ml_assets
from ml_assets.embeddings import encoder
from ml_assets.errors import FeatureViewError, NothingToDoError
from ml_assets.features.views import DOCUMENT_TEXT
from ml_assets.search.answering import engine
from ml_assets.settings import load_settings
from ml_assets.stores import online, postgres
from ml_assets_tests.integration.project import Project


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened: connections, engines, and encoders from their files."""
    opened: list[str] = []

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def watched(*arguments: Any, **more: Any) -> Any:
            opened.append(name)
            return function(*arguments, **more)

        monkeypatch.setattr(owner, name, watched)

    watch(postgres, "connect")
    watch(engine, "open_engine")
    watch(encoder.onnx, "find_export")
    return opened


def test_importing_it_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import ml_assets; print(set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'ml_assets'}"


def test_a_name_that_it_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ml_assets.nonsense  # noqa: B018


def test_a_session_opens_once_and_follows_what_is_published(
    project: Project, openings: list[str]
) -> None:
    project.call("run", "--until", "search")
    settings = load_settings(home=project.home, actor="tester")
    with ml_assets.open(settings) as session:
        assert openings == []
        first = session.search("baking bread", k=3)
        assert len(first.hits) == 3
        opened = list(openings)
        assert opened.count("connect") == opened.count("open_engine") == 1
        assert session.search("baking bread", k=3) == first
        even = session.search("baking", k=3, filters='collection = "even"')
        assert {hit.collection for hit in even.hits} == {"even"}
        document = session.document("kitchen-1")
        assert (document.collection, document.label) == ("odd", "kitchen")
        assert document.title == "Note 1"
        assert document.metadata == {"shelf": "odd"}
        with pytest.raises(NothingToDoError, match="no document 'absent'"):
            session.document("absent")
        with pytest.raises(FeatureViewError, match="Known: document_text"):
            session.features("absent", "kitchen-1")
        with pytest.raises(NothingToDoError, match="no model was promoted"):
            session.predict(["About bread."])
        assert openings == opened
        project.call("run", "--until", "search", ML_ASSETS_HNSW_M="8")
        later = session.search("baking bread", k=3)
        assert later.generation_id != first.generation_id
        assert openings.count("open_engine") == 2
        assert openings.count("connect") == 1


def test_features_are_those_of_the_online_store(project: Project) -> None:
    with online.connect(None, project.home) as store:
        store.put_many(DOCUMENT_TEXT.key, {"kitchen-1": {"words": 3}}, {"kitchen-1": "revision"})
    with ml_assets.open(project.home) as session:
        assert session.features("document_text", "kitchen-1") == {"words": 3}
        with pytest.raises(NothingToDoError, match="no values of 'absent'"):
            session.features("document_text", "absent")


def test_a_home_and_a_url_are_settings(project: Project) -> None:
    assert ml_assets.open(project.home).settings.home == project.home
    url = ml_assets.open("postgresql://host/base").settings.postgres_url
    assert url
    assert url.get_secret_value() == "postgresql://host/base"
