"""The stores on servers of this machine beside the embedded ones: cold, changed, unchanged, search.

Servers run before the first second is counted; the embedded one is started by each process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import corpus, ours
from bench.measure import BIN, run, say
from bench.prompt import QUERY
from bench.rows import Figure, Limit, Row
from ml_assets_tests.servers.running import stack

_STARTED = ("chroma", "redis", "mlflow")
_URLS = ("POSTGRES_URL", "CHROMA_URL", "REDIS_URL", "MLFLOW_TRACKING_URI")
_SEARCHES = 20
_LIMITS = {
    "cold": Limit(factor=1.1),
    "1 % changed": Limit(factor=1.3),
    "nothing to do": Limit(factor=1.5),
    "every step, nothing changed": Limit(factor=1.5),
    "`ml-assets search`, new process": Limit(factor=1.3),
    f"{_SEARCHES} searches in one session": Limit(factor=1.3),
}


@dataclass
class _Deployment:
    """One way to run it, and the seconds that each thing took."""

    name: str
    urls: Mapping[str, str]
    taken: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, work: Path, turns: Sequence[Path]) -> None:
        """Bring up a new deployment in `work`, change it, and ask it."""
        settings, log = {**ours.environment(work), **self.urls}, work / "command.log"
        work.mkdir(parents=True)

        def call(what: str, *words: str) -> None:
            self._keep(what, lambda: run([BIN / "ml-assets", *words], settings, log))

        ours.place(turns[0], work)
        call("cold", "run")
        ours.place(turns[1], work)
        call("1 % changed", "run")
        call("nothing to do", "run")
        call("every step, nothing changed", "run", "--all")
        call("`ml-assets search`, new process", "search", QUERY)
        self._ask(work)

    def _ask(self, work: Path) -> None:
        import ml_assets
        from ml_assets.settings import load_settings

        given = {name.lower(): url for name, url in self.urls.items()}
        source = ours.environment(work)["ML_ASSETS_SOURCE"]
        with ml_assets.open(load_settings(home=work / "home", source=source, **given)) as session:
            session.search(QUERY)  # opens the stores and the model
            self._keep(
                f"{_SEARCHES} searches in one session",
                lambda: [session.search(f"{QUERY} {number}") for number in range(_SEARCHES)],
            )

    def _keep(self, what: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        self.taken.setdefault(what, []).append(time.perf_counter() - began)
        say(f"  {self.name}: {what} {self.taken[what][-1]:.1f} s")


def measure(work: Path, texts: Sequence[corpus.Text], repetitions: int) -> list[Row]:
    """Measure both by turns, each time from the beginning; servers are new for each repetition."""
    say(f"servers, {len(texts):,} documents")
    turns = corpus.write_turns(texts, work / "turns", 1)
    embedded = _Deployment("embedded", {})
    servers = _Deployment("servers on loopback", {})
    for number in range(repetitions):
        embedded.measure(work / f"embedded-{number}", turns)
        with _started(work / f"servers-{number}") as urls:
            servers.urls = urls
            servers.measure(work / f"on-servers-{number}", turns)
    documents = f"{len(texts):,} documents"
    return [
        Row(
            f"{what}, {documents}, all on servers",
            Figure(servers.name, tuple(servers.taken[what])),
            Figure(embedded.name, tuple(embedded.taken[what])),
            limit,
        )
        for what, limit in _LIMITS.items()
    ]


@contextmanager
def _started(folder: Path) -> Iterator[dict[str, str]]:
    """The URLs of PostgreSQL 18, Chroma, Redis and MLflow, as compose starts them."""
    with stack(folder, "18") as running:
        for name in _STARTED:
            running.start(name)
        settings = running.environment("code")
        yield {name: settings[name] for name in _URLS}
