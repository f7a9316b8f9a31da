"""Rooms stay small: what `make lint` counts."""

import importlib.util
from pathlib import Path

import pytest

from ml_assets_tests.paths import PROJECT

SPEC = importlib.util.spec_from_file_location("layout", PROJECT / "scripts" / "check_layout.py")
assert SPEC
assert SPEC.loader
layout = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(layout)


def write(project: Path, folder: str, count: int, ending: str = "py") -> None:
    (project / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (project / folder / f"m{number}.{ending}").touch()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of everything as may be."""
    write(tmp_path, "ml_assets", 20)  # the top is no room
    write(tmp_path, "ml_assets/training", 12)
    (tmp_path / "ml_assets/training/__init__.py").touch()
    for room, count in {"filters": 12, "indexes": 12, "indexes/faiss": 11, "answering": 10}.items():
        write(tmp_path, f"ml_assets/search/{room}", count)
    write(tmp_path, "sql/postgres/migrations", 50, "sql")
    write(tmp_path, "sql/duckdb", 32, "sql")
    return tmp_path


def test_as_much_as_may_be_is_not_too_much(project: Path) -> None:
    assert layout.excesses(project) == []


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ("ml_assets/training/other.py", "ml_assets/training has 13 modules"),
        ("ml_assets/search/filters/other.py", "ml_assets/search/filters has 13 modules"),
        ("ml_assets/search/answering/other.py", "ml_assets/search has 46 modules"),
        ("sql/duckdb/other.sql", "sql/ has 33 files"),
    ],
)
def test_one_more_is_named(project: Path, planted: str, complaint: str) -> None:
    (project / planted).touch()
    assert complaint in "\n".join(layout.excesses(project))


def test_rooms_inside_rooms_count_for_themselves(project: Path) -> None:
    write(project, "ml_assets/training/families", 13)
    (line,) = layout.excesses(project)
    assert line.startswith("ml_assets/training/families has 13 modules; a room has at most 12")
