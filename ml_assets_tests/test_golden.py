"""Every version constant has a golden output, and none changes without the other."""

import ast
from pathlib import Path

import pytest

from ml_assets.features.views import VIEWS
from ml_assets.training.families.registry import FAMILIES
from ml_assets_tests import golden
from ml_assets_tests.paths import PROJECT


def constants() -> set[str]:
    """The dotted name of every module-level constant that ends in VERSION."""
    found = set()
    for path in (PROJECT / "ml_assets").rglob("*.py"):
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for node in ast.parse(path.read_text("utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found |= {f"{module}.{name}" for name in names if name.endswith("VERSION")}
    return found


def test_every_version_has_a_golden_output() -> None:
    views = {f"{view.name}.version" for view in VIEWS.values()}
    families = {f"{family.name}.version" for family in FAMILIES}
    kept = {path.name.removesuffix(".json") for path in golden.FOLDER.glob("*.json")}
    assert kept == constants() | views | families


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(golden, "FOLDER", tmp_path / "goldens")
    monkeypatch.setenv("REWRITE_GOLDENS", "1")
    golden.check("room.VERSION", 1, {"chunks": ["a", 0.5], "count": 2})
    monkeypatch.delenv("REWRITE_GOLDENS")
    return tmp_path / "goldens"


def test_the_same_output_passes(folder: Path) -> None:
    golden.check("room.VERSION", 1, {"chunks": ("a", 0.5), "count": 2})
    golden.check("room.VERSION", 1, {"chunks": ["a", 0.51], "count": 2}, tolerance=0.02)


@pytest.mark.parametrize("rewrite", ["", "1"])
@pytest.mark.parametrize(
    ("output", "place"),
    [
        ({"chunks": ["b", 0.5], "count": 2}, r"output\.chunks\[0\]: 'b', was 'a'"),
        ({"chunks": ["a", 0.51], "count": 2}, r"output\.chunks\[1\]: 0.51, was 0.5"),
        ({"chunks": ["a"], "count": 2}, r"output\.chunks: "),
        ({"chunks": ["a", 0.5]}, "output: "),
    ],
)
def test_another_output_of_the_same_version_fails_and_is_never_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, output: object, place: str, rewrite: str
) -> None:
    monkeypatch.setenv("REWRITE_GOLDENS", rewrite)
    with pytest.raises(pytest.fail.Exception, match=f"version 1 changed, at {place}") as failed:
        golden.check("room.VERSION", 1, output)
    assert "raise room.VERSION" in str(failed.value)


def test_a_raised_version_asks_for_its_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"VERSION is 2, .* of version 1"):
        golden.check("room.VERSION", 2, "new")
    monkeypatch.setenv("REWRITE_GOLDENS", "1")
    golden.check("room.VERSION", 2, "new")
    with pytest.raises(pytest.fail.Exception, match="version 2 changed"):
        golden.check("room.VERSION", 2, "newer")
