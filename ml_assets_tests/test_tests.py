"""The habits of the tests themselves."""

import ast
from collections.abc import Iterator

import pytest

from ml_assets_tests.paths import PROJECT

TESTS = PROJECT / "ml_assets_tests"


def imported_modules(code: str) -> Iterator[str]:
    """The dotted names that `code` imports, at its top or within."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def imported_tests(code: str) -> list[str]:
    """What `code` imports from modules that pytest collects or loads by itself."""
    return [
        name
        for name in imported_modules(code)
        for room, *parts in [name.split(".")]
        if room in ("", "ml_assets_tests")  # others have modules of such names, too
        if any(part == "conftest" or part.startswith("test_") for part in parts)
    ]


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    files = {str(path.relative_to(TESTS)): path for path in TESTS.rglob("*.py")}
    offenders = {name: imported_tests(path.read_text("utf-8")) for name, path in files.items()}
    assert {name: names for name, names in offenders.items() if names} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from ml_assets_tests.search.test_engine import DOCS",
        "from ml_assets_tests.search import test_engine",
        "from ml_assets_tests.conftest import settings",
        "from . import conftest",
        "def late():\n    import ml_assets_tests.test_console as other",
    ],
)
def test_an_import_of_a_test_module_is_seen(code: str) -> None:
    assert imported_tests(code)
    assert not imported_tests("from ml_assets_tests.fakes import HashEncoder")
