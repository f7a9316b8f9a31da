"""Cold, unchanged and 1 % changed: ml_assets beside plain encoding and beside the peers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import corpus, ours
from bench.measure import BIN, run, say
from bench.peers import PYTHON, Peer
from bench.rows import Figure, Limit, Row
from bench.session import new_session, warm_session
from bench.trivial_run import TRIVIAL, Trivial

OURS = "ml_assets"
PLAIN = "SentenceTransformer.encode of the same chunks"
LOOK_AT_ALL = "ml_assets, `run --all`"
TO_VECTORS = "ml_assets, documents to HNSW (`run --until documents`)"
CASES = COLD, WARM, NEW, CHANGED_WARM, CHANGED_NEW = (
    "cold",
    "unchanged, warm",
    "unchanged, new",
    "changed, warm",
    "changed, new",
)
SECTIONS = ("cold", "unchanged", "changed")

COLD_LIMIT = Limit(factor=0.55)
UNCHANGED_NEW_LIMIT = Limit(factor=1, plus=1.5)
UNCHANGED_WARM_LIMIT = Limit(plus=0.5)
CHANGED_NEW_LIMIT = Limit(factor=0.6)


@dataclass(frozen=True)
class Contest:
    """Where the section works, on what, against whom, and what of it is wanted."""

    work: Path
    server: str
    texts: Sequence[corpus.Text]
    peers: Sequence[Peer]
    repetitions: int
    wanted: frozenset[str]

    @property
    def again(self) -> bool:
        """Whether anything after the cold ingestion is wanted."""
        return bool(self.wanted & {"unchanged", "changed"})


@dataclass
class Samples:
    """Seconds by (contender, case), one for each repetition, and the chunks each made."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    chunks: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, case: str, seconds: float) -> None:
        """Keep one sample."""
        self.seconds[name, case].append(seconds)

    def figure(self, name: str, case: str) -> Figure:
        """The samples of one case; all chunks are worked on when it is cold."""
        count = self.chunks.get(name, 0) if case == COLD else 0
        return Figure(name, tuple(self.seconds[name, case]), count=count)

    def beside(
        self, what: str, case: str, others: Sequence[str], limits: Mapping[str, Limit]
    ) -> list[Row]:
        """Our figure beside that of each of the others."""
        mine = self.figure(OURS, case)
        return [Row(what, mine, self.figure(name, case), limits.get(name)) for name in others]


def measure(contest: Contest) -> list[Row]:
    """Run all repetitions, each contender after the other, and set the figures side by side."""
    turns = corpus.write_turns(contest.texts, contest.work / "texts", 3)
    trivial = Trivial(contest.work / "trivial") if "unchanged" in contest.wanted else None
    samples = Samples()
    for repetition in range(contest.repetitions):
        say(f"ingest, repetition {repetition + 1} of {contest.repetitions}")
        folder = contest.work / f"repetition-{repetition}"
        _measure_ours(contest, turns, folder / "ml_assets", samples)
        if trivial:
            samples.add(TRIVIAL, NEW, trivial.run())
        for peer in contest.peers:
            _measure_peer(contest, peer, turns, folder / peer.module, samples)
    return [row for section in SECTIONS for row in rows(section, contest, samples)]


def _measure_ours(contest: Contest, turns: Sequence[Path], state: Path, samples: Samples) -> None:
    with ours.database(contest.server) as url:
        (cold,) = warm_session("ml_assets_jobs", state, turns[:1], database=url)
        samples.add(OURS, COLD, cold.seconds)
        samples.chunks[OURS] = cold.chunks
        texts = state / "chunks.json"
        texts.write_text(json.dumps(list(ours.read_chunks(url).values())), encoding="utf-8")
        (plain,) = warm_session("plain_encode", state, [texts])
        samples.add(PLAIN, COLD, plain.seconds)
        samples.chunks[PLAIN] = plain.chunks
        say(f"  ml_assets {cold.seconds:.1f} s, plain encode {plain.seconds:.1f} s")
        if not contest.again:
            return
        # The first of them brings the rest up to date: other indexes, evaluation, features.
        _, unchanged, changed = warm_session(
            "ml_assets_run", state, [turns[0], turns[0], turns[1]], database=url
        )
        samples.add(OURS, WARM, unchanged.seconds)
        samples.add(OURS, CHANGED_WARM, changed.seconds)
        _, unchanged = warm_session("ml_assets_all", state, [turns[1], turns[1]], database=url)
        samples.add(LOOK_AT_ALL, WARM, unchanged.seconds)
        samples.add(OURS, NEW, run_command(state, url))
        ours.place(turns[2], state)
        samples.add(OURS, CHANGED_NEW, run_command(state, url))
        ours.place(turns[3], state)
        samples.add(TO_VECTORS, CHANGED_NEW, run_command(state, url, "--until", "documents"))


def run_command(state: Path, database: str, *options: str) -> float:
    """Wall-clock seconds of `ml-assets run` in a new process."""
    command = [BIN / "ml-assets", "run", *options]
    return run(command, ours.environment(state, database), state / "run.log").seconds


def _measure_peer(
    contest: Contest, peer: Peer, turns: Sequence[Path], state: Path, samples: Samples
) -> None:
    files = [turns[0], turns[0], turns[1]] if contest.again else turns[:1]
    with ours.database(contest.server) as url:
        ingested = warm_session(peer.module, state, files, database=url, python=PYTHON)
        for case, one in zip((COLD, WARM, CHANGED_WARM), ingested, strict=False):
            samples.add(peer.name, case, one.seconds)
        samples.chunks[peer.name] = ingested[0].chunks
        say(f"  {peer.name} {ingested[0].seconds:.1f} s")
        if not contest.again:
            return
        for case, file in ((NEW, turns[1]), (CHANGED_NEW, turns[2])):
            seconds = new_session(peer.module, state, file, database=url, python=PYTHON)
            samples.add(peer.name, case, seconds)


def rows(section: str, contest: Contest, samples: Samples) -> list[Row]:
    """The rows of one of the `SECTIONS`; none when it is not wanted."""
    if section not in contest.wanted:
        return []
    documents = f"{len(contest.texts):,} documents"
    edited = f"{corpus.count_edited(contest.texts, 2):,} of {documents} changed"
    peers = [peer.name for peer in contest.peers]
    if section == "cold":
        what = f"cold, documents to HNSW, warm process, {documents}"
        return samples.beside(what, COLD, [PLAIN, *peers], {PLAIN: COLD_LIMIT})
    if section == "unchanged":
        new, warm = (f"unchanged, {process} process, {documents}" for process in ("new", "warm"))
        return [
            *samples.beside(new, NEW, [TRIVIAL, *peers], {TRIVIAL: UNCHANGED_NEW_LIMIT}),
            Row(warm, samples.figure(OURS, WARM), None, UNCHANGED_WARM_LIMIT),
            *samples.beside(warm, WARM, [LOOK_AT_ALL, *peers], {}),
        ]
    new, limits = f"{edited}, new process", {"CocoIndex": CHANGED_NEW_LIMIT}
    to_vectors = samples.figure(TO_VECTORS, CHANGED_NEW)
    return [
        *(
            Row(new, to_vectors, samples.figure(name, CHANGED_NEW), limits.get(name))
            for name in peers
        ),
        *samples.beside(f"{new}, all indexes, evaluated and published", CHANGED_NEW, peers, {}),
        *samples.beside(f"{edited}, warm process", CHANGED_WARM, peers, {}),
    ]
