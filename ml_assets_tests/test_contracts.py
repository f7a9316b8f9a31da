"""Who may import whom: the contracts of `pyproject.toml` see what they should."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml_assets_tests.paths import PROJECT


def broken_contracts(project: Path) -> str:
    """Lint the imports of the package in `project`, and return what is complained of."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=project,
        env={"PYTHONPATH": str(project), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode in {0, 1}, output
    return output if done.returncode else ""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its contracts."""
    folder = tmp_path_factory.mktemp("contracts")
    shutil.copy(PROJECT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.csv", "*.jsonl")
    shutil.copytree(PROJECT / "ml_assets", folder / "ml_assets", ignore=ignored)
    return folder


def test_the_contracts_are_kept(project: Path) -> None:
    assert broken_contracts(project) == ""


def test_what_is_planted_is_found(project: Path) -> None:
    package = project / "ml_assets"
    planted = {
        "cli/planted.py": "import dagster\n",
        "console/planted.py": "def late():\n    import dagster_duckdb\n",
        "operations/planted.py": "from dagster import asset\n",
        "stores/planted.py": "import ml_assets.documents.model\n",
        "helpers.py": "",
    }
    for name, code in planted.items():
        (package / name).write_text(code)
    try:
        output = broken_contracts(project)
    finally:
        for name in planted:
            (package / name).unlink()
    for line in (
        "ml_assets.cli.planted -> dagster",
        "ml_assets.console.planted -> dagster_duckdb",
        "ml_assets.operations.planted -> dagster",
        "ml_assets.stores.planted -> ml_assets.documents.model",
        "- ml_assets.helpers",
    ):
        assert line in output
