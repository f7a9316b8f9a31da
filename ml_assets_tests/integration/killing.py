"""A command that dies at a named point: what the children of the backup tests do."""

import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_assets import cli
from ml_assets.embeddings.quantization import unit
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

    It trains the quick families alone.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    output: Path
    point: Point | None = field(default=None)


class TopicEncoder(HashEncoder):
    """Texts of one of `TOPICS` are near each other, and no two of them equal."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = 0.2 * super().encode(texts)
        for vector, text in zip(vectors, texts, strict=True):
            words = set(text.replace(".", "").split())
            for number, known in enumerate(TOPICS.values()):
                vector[number] += len(words & set(known.split()))
        return unit(vectors)


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
    use_fakes(TopicEncoder(), TopicEncoder)
    vars(experiments)["FAMILIES"] = FAST
    if command.point:
        arm(command.point, load_settings(), "process")
    sys.exit(cli.app(list(command.arguments), standalone_mode=False))
