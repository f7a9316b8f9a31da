"""The least that Dagster can be asked for, timed: what a run of ours is measured against."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.measure import BIN, PROJECT, run

TRIVIAL = "`dagster asset materialize` of one asset that does nothing"


class Trivial:
    """`dagster asset materialize` of one asset, on an instance that was used before."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
        self._home = home
        self.run()

    def run(self) -> float:
        """Wall-clock seconds of a new process."""
        module = PROJECT / "bench" / "trivial.py"
        command = [BIN / "dagster", "asset", "materialize", "-f", module, "--select", "nothing"]
        settings = {"DAGSTER_HOME": str(self._home)}
        return run(command, settings, self._home / "run.log").seconds
