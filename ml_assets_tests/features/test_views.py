"""Which views there are: those of the room, and those of a module of the user's own."""

import sys
from pathlib import Path

import pytest

from ml_assets.errors import FeatureViewError
from ml_assets.features.views import VIEWS, load_views

MINE = """
from ml_assets.features import Feature, FeatureView, Table

MINE = FeatureView(
    name="{name}", version=1, entity="author", description="", uses=frozenset(),
    features=(Feature("stars", "double", "stars"),), source=Table("a.csv", "author", "at"),
)
ALSO = MINE
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `own_views`, on the path for the length of the test."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "own_views"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    yield folder  # type: ignore[misc]
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_views"]:
        del sys.modules[name]


def test_without_a_module_there_are_those_of_the_room() -> None:
    assert [*load_views()] == [*VIEWS] == ["collection_activity", "document_text"]


def test_a_module_of_a_package_is_a_view_beside_them(package: Path) -> None:
    (package / "b.py").write_text(MINE.format(name="b_view"))
    (package / "a.py").write_text(MINE.format(name="a_view"))
    assert [*load_views("own_views")] == [*VIEWS, "a_view", "b_view"]
    assert [*load_views("own_views.a")] == [*VIEWS, "a_view"]


def test_a_view_that_a_module_imports_is_one_view(package: Path) -> None:
    (package / "a.py").write_text(MINE.format(name="a_view"))
    imports = "from ml_assets.features.views.document_text import DOCUMENT_TEXT\n"
    (package / "b.py").write_text(imports + "from own_views.a import MINE\n")
    assert [*load_views("own_views")] == [*VIEWS, "a_view"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "own_views defines no feature view. Define"),
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*a.py, line 1\)"),
        ("x = (", r"SyntaxError: .*a.py, line 1"),
        ("import absent_library", "No module named 'absent_library'.*Correct it"),
        (MINE.format(name="document_text"), "two views of the name document_text"),
        (MINE.format(name="Mine"), "feature view Mine: 'Mine' is not a name"),
    ],
)
def test_an_error_in_it_is_a_line_with_its_place(package: Path, code: str, message: str) -> None:
    (package / "a.py").write_text(code)
    with pytest.raises(FeatureViewError, match=message):
        load_views("own_views")


def test_a_module_that_is_not_there_is_a_line() -> None:
    with pytest.raises(FeatureViewError, match=r"ML_ASSETS_FEATURES=nowhere.views.*PYTHONPATH"):
        load_views("nowhere.views")
