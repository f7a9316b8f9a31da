"""The wheel, installed in an environment of its own, works from any folder."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from ml_assets_tests.paths import PROJECT

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
SHIPPED = ("sql", "dagster.yaml", "workspace.yaml")


def build(checkout: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = build(PROJECT, folder)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with this wheel, which sees the libraries of the tests' own.

    A folder that a .pth file adds is no site folder: the editable ml_assets there stays unseen.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    program = folder / "bin" / "python"
    subprocess.run(
        [*PIP, "--python", program, "install", "--no-deps", "--no-index", wheel], check=True
    )
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def test_all_that_the_code_reads_travels(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in (PROJECT / "sql", PROJECT / "ml_assets" / "documents" / "sources"):
        for file in folder.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                inside = str(file.relative_to(PROJECT))
                assert {inside, f"ml_assets/_data/{inside}"} & names, inside
    data = {"ml_assets/_data/dagster.yaml", "ml_assets/_data/workspace.yaml", "ml_assets/py.typed"}
    assert data <= names


@pytest.mark.parametrize("missing", SHIPPED)
def test_a_build_without_a_part_of_it_fails(tmp_path: Path, missing: str) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "ml_assets").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "ml_assets/__init__.py"):
        shutil.copy(PROJECT / name, checkout / name)
    for name in SHIPPED:
        if name == "sql":
            (checkout / name).mkdir()
            (checkout / name / "some.sql").touch()
        else:
            (checkout / name).touch()
    assert build(checkout, tmp_path).returncode == 0
    shutil.rmtree(checkout / missing) if missing == "sql" else (checkout / missing).unlink()
    failed = build(checkout, tmp_path)
    assert failed.returncode
    assert missing in failed.stderr


def test_it_runs_and_searches_from_another_folder(
    programs: Path, exported_models: Path, tmp_path: Path
) -> None:
    home, notes = tmp_path / "home", tmp_path / "notes"
    home.mkdir()
    notes.mkdir()
    (home / "models").symlink_to(exported_models)
    (notes / "bread.txt").write_text("Sourdough rises slowly in a cold kitchen.")
    (notes / "bridge.txt").write_text("The old stone bridge crosses the river at the mill.")
    (notes / "owl.txt").write_text("Owls hunt mice at night without a sound.")

    def ml_assets(*arguments: str) -> str:
        done = subprocess.run(
            [programs / "ml-assets", *arguments],
            cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "ML_ASSETS_HOME": str(home),
                "ML_ASSETS_SOURCE": f"files:{notes}/*.txt",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = subprocess.run(
        [programs / "python", "-c", "import ml_assets; print(ml_assets.__file__)"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(programs.parent)
    assert re.fullmatch(r"ml-assets \d+\.\d+\.\d+\n", ml_assets("--version"))
    ml_assets("status")
    ml_assets("run")
    assert "Nothing changed" in ml_assets("run")
    result = json.loads(ml_assets("search", "baking", "--json", "-k", "1"))
    assert [Path(hit["document_id"]).name for hit in result["hits"]] == ["bread.txt"]


def test_the_programs_of_mlflow_find_the_artifacts_of_the_home(
    programs: Path, tmp_path: Path
) -> None:
    code = (
        "from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository;"
        "print(get_artifact_repository('ml-assets:/run/artifacts').artifact_dir)"
    )
    found = subprocess.run(
        [programs / "python", "-W", "ignore", "-c", code],
        env={"ML_ASSETS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == str(tmp_path / "mlflow_artifacts/run/artifacts"), found.stderr
