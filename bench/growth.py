"""Growth: seconds and peak memory of `ml-assets run` on ever more documents, all embedded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import corpus, ours
from bench.measure import BIN, Finished, run, say
from bench.rows import Figure, Limit, Row
from bench.session import warm_session

SOURCE = "python_environment"
SIZES = (2_000, 5_000, 20_000, 77_000)
MEMORY_BASE = 5_000
ENCODERS = {
    "plain_encode": "SentenceTransformer.encode of what changed",
    "own_encode": "the encoder of ml_assets on what changed",
}
UNCHANGED_LIMIT = Limit(factor=4)
CHANGED_LIMIT = Limit(factor=1.3)
MEMORY_LIMIT = Limit(factor=1.5)
_MIB = 2**20


@dataclass
class Grown:
    """What was measured at one size: runs in new processes."""

    documents: int
    chunks: int
    cold: list[Finished]
    unchanged: list[Finished] = field(default_factory=list)
    changed: list[Finished] = field(default_factory=list)
    to_vectors: list[Finished] = field(default_factory=list)
    """As `changed`, but only from the documents to PostgreSQL's HNSW."""
    encode: list[Figure] = field(default_factory=list)

    def seconds(self, runs: Sequence[Finished], chunks: int = 0) -> Figure:
        """How long these runs took."""
        return Figure(self._name, tuple(one.seconds for one in runs), count=chunks)

    @property
    def peak(self) -> Figure:
        """The most memory of any run, PostgreSQL included, in MiB."""
        runs = (*self.cold, *self.unchanged, *self.changed, *self.to_vectors)
        most = max(one.peak for one in runs)
        return Figure(self._name, (most / _MIB,), "MiB")

    def beyond(self, runs: Sequence[Finished]) -> Figure:
        """How much longer these runs take than one when nothing changed."""
        nothing = self.seconds(self.unchanged).median
        return Figure(self._name, tuple(one.seconds - nothing for one in runs))

    @property
    def _name(self) -> str:
        return f"{self.documents:,} documents"


def measure(work: Path, sizes: Sequence[int], repetitions: int) -> list[Row]:
    """Bring up a deployment of each size; the cold run is done once."""
    texts = corpus.read_source(SOURCE)
    grown = [_grow(work / str(size), corpus.spread(texts, size), repetitions) for size in sizes]
    return rows(grown)


def _grow(state: Path, texts: Sequence[corpus.Text], repetitions: int) -> Grown:
    say(f"growth, {len(texts):,} documents")
    turns = corpus.write_turns(texts, state / "texts", 2 * repetitions)
    cold = _run(state, turns[0])
    before = _chunks(state)
    grown = Grown(len(texts), len(before), [cold])
    say(f"  cold {cold.seconds:.0f} s, {cold.peak / _MIB:,.0f} MiB, {len(before):,} chunks")
    for _ in range(repetitions):
        grown.unchanged.append(_run(state, turns[0]))
    grown.changed.append(_run(state, turns[1]))
    grown.encode = _encode_new(state, before, repetitions)
    grown.changed += [_run(state, file) for file in turns[2 : 1 + repetitions]]
    grown.to_vectors = [
        _run(state, file, "--until", "documents") for file in turns[1 + repetitions :]
    ]
    say(f"  unchanged {[round(one.seconds, 1) for one in grown.unchanged]} s")
    say(f"  1 % changed {[round(one.seconds, 1) for one in grown.changed]} s")
    say(f"  documents to HNSW {[round(one.seconds, 1) for one in grown.to_vectors]} s")
    return grown


def _run(state: Path, documents: Path, *options: str) -> Finished:
    ours.place(documents, state)
    return run(
        [BIN / "ml-assets", "run", *options],
        ours.environment(state),
        state / "run.log",
        watched_server=state / "home" / "postgres",
    )


def _chunks(state: Path) -> dict[str, str]:
    with ours.embedded_server(state / "home") as url:
        return ours.read_chunks(url)


def _encode_new(state: Path, before: dict[str, str], repetitions: int) -> list[Figure]:
    """The time to encode the chunks that are new, alone, by each encoder."""
    new = [text for key, text in _chunks(state).items() if key not in before]
    texts = state / "new.json"
    texts.write_text(json.dumps(new), encoding="utf-8")
    figures = []
    for module, name in ENCODERS.items():
        _, *done = warm_session(module, state, [texts] * (1 + repetitions))
        figures.append(Figure(name, tuple(one.seconds for one in done), count=len(new)))
    return figures


def rows(grown: Sequence[Grown]) -> list[Row]:
    """Every size beside the smallest, memory beside `MEMORY_BASE`; limits are for the largest."""
    small, large = grown[0], grown[-1]
    frugal = next((one for one in grown if one.documents >= MEMORY_BASE), small)
    found = []
    for one in grown:
        last = one is large
        found += [
            _beside(
                "cold `ml-assets run`, all embedded",
                one.seconds(one.cold, one.chunks),
                small.seconds(small.cold, small.chunks),
            ),
            _beside(
                "unchanged, new process, all embedded",
                one.seconds(one.unchanged),
                small.seconds(small.unchanged),
                UNCHANGED_LIMIT if last else None,
            ),
            _beside(
                "1 % changed, new process, all embedded",
                one.seconds(one.changed),
                small.seconds(small.changed),
            ),
            _beside(
                "peak memory of all processes",
                one.peak,
                frugal.peak,
                MEMORY_LIMIT if last else None,
            ),
        ]
    what = f"1 % of {large.documents:,} documents changed, beyond the unchanged run"
    runs = {"all of it": large.changed, "documents to HNSW": large.to_vectors}
    return found + [
        Row(f"{what}, {path}", large.beyond(of), encode, CHANGED_LIMIT)
        for path, of in runs.items()
        for encode in large.encode
    ]


def _beside(what: str, measured: Figure, against: Figure, limit: Limit | None = None) -> Row:
    """A row; what would be set against itself stands alone."""
    if measured == against:
        return Row(what, measured)
    return Row(what, measured, against, limit)
