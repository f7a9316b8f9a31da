"""A search in a process of its own that waits for texts, so that two can be asked by turns.

`python -m bench.search.serving MODULE DATABASE STATE MODEL` opens the search, says so, and answers
each line, a JSON list of texts, with the seconds that each of them took, and how many were found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.measure import PROJECT, clean_environment
from bench.search.contenders.protocol import Search


@dataclass(frozen=True)
class Serving:
    """The process, as who asks it sees it."""

    process: subprocess.Popen[str]
    log: Path

    def ask(self, texts: Sequence[str]) -> list[float]:
        """Seconds of each text, asked one after the other."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(list(texts)) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> list[float]:
        """The next line it says.

        Raises:
            SystemExit: it ended; the message has the end of its log.
        """
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            tail = self.log.read_text(errors="replace").splitlines()[-20:]
            sys.exit("\n".join([*tail, f"Exit code {self.process.wait()}"]))
        seconds: list[float] = json.loads(line)
        return seconds


@contextmanager
def serving(
    python: Path | str, module: str, database: str, state: Path, model: Path
) -> Iterator[Serving]:
    """Start the process, and wait until it is ready."""
    state.mkdir(parents=True, exist_ok=True)
    log = state / f"{module}.log"
    command = [python, "-m", "bench.search.serving", module, database, state, model]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            list(map(str, command)),
            cwd=PROJECT,
            env=clean_environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            served = Serving(process, log)
            served.answer()
            yield served
        finally:
            process.kill()


def main() -> None:
    """Read the arguments, open the search, answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("database")
    for place in ("state", "model"):
        parser.add_argument(place, type=Path)
    asked = parser.parse_args()
    # What libraries print is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    module = import_module(f"bench.search.contenders.{asked.module}")
    with module.open_search(asked.database, asked.state, asked.model) as search:
        print("[]", file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(_timed(search, json.loads(line))), file=answers, flush=True)


def _timed(search: Search, texts: Sequence[str]) -> list[float]:
    seconds = []
    for text in texts:
        started = time.perf_counter()
        found = search(text)
        seconds.append(time.perf_counter() - started)
        if not found:
            raise ValueError(f"nothing was found for {text!r}")
    return seconds


if __name__ == "__main__":
    main()
