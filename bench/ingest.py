"""Cold, unchanged and 1 % changed: ml_assets beside plain encoding and beside the peers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
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

    def figure(self, name: str, case: str, chunks: int = 0) -> Figure:
        """The samples of one case."""
        return Figure(name, tuple(self.seconds[name, case]), count=chunks)


def measure(contest: Contest) -> list[Row]:
    """Run all repetitions, each contender after the other, and set the figures side by side."""
    turns = corpus.write_turns(contest.texts, contest.work / "texts", 2)
    trivial = Trivial(contest.work / "trivial")
    samples = Samples()
    for repetition in range(contest.repetitions):
        say(f"ingest, repetition {repetition + 1} of {contest.repetitions}")
        folder = contest.work / f"repetition-{repetition}"
        _measure_ours(contest, turns, folder / "ml_assets", samples)
        if "unchanged" in contest.wanted:
            samples.seconds[TRIVIAL, NEW].append(trivial.run())
        for peer in contest.peers:
            _measure_peer(contest, peer, turns, folder / peer.module, samples)
    return [row for section in SECTIONS for row in rows(section, contest, samples)]


def _measure_ours(contest: Contest, turns: Sequence[Path], state: Path, samples: Samples) -> None:
    with ours.database(contest.server) as url:
        (cold,) = warm_session("ml_assets_jobs", state, turns[:1], database=url)
        samples.seconds[OURS, COLD].append(cold.seconds)
        samples.chunks[OURS] = cold.chunks
        texts = state / "chunks.json"
        texts.write_text(json.dumps(list(ours.read_chunks(url).values())), encoding="utf-8")
        (plain,) = warm_session("plain_encode", state, [texts])
        samples.seconds[PLAIN, COLD].append(plain.seconds)
        samples.chunks[PLAIN] = plain.chunks
        say(f"  ml_assets {cold.seconds:.1f} s, plain encode {plain.seconds:.1f} s")
        if not contest.again:
            return
        # The first of them brings the rest up to date: other indexes, evaluation, features.
        _, unchanged, changed = warm_session(
            "ml_assets_run", state, [turns[0], turns[0], turns[1]], database=url
        )
        samples.seconds[OURS, WARM].append(unchanged.seconds)
        samples.seconds[OURS, CHANGED_WARM].append(changed.seconds)
        _, unchanged = warm_session("ml_assets_all", state, [turns[1], turns[1]], database=url)
        samples.seconds[LOOK_AT_ALL, WARM].append(unchanged.seconds)
        samples.seconds[OURS, NEW].append(run_command(state, url))
        ours.place(turns[2], state)
        samples.seconds[OURS, CHANGED_NEW].append(run_command(state, url))


def run_command(state: Path, database: str) -> float:
    """Wall-clock seconds of `ml-assets run` in a new process."""
    return run(
        [BIN / "ml-assets", "run"], ours.environment(state, database), state / "run.log"
    ).seconds


def _measure_peer(
    contest: Contest, peer: Peer, turns: Sequence[Path], state: Path, samples: Samples
) -> None:
    files = [turns[0], turns[0], turns[1]] if contest.again else turns[:1]
    with ours.database(contest.server) as url:
        ingested = warm_session(peer.module, state, files, database=url, python=PYTHON)
        for case, one in zip((COLD, WARM, CHANGED_WARM), ingested, strict=False):
            samples.seconds[peer.name, case].append(one.seconds)
        samples.chunks[peer.name] = ingested[0].chunks
        say(f"  {peer.name} {ingested[0].seconds:.1f} s")
        if not contest.again:
            return
        for case, file in ((NEW, turns[1]), (CHANGED_NEW, turns[2])):
            seconds = new_session(peer.module, state, file, database=url, python=PYTHON)
            samples.seconds[peer.name, case].append(seconds)


def rows(section: str, contest: Contest, samples: Samples) -> list[Row]:
    """The rows of one of the `SECTIONS`; none when it is not wanted."""
    if section not in contest.wanted:
        return []
    documents = f"{len(contest.texts):,} documents"
    edited = f"{corpus.count_edited(contest.texts, 2):,} of {documents} changed"
    names = [peer.name for peer in contest.peers]

    def against(what: str, case: str, others: Sequence[str], limits: dict[str, Limit]) -> list[Row]:
        counted = samples.chunks if case == COLD else {}
        mine = samples.figure(OURS, case, counted.get(OURS, 0))
        return [
            Row(what, mine, samples.figure(name, case, counted.get(name, 0)), limits.get(name))
            for name in others
        ]

    if section == "cold":
        what = f"cold, documents to HNSW, warm process, {documents}"
        return against(what, COLD, [PLAIN, *names], {PLAIN: COLD_LIMIT})
    if section == "unchanged":
        new, warm = (f"unchanged, {process} process, {documents}" for process in ("new", "warm"))
        return [
            *against(new, NEW, [TRIVIAL, *names], {TRIVIAL: UNCHANGED_NEW_LIMIT}),
            Row(warm, samples.figure(OURS, WARM), None, UNCHANGED_WARM_LIMIT),
            *against(warm, WARM, [LOOK_AT_ALL, *names], {}),
        ]
    return [
        *against(f"{edited}, new process", CHANGED_NEW, names, {"CocoIndex": CHANGED_NEW_LIMIT}),
        *against(f"{edited}, warm process", CHANGED_WARM, names, {}),
    ]
