"""One contender in a process of its own.

`python -m bench.contenders NAME DATABASE STATE MODEL REPORT [--warm] FILE…` ingests the files one
after the other, and writes a JSON line for each to REPORT: seconds and chunks. With `--warm`,
libraries and the model are loaded before.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from pathlib import Path

from bench.contenders.protocol import Job, Pipeline


def main() -> None:
    """Read the arguments, open the contender, ingest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("database")
    for place in ("state", "model", "report"):
        parser.add_argument(place, type=Path)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("files", type=Path, nargs="+")
    asked = parser.parse_args()
    module = import_module(f"bench.contenders.{asked.name}")
    pipeline: Pipeline = module.Pipeline(Job(asked.database, asked.state, asked.model))
    if asked.warm:
        pipeline.warm_up()
    with asked.report.open("w", encoding="utf-8") as report:
        for file in asked.files:
            started = time.perf_counter()
            chunks = pipeline.ingest(file)
            seconds = time.perf_counter() - started
            report.write(json.dumps({"seconds": seconds, "chunks": chunks}) + "\n")


if __name__ == "__main__":
    main()
