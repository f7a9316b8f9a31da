"""A command that dies at a named point: what the children of the backup tests do."""

import multiprocessing
import os
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ml_assets import cli
from ml_assets.settings import load_settings
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.integration.crashing import Point, arm, use_fakes
from ml_assets_tests.integration.project import OURS

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["ml_assets_tests.integration.killing", "chromadb", "pyarrow"])


@dataclass(frozen=True)
class Command:
    """`ml-assets` with these arguments, in this environment, until the point is reached."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    output: Path
    point: Point | None = field(default=None)


def call(command: Command) -> tuple[int | None, str]:
    """Run a command in a process group of its own; return its exit code and what it printed."""
    process = FORK.Process(target=_run, args=(command,))
    process.start()
    process.join(180)
    return process.exitcode, command.output.read_text()


def _run(command: Command) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in OURS:
        os.environ.pop(name, None)  # MLflow writes its URI into that of the tests' own process
    os.environ.update(command.environment)
    with command.output.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    use_fakes(HashEncoder())
    if command.point:
        arm(command.point, load_settings(), "process")
    sys.exit(cli.app(list(command.arguments), standalone_mode=False))
