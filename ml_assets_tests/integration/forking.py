"""Children that have imported what `ml-assets` needs, so that each command starts at once.

One server in each worker imports it once, and forks; a child of it is `ml-assets` in all but the
start of Python. What is about that start takes `Project.start`.
"""

import atexit
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from unittest import mock

from ml_assets.settings import Settings
from ml_assets.training import experiments
from ml_assets.training.families.base import Family

OURS = {str(field.validation_alias) for field in Settings.model_fields.values()}
"""The names of all settings."""


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml_assets_tests.integration.imported"])
    clean = {name: value for name, value in os.environ.items() if name not in {*OURS, "COLUMNS"}}
    # Some libraries read their number of threads once, when they are imported.
    with mock.patch.dict(os.environ, {**clean, "OMP_NUM_THREADS": "1"}, clear=True):
        ensure_running()
    return context


def fork(seconds: float, work: Callable[..., object], *arguments: object) -> int | None:
    """Do the work in a process group of its own; return its exit code.

    It is killed with all its children when it takes longer.
    """
    process = _server().Process(target=_alone, args=(work, *arguments))
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    return process.exitcode


def _alone(work: Callable[..., object], *arguments: object) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in OURS:
        os.environ.pop(name, None)  # MLflow writes its URI into that of the tests' own process
    work(*arguments)


def ml_assets(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    out: Path,
    err: Path,
    families: Sequence[Family] | None,
) -> None:
    """Become `ml-assets` with these arguments, in this environment; it prints into files.

    It trains `families`, where they are given, instead of all.
    """
    from ml_assets.cli import app

    os.environ.update(environment)
    if families:
        train_only(families)
    print_into(out, err)
    sys.argv = ["ml-assets", *arguments]
    try:
        app()
    finally:
        atexit._run_exitfuncs()  # a child of multiprocessing ends without them


def train_only(families: Sequence[Family]) -> None:
    """In this process no others are trained."""
    vars(experiments)["FAMILIES"] = families


def print_into(*files: Path) -> None:
    """Let standard output be the first file, and standard error the last."""
    for number, file in ((1, files[0]), (2, files[-1])):
        with file.open("a") as opened:
            os.dup2(opened.fileno(), number)
