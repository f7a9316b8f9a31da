"""A command that dies at a named point, or any time: the children of the tests that kill."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_assets import cli
from ml_assets.settings import load_settings
from ml_assets_tests.corpus import FAST
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.integration.crashing import Point, arm, use_fakes
from ml_assets_tests.integration.forking import fork, print_into, train_only
from ml_assets_tests.integration.project import TOPICS


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
    command.output.unlink(missing_ok=True)
    return fork(seconds, _run, command), command.output.read_text()


def _run(command: Command) -> None:
    os.environ.update(command.environment)
    print_into(command.output)
    use_fakes(TopicEncoder(), TopicEncoder)
    if command.fast:
        train_only(FAST)
    if command.point:
        arm(command.point, load_settings(), "process")
    sys.exit(cli.app(list(command.arguments), standalone_mode=False))
