"""`make bench`: measure, print one table, and write bench/results/bench.json.

`make bench ROWS=cold,unchanged REPETITIONS=1` does a part of it; `growth` takes most of the time.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import backfill, corpus, following, growth, ingest, ours, prompt, servers, stores
from bench.measure import PROJECT, keep, machine, say
from bench.peers import PEERS, Peer, installed, peer_versions
from bench.rows import Row, as_json, table

RESULTS = PROJECT / "bench" / "results" / "bench.json"
SECTIONS = (*ingest.SECTIONS, "prompt", "following", "servers", "growth", "stores", "backfill")
SOURCE = "python_docs"
STORED = 5_000
"""Rows of the stores."""


def main() -> None:
    """Measure what is asked for; what is measured is kept at once."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is open is closed
    versions = peer_versions()
    peers = [peer for peer in installed(versions) if peer.name in asked.peers]
    report = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "peers": versions,
        "skipped_peers": [peer.name for peer in PEERS if peer not in peers],
        "repetitions": asked.repetitions,
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        for measured in _measure(asked, peers, Path(folder)):
            rows += measured
            keep({**report, "rows": [as_json(row) for row in rows]}, asked.output)
    print(table(rows))
    print(f"\n{_described(report)}")
    say(f"Written: {asked.output}")


def _measure(
    asked: argparse.Namespace, peers: Sequence[Peer], work: Path
) -> Iterator[Sequence[Row]]:
    wanted: frozenset[str] = frozenset(asked.rows)
    repetitions: int = asked.repetitions
    texts = corpus.spread(corpus.read_source(SOURCE), asked.documents)
    if wanted & set(ingest.SECTIONS):
        with ours.embedded_server(work / "server") as server:
            contest = ingest.Contest(work / "ingest", server, texts, peers, repetitions, wanted)
            yield ingest.measure(contest)
    if "prompt" in wanted:
        yield prompt.measure(work / "prompt", texts, repetitions)
    if "following" in wanted:
        yield following.measure(work / "following", texts, repetitions)
    if "backfill" in wanted:
        yield backfill.measure(work / "backfill", repetitions)
    if "servers" in wanted:
        yield servers.measure(work / "servers", texts, repetitions)
    if "stores" in wanted:
        with ours.embedded_server(work / "server") as server:
            yield stores.measure(
                work / "stores",
                server,
                corpus.spread(corpus.read_source(SOURCE), STORED),
                repetitions,
            )
    if "growth" in wanted:
        yield growth.measure(work / "growth", asked.sizes, repetitions)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=one_of(SECTIONS), default=SECTIONS, metavar="NAMES")
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", type=one_of(names), default=names, metavar="NAMES")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--documents", type=int, default=2_000, help="of python_docs")
    parser.add_argument("--sizes", type=_sizes, default=growth.SIZES, help="of growth")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def one_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """What parses names with commas between them, each one of those `known`."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _sizes(text: str) -> list[int]:
    return sorted(map(int, text.split(",")))


def _described(report: Mapping[str, Any]) -> str:
    """The machine and the versions, in one paragraph."""
    at, skipped = report["machine"], report["skipped_peers"]
    versions = ", ".join(f"{name} {number}" for name, number in at["versions"].items())
    peers = ", ".join(f"{name} {number}" for name, number in report["peers"].items())
    return (
        f"{at['processor']}, {at['cores']} cores ({', '.join(at['flags'])}),"
        f" {at['memory_gib']} GiB, load {at['load_before']} before;"
        f" medians of {report['repetitions']}; {versions}; peers: {peers or 'not installed'}."
        f" Skipped peers: {', '.join(skipped) or 'none'}."
    )


if __name__ == "__main__":
    main()
