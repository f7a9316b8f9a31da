"""The whole project as a person runs it: `ml-assets` as a process, on embedded stores."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from ml_assets_tests.corpus import FAST
from ml_assets_tests.integration.forking import OURS, fork, ml_assets

FORKED = OURS - {"ML_ASSETS_KEY_PREFIX"}
"""The settings that are read when a command runs, and not when a module is imported."""

TOPICS = {
    "kitchen": "oven bread flour butter recipe soup onion frying saucepan salt baking simmer dough"
    " spatula whisk garlic roast dinner chef cheese pasta sauce grill boiling cake pepper vinegar"
    " toast noodle omelette stew lunch broth pastry cinnamon mustard kettle casserole pancake",
    "garden": "soil seedling rose pruning compost tomatoes rain shovel leaf bloom weeds roots tulip"
    " hedge lawn mulch greenhouse orchard watering fertilizer petals vine herbs planting daffodil"
    " rake shrub harvest fern ivy bulb moss pollen wheelbarrow blossom thorn trellis gardener",
    "music": "violin chord tempo melody concert drum rehearsal song singer rhythm orchestra guitar"
    " piano choir trumpet opera jazz flute composer symphony harmony cello ballad lyrics conductor"
    " bassoon saxophone quartet album octave sonata microphone clarinet waltz duet soprano",
    "space": "orbit rocket planet telescope gravity astronaut comet launchpad star lunar crater"
    " galaxy nebula satellite asteroid spacecraft Mars Jupiter Saturn eclipse cosmos meteor shuttle"
    " spacesuit supernova moon Pluto astronomer Venus constellation probe payload lander Hubble",
}


def write_documents(path: Path, per_topic: int = 60) -> list[dict[str, Any]]:
    """Labelled documents about four topics, in two collections, as JSON Lines."""
    rng = random.Random(7)
    rows = []
    for label, words in TOPICS.items():
        for number in range(per_topic):
            # Few words of many: vectors know that they are related, word counts do not.
            said = " and ".join(rng.sample(words.split(), k=3))
            rows.append(
                {
                    "id": f"{label}-{number}",
                    "title": f"Note {number}" if number % 3 else "",
                    "text": f"About {said}.",
                    "label": label,
                    "shelf": "even" if number % 2 == 0 else "odd",
                    "created_at": f"2026-0{1 + number % 6}-1{number % 9}T10:00:00Z",
                }
            )
    write_rows(path, rows)
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@dataclass(frozen=True)
class Project:
    """A home, a file of documents, and the command line on them.

    `fast`: it trains the families alone that are quick, where it is called.
    """

    home: Path
    file: Path
    fast: bool = False

    @property
    def environment(self) -> dict[str, str]:
        # MLflow writes its tracking URI into the environment of the tests' own process.
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        return {
            **inherited,
            "ML_ASSETS_HOME": str(self.home),
            "ML_ASSETS_SOURCE": f"files:{self.file}?collection_by=shelf&metadata=shelf",
            "ML_ASSETS_ACTOR": "tester",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
        }

    def start(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ml_assets.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **more},
        )

    def start_logged(self, log: TextIO, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        """Run `ml-assets` on and on, what it prints in a file."""
        return subprocess.Popen(
            [sys.executable, "-m", "ml_assets.cli", *arguments],
            stdout=log,
            stderr=log,
            env={**self.environment, **more},
        )

    def call(self, *arguments: str, code: int = 0, **more: str) -> str:
        """Run `ml-assets`, insist on its exit code, and return what it printed.

        It is forked, unless something matters that Python or an import looks at.
        """
        if more.keys() <= FORKED:
            given, out, err = self._fork(arguments, {**self.environment, **more})
        else:
            process = self.start(*arguments, **more)
            out, err = process.communicate(timeout=400)
            given = process.returncode
        assert given == code, f"exit {given}\n{out}\n{err}"
        return out + err

    def _fork(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[int | None, str, str]:
        with TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            out.touch()
            err.touch()
            families = FAST if self.fast else None
            given = fork(400, ml_assets, arguments, environment, out, err, families)
            return given, out.read_text(), err.read_text()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json"))
