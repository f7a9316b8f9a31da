"""`make bench-search`: search measured on real vectors; prints tables, writes search.json.

`make bench-search ROWS=indexes,hybrid HOME_OF=.ml_assets` does a part of it, with the chunks of a
home that was brought up to `search`; without a home, documents of `python_environment` are
embedded first. `million` takes two or three hours, 15 GB of disk and 16 of memory, and is done
only when it is asked for. `quality` needs no home, but the folders of benchmarks:
`make bench-search ROWS=quality BEIR="…/scifact …/cranfield"`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import ours
from bench.__main__ import one_of
from bench.measure import PROJECT, keep, machine, say
from bench.peers import peer_versions
from bench.search import hybrid, indexes, quality
from bench.search.real import Real, read
from bench.search.report import PROMISES, Promise, Target, as_json, index_table
from bench.search.vectors import JITTER, Vectors, jittered, save

RESULTS = PROJECT / "bench" / "results" / "search.json"
SECTIONS = ("indexes", "hybrid", "million", "quality")
DEFAULT = ("indexes", "hybrid")


@dataclass(frozen=True)
class Measured:
    """One section: its table, its lines, what must be reached, and what is promised elsewhere."""

    section: str
    lines: Sequence[Any]
    table: str
    targets: Sequence[Target] = ()
    promises: Sequence[Promise] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it but the table."""
        return {
            name: [as_json(one) for one in getattr(self, name)]
            for name in ("lines", "targets", "promises")
        }


def main() -> None:
    """Measure what is asked for; what is measured is kept at once."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is open is closed
    report: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "faiss": version("faiss-cpu"),
        "peers": peer_versions(),
        "jitter": JITTER,
    }
    tables: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        for measured in _measure(asked, Path(folder)):
            report[measured.section] = measured.as_json()
            keep(report, asked.output)
            tables += [measured.table, "\n".join(map(str, measured.targets))]
    print("\n\n".join(filter(None, tables)))
    say(f"Written: {asked.output}")


def _measure(asked: argparse.Namespace, work: Path) -> Iterator[Measured]:
    if "quality" in asked.rows:
        judged = list(quality.measure(work / "quality", asked.beir, dict(asked.set)))
        yield Measured("quality", judged, quality.table(judged), quality.targets(judged))
    if {*asked.rows} - {"quality"}:
        real = read(asked.home, work / "real", asked.vectors)
        say(f"{len(real.chunks):,} chunks, {len(real.queries)} queries that are not among them")
        yield from _measure_vectors(asked, real, work)


def _measure_vectors(asked: argparse.Namespace, real: Real, work: Path) -> Iterator[Measured]:
    vectors = save(work / "vectors", [real.vectors], real.queries)
    if "indexes" in asked.rows:
        yield _measure_indexes("indexes", work, vectors, real, asked.indexes or indexes.ALL)
    if "hybrid" in asked.rows:
        with ours.embedded_server(work / "server") as url:
            lines = hybrid.measure(work / "hybrid", url, real)
        yield Measured("hybrid", lines, hybrid.table(lines), hybrid.targets(lines))
    if "million" in asked.rows:
        say(f"{asked.million:,} vectors, jittered; a million take two or three hours")
        many = save(work / "million", jittered(vectors, asked.million), vectors.queries)
        names = asked.indexes or indexes.OF_A_MILLION
        yield _measure_indexes("million", work, many, real, names)


def _measure_indexes(
    section: str, work: Path, vectors: Vectors, real: Real, names: Sequence[str]
) -> Measured:
    home = work / "server"
    with ours.embedded_server(home) as url:
        # A million are told apart by their vectors alone: their texts would be those of others.
        texts = real.chunks if section == "indexes" else ()
        contest = indexes.Contest(url, home / "postgres", work / section, vectors, texts)
        lines = list(indexes.measure(contest, names))
    targets = indexes.targets(lines) if section == "indexes" else []
    promises = PROMISES if section == "million" else ()
    return Measured(section, lines, index_table(lines, promises), targets, promises)


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--rows", type=one_of(SECTIONS), default=DEFAULT, metavar="NAMES")
    parser.add_argument("--home", type=Path, help="with a search of the default model")
    parser.add_argument("--vectors", type=int, default=43_000, help="real ones")
    parser.add_argument("--million", type=int, default=1_000_000, help="how many they are")
    parser.add_argument("--indexes", type=one_of(indexes.ALL), metavar="NAMES")
    parser.add_argument("--beir", type=Path, nargs="+", default=[], help="folders of `quality`")
    parser.add_argument(
        "--set",
        type=lambda pair: tuple(pair.split("=", 1)),
        nargs="+",
        default=[],
        metavar="SETTING=VALUE",
        help="settings of `quality`, beside the defaults",
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args(given)
    if "quality" in asked.rows and not asked.beir:
        parser.error("quality needs the folders of benchmarks: --beir DIR …")
    return asked


if __name__ == "__main__":
    main()
