"""Runs from prompt, UI, sensors and automation at once: none red, and equal to a fresh build."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets_tests.integration.project import Project
from ml_assets_tests.integration.racing import Ui, differences, failures, race, served


@pytest.fixture(scope="module")
def ui(project: Project) -> Iterator[Ui]:
    """The UI on a home that a prompt brought up to date until the search."""
    project.call("run", "--until", "search")
    with served(project) as opened:
        yield opened


def test_runs_of_the_prompt_are_runs_of_the_ui(ui: Ui) -> None:
    """The pages of the jobs show them, and those of one command share a tag."""
    query = (
        '{ repositoryOrError(repositorySelector: {repositoryName: "__repository__",'
        ' repositoryLocationName: "ml_assets"}) { ... on Repository { jobs { name'
        " runs(limit: 1) { status tags { key value } } } } } }"
    )
    jobs = {job["name"]: job["runs"] for job in ui.ask(query)["repositoryOrError"]["jobs"]}
    turns = set()
    for name in ("refresh_documents", "rebuild_search"):
        (run,) = jobs[name]
        assert run["status"] == "SUCCESS"
        turns.add({tag["key"]: tag["value"] for tag in run["tags"]}["ml_assets/turn"])
    assert len(turns) == 1


def test_runs_of_all_kinds_at_once_end_as_a_build_from_scratch(project: Project, ui: Ui) -> None:
    runs = race(project, ui, rounds=1, seed=3)
    assert failures(project) == []
    assert {run["jobName"] for run in runs} >= {"rebuild_search", "everything"}
    assert differences(project) == []


def test_dg_checks_and_launches(project: Project, tmp_path: Path) -> None:
    environment = {**project.environment, "ML_ASSETS_HOME": str(tmp_path)}

    def dg(*arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "dg"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "loaded successfully" in dg("check", "defs")
    assert "raw_documents" in dg("list", "defs", "--json")
    assert "RUN_SUCCESS" in dg("launch", "--assets", "collections")
