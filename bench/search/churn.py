"""Churn: the seconds to bring every index up to date, and what it costs them in recall.

`python -m bench.search.churn HOME` measures on chunks of the deployment in the folder HOME, of
which a copy is read; it prints a table and writes bench/results/churn.json. `--faiss ivfpq` or
`--faiss flat` measures an index of FAISS, too: only a generation that serves by it has one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import ours
from bench.measure import PROJECT, keep, machine, say
from bench.rows import Figure, Limit, Row, as_json, table
from bench.search.held import churn, fill
from ml_assets.search.evaluation.exact import RecallReport, recall_against_exact
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.kinds import Indexes, kinds_of, sync_index, vector_indexes
from ml_assets.search.indexes.wear import rebuild_if_worn
from ml_assets.search.model import Generation
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

CHUNKS = 43_000
ROUNDS = 30
SMALL, LARGE = 100, 10
"""One chunk in so many: 1 % is measured in seconds, 10 % wears the graphs out."""
REPORTED = 10
"""Recall is reported after so many rounds each time, and the least of all rounds."""
RESULTS = PROJECT / "bench" / "results" / "churn.json"
SECONDS_LIMIT = Limit(plus=2)
RECALL_LIMIT = Limit(at_least=0.98)


@dataclass(frozen=True)
class Deployment:
    """An embedded home that is filled."""

    home: Path
    connection: postgres.Connection
    generation: Generation
    chunks: int

    @property
    def indexes(self) -> Indexes:
        """What opens them."""
        return Indexes(load_settings(home=self.home))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The indexes of the generation."""
        return tuple(kind.name for kind in kinds_of(self.generation))

    @property
    def vectors(self) -> tuple[str, ...]:
        """Those with recall."""
        return tuple(kind.name for kind in kinds_of(self.generation) if kind.answers == "vector")

    def current(self) -> Generation:
        """The generation with its last measurement."""
        return ensure_generation(
            self.connection, self.generation.space_id, self.generation.parameters
        )


@dataclass
class Seconds:
    """What one small churn took, by the place where the time was spent."""

    chunks: int
    vectors: float
    """To insert and delete vectors in PostgreSQL, which keeps its own index current."""
    sync: dict[str, float] = field(default_factory=dict)
    """By index: to open it anew, to bring it up to date, and to close it."""

    @property
    def whole(self) -> float:
        """All indexes."""
        return self.vectors + sum(self.sync.values())


@dataclass(frozen=True)
class Round:
    """What was measured after one large churn, and which indexes were built anew before."""

    number: int
    report: RecallReport
    rebuilt: Sequence[str] = ()


def measure(
    work: Path,
    source: str,
    *,
    chunks: int = CHUNKS,
    repetitions: int = 3,
    rounds: int = ROUNDS,
    without_maintenance: bool = False,
    faiss: str | None = None,
) -> Iterator[Row]:
    """Churn `chunks` chunks of the filled database at the URL `source`, which is only read.

    A round of 10 % takes two thirds of that from the chunks that are held out: 30 rounds need a
    source of three times `chunks`.
    """
    with _filled(work / "maintained", source, chunks, repetitions, rounds, faiss) as filled:
        for kind in filled.kinds:
            _sync(filled, kind)
        yield from seconds_rows(chunks, [_small(filled, turn) for turn in range(repetitions)])
        yield from recall_rows("maintained", _large(filled, rounds, maintained=True))
    if without_maintenance:
        with _filled(work / "left", source, chunks, 0, rounds, faiss) as filled:
            yield from recall_rows("not maintained", _large(filled, rounds, maintained=False))


@contextmanager
def _filled(
    home: Path, source: str, chunks: int, repetitions: int, rounds: int, faiss: str | None
) -> Iterator[Deployment]:
    say(f"churn, {chunks:,} chunks")
    # Two thirds of a churn are new to the tables.
    held_out = repetitions * 2 * (chunks // SMALL // 3) + rounds * 2 * (chunks // LARGE // 3)
    with ours.embedded_server(home) as url, postgres.connect(url, home) as connection:
        chosen: dict[str, Any] = {"vector_index": f"faiss-{faiss}"} if faiss else {}
        generation = fill(source, connection, chunks, held_out, load_settings(**chosen))
        yield Deployment(home, connection, generation, chunks)


def _small(filled: Deployment, turn: int) -> Seconds:
    churned = churn(filled.connection, filled.chunks // SMALL, turn)
    seconds = Seconds(churned.chunks, churned.vector_seconds)
    for kind in filled.kinds:
        started = time.perf_counter()
        _sync(filled, kind)
        seconds.sync[kind] = time.perf_counter() - started
    say(f"  1 %: {seconds.whole:.2f} s, {seconds}")
    return seconds


def _large(filled: Deployment, rounds: int, *, maintained: bool) -> list[Round]:
    """Measure as fresh indexes are, and after every round, as the evaluation does."""
    for kind in filled.vectors:
        _sync(filled, kind)
    done = [Round(0, _evaluated(filled))]
    for number in range(1, rounds + 1):
        churn(filled.connection, filled.chunks // LARGE, -number)
        reached = done[-1].report.reached if maintained else None
        rebuilt = [kind for kind in filled.vectors if _sync(filled, kind, reached)]
        done.append(Round(number, _evaluated(filled), rebuilt))
        say(f"  round {number}: {done[-1].report.recall}, built anew: {rebuilt}")
    return done


def _evaluated(filled: Deployment) -> RecallReport:
    with filled.indexes.open_all(filled.connection, filled.current()) as opened:
        indexes = {
            kind: index for kind, index in vector_indexes(opened).items() if kind in filled.vectors
        }
        return recall_against_exact(filled.connection, filled.current(), indexes)


def _sync(filled: Deployment, kind: str, reached: Mapping[str, float] | None = None) -> bool:
    """Bring an index up to date; with `reached`, return whether it was worn and was built anew."""
    with filled.indexes.open(filled.connection, filled.current(), kind) as index:
        sync_index(filled.connection, index)
        if reached is None:
            return False
        return rebuild_if_worn(filled.connection, index, reached) is not None


def seconds_rows(chunks: int, measured: Sequence[Seconds]) -> list[Row]:
    """The whole with its limit, and its parts."""
    if not measured:
        return []
    count = measured[0].chunks
    what = f"1 % churn of {chunks:,} chunks"
    parts = {
        "all indexes": [one.whole for one in measured],
        "vectors written, with PostgreSQL's own index": [one.vectors for one in measured],
        **{f"{kind} sync": [one.sync[kind] for one in measured] for kind in measured[0].sync},
    }
    whole, *rest = [Figure(name, tuple(of), count=count) for name, of in parts.items()]
    return [Row(what, whole, None, SECONDS_LIMIT), *(Row(what, part) for part in rest)]


def recall_rows(name: str, rounds: Sequence[Round]) -> list[Row]:
    """Recall after every tenth round and the least of all, by index; limits are for maintained."""
    limit = RECALL_LIMIT if name == "maintained" else None
    found = []
    for kind in rounds[0].report.recall:
        what = f"recall@10 under 10 % churn, {name}, {kind}"
        for one in rounds[::REPORTED]:
            built = sum(kind in other.rebuilt for other in rounds[: one.number + 1])
            figure = Figure(
                f"after {one.number} rounds, built anew {built} times",
                (one.report.recall[kind],),
                "",
            )
            found.append(Row(what, figure, None, limit))
        least = min(one.report.recall[kind] for one in rounds)
        found.append(Row(what, Figure("least of all rounds", (least,), ""), None, limit))
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Measure on a copy of a home; what is measured is kept at once."""
    parser = argparse.ArgumentParser(prog="python -m bench.search.churn", description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--without-maintenance", action="store_true")
    parser.add_argument("--faiss", choices=("flat", "ivfpq"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args(given)
    report: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        **{name: getattr(asked, name) for name in ("chunks", "repetitions", "rounds", "faiss")},
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        work = Path(folder)
        with ours.copied_server(asked.home, work / "source") as source:
            for row in measure(
                work,
                source,
                chunks=asked.chunks,
                repetitions=asked.repetitions,
                rounds=asked.rounds,
                without_maintenance=asked.without_maintenance,
                faiss=asked.faiss,
            ):
                rows.append(row)
                keep({**report, "rows": [as_json(one) for one in rows]}, asked.output)
    print(table(rows))
    say(f"Written: {asked.output}")


if __name__ == "__main__":
    main()
