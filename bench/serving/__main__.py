"""`make bench-serving`: the service over HTTP, end to end, by wrk, beside what others serve.

Every question is asked once, so that no cache answers. Without `--home` one of 43,000 chunks is
brought up, and kept for the next time. It prints one table, and keeps JSON with `--json FILE`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench import ours
from bench.measure import machine, say
from bench.memory import tree_memory
from bench.peers import peer_versions
from bench.search.report import Target, as_json, markdown
from bench.serving import home, running
from bench.serving.load import Load, Row, ask
from bench.serving.takeover import takeovers

MOST = 400
"""Questions a second that a service can be asked without one being asked twice."""

NAMES = ("ml_assets", "LangChain, `EnsembleRetriever` behind FastAPI", "`mlflow models serve`")
_WARMING = 2
_MIB = 2**20
_LIMITS = {
    ("search", 1): {"p50_ms": 8.0, "p99_ms": 30.0},
    ("search", 16): {"per_second": 200.0, "p99_ms": 150.0},
    ("search, a tenth passes", 1): {"p50_ms": 20.0},
    ("search, a hundredth passes", 1): {"p50_ms": 20.0},
    ("predict", 1): {"p50_ms": 10.0},
}
_MOST_MEMORY = 700.0
_MOST_TAKEOVER = 1.0


def main() -> None:
    """Read the arguments, serve, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing (Debian: apt install wrk)")
    report: dict[str, object] = {"machine": machine(), "peers": peer_versions()}
    place = asked.home or home.made()
    rows: list[Row] = []
    with TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        work = Path(folder)
        questions = home.questions(place)
        with running.ours(place, asked.processes, work / "serve.log") as service:
            rows += _rows(NAMES[0], service, _loads(place, questions, asked.seconds), asked, work)
            memory = tree_memory({service.pid}) / _MIB
            row, taken = _followed(place, service, questions, asked, work)
            rows.append(row)
        if not asked.without_peers:
            rows += _peers(place, questions, asked, work)
    targets = [
        *_targets(rows),
        Target("memory of all processes, MiB", memory, most=_MOST_MEMORY),
        Target(
            f"p99 of taking over a release, of {len(taken)}, s",
            float(np.percentile(taken, 99)),
            most=_MOST_TAKEOVER,
        ),
    ]
    print(table(rows))
    print("\n".join(map(str, targets)))
    if asked.json:
        report |= {"rows": list(map(asdict, rows)), "targets": list(map(as_json, targets))}
        asked.json.write_text(json.dumps(report, indent=1))


def _loads(place: Path, questions: Iterator[str], seconds: int) -> list[Load]:
    tenth, hundredth = (condition for _, condition in home.filters(place))
    filtered = {"search, a tenth passes": tenth, "search, a hundredth passes": hundredth}
    most = (_WARMING + seconds) * MOST
    searches = [
        Load(
            "search",
            "/v1/search",
            clients,
            [{"query": text} for text in home.take(questions, most)],
        )
        for clients in (1, 16)
    ]
    for what, condition in filtered.items():
        bodies = [{"query": text, "filter": condition} for text in home.take(questions, most)]
        searches.append(Load(what, "/v1/search", 1, bodies))
    texts = [{"texts": [text]} for text in home.take(questions, most)]
    return [*searches, Load("predict", "/v1/predict", 1, texts)]


def _followed(
    place: Path,
    service: running.Service,
    questions: Iterator[str],
    asked: argparse.Namespace,
    work: Path,
) -> tuple[Row, list[float]]:
    """One client, while one release after the other is published, and how soon they answer."""
    bodies = [{"query": text} for text in home.take(questions, asked.seconds * MOST)]
    load = Load("search while releases are published", "/v1/search", 1, bodies)
    with ThreadPoolExecutor(1) as client:
        asking = client.submit(ask, NAMES[0], service.url, load, asked.seconds, work)
        taken = takeovers(place, asking.done)
        return asking.result(), taken


def _peers(
    place: Path, questions: Iterator[str], asked: argparse.Namespace, work: Path
) -> Iterator[Row]:
    """The same of what others serve, as far as it is installed."""
    versions = peer_versions()
    if not {"langchain-postgres", "mlflow"} <= versions.keys():
        say("the peers are not installed (`make bench-setup`), and are skipped")
        return
    most = (_WARMING + asked.seconds) * MOST
    home.export(place, work)
    with ours.embedded_server(place) as server, ours.database(server) as database:
        say("filling LangChain's table, one row after the other")
        with running.langchain(database, work, ours.model(), asked.processes) as service:
            loads = [
                Load(
                    "search",
                    "/v1/search",
                    clients,
                    [{"query": text} for text in home.take(questions, most)],
                )
                for clients in (1, 16)
            ]
            yield from _rows(NAMES[1], service, loads, asked, work)
    with running.mlflow(work, ours.model(), asked.processes) as service:
        texts = [{"inputs": [text]} for text in home.take(questions, most)]
        yield from _rows(
            NAMES[2], service, [Load("predict", "/invocations", 1, texts)], asked, work
        )


def _rows(
    name: str,
    service: running.Service,
    loads: Sequence[Load],
    asked: argparse.Namespace,
    work: Path,
) -> Iterator[Row]:
    """What is measured of each load, after the service has been warmed by it."""
    for load in loads:
        warming, bodies = load.bodies[: _WARMING * MOST], load.bodies[_WARMING * MOST :]
        ask(name, service.url, replace(load, bodies=warming), _WARMING, work)
        yield ask(name, service.url, replace(load, bodies=bodies), asked.seconds, work)


def table(rows: Sequence[Row]) -> str:
    """The loads, and how many times as long as ours each service takes."""
    mine = {(row.what, row.clients): row for row in rows if row.name == NAMES[0]}
    head = ("over HTTP", "", "clients", "p50 / p99 ms", "answers/s", "ratio of p50")
    return markdown(
        head,
        [
            (
                *(row.what, row.name, str(row.clients)),
                f"{row.p50_ms:.1f} / {row.p99_ms:.1f}",
                f"{row.per_second:,.0f}",
                f"{row.p50_ms / mine[row.what, row.clients].p50_ms:.1f}",
            )
            for row in rows
        ],
    )


def _targets(rows: Sequence[Row]) -> list[Target]:
    """What our service must reach."""
    return [
        Target(
            f"{field} of {row.what}, {row.clients} clients",
            getattr(row, field),
            **{"least" if field == "per_second" else "most": limit},
        )
        for row in rows
        if row.name == NAMES[0]
        for field, limit in _LIMITS.get((row.what, row.clients), {}).items()
    ]


if __name__ == "__main__":
    main()
