"""A command that dies at a named point, or any time: the children of the tests that kill."""

import multiprocessing
import os
import resource
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_assets import cli
from ml_assets.settings import load_settings
from ml_assets.training import experiments
from ml_assets_tests.corpus import FAST
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.integration.crashing import Point, arm, use_fakes
from ml_assets_tests.integration.project import OURS, TOPICS

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["ml_assets_tests.integration.killing", "chromadb", "pyarrow"])


@dataclass(frozen=True)
class Command:
    """`ml-assets` with these arguments, in this environment, until the point is reached.

    `fast`: it trains the families alone that are quick.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    output: Path
    point: Point | None = field(default=None)
    fast: bool = False


class TopicEncoder(HashEncoder):
    """Vectors that know the topic of a text, so that a model can be learned from them."""

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector, words = super()._vector(text), {*text.lower().split()}
        for axis, topic in enumerate(TOPICS.values()):
            vector[axis] += len(words.intersection(topic.lower().split()))
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def call(command: Command, seconds: float = 180) -> tuple[int | None, str]:
    """Run a command in a process group of its own; return its exit code and what it printed.

    It is killed with all its children when it takes longer.
    """
    process = FORK.Process(target=_run, args=(command,))
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
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
    use_fakes(TopicEncoder(), TopicEncoder)
    if command.fast:
        vars(experiments)["FAMILIES"] = FAST
    if command.point:
        arm(command.point, load_settings(), "process")
    sys.exit(cli.app(list(command.arguments), standalone_mode=False))
