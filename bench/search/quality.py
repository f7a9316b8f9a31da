"""The quality of search on public benchmarks: what a whole run publishes, and what it must reach.

The queries are those that nothing was tuned on, and the figures those of the evaluation that the
run publishes the search with: nothing is measured a second time, or otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench import ours
from bench.measure import BIN, run, say
from bench.search.report import Target, markdown
from ml_assets.search.answering.model import METHODS
from ml_assets.search.evaluation.measurement import MethodQuality, read_measurements
from ml_assets.search.evaluation.metrics import NDCG
from ml_assets.search.generation import published_generation
from ml_assets.stores import postgres

GAIN = 0.02
"""What hybrid search must gain over the better single method."""

LEAST: Mapping[str, float] = {"scifact": 0.730, "cranfield": 0.570}
"""The least nDCG@10 of hybrid search, by the name of the folder."""


@dataclass(frozen=True)
class QualityLine:
    """nDCG@10 of each method on the reporting queries of a benchmark, with 95 % intervals."""

    name: str
    queries: int
    ndcg: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]

    @property
    def gain(self) -> float:
        """What hybrid search has over the better single method."""
        return self.ndcg["hybrid"] - max(self.ndcg["vector"], self.ndcg["keyword"])


def measure(
    work: Path, folders: Sequence[Path], settings: Mapping[str, str]
) -> Iterator[QualityLine]:
    """Bring up a deployment of each folder from nothing, and read what it published.

    With these settings beside the defaults, as another model is.
    """
    for number, folder in enumerate(folders):
        say(f"quality, {folder.name}")
        state = work / str(number)
        state.mkdir(parents=True)
        run(
            [BIN / "ml-assets", "run"],
            {**environment(state, folder), **settings},
            state / "run.log",
        )
        with ours.embedded_server(state / "home") as url:
            line = read_line(url, folder.name)
        say(f"  {dict(line.ndcg)}")
        yield line


def environment(state: Path, folder: Path) -> dict[str, str]:
    """The settings of a deployment of a BEIR folder; all else is as it is by default."""
    return {**ours.environment(state), "ML_ASSETS_SOURCE": f"beir:{quote(str(folder.resolve()))}"}


def read_line(url: str, name: str) -> QualityLine:
    """What the published generation of a database was measured with.

    Raises:
        SystemExit: nothing is published, or no judged query is for reporting.
    """
    with postgres.connect(url, Path()) as connection:
        generation = published_generation(connection)
        if generation is None:
            sys.exit(f"{name}: no search is published")
        measurement = read_measurements(connection, generation.generation_id).published
    return line_of(name, measurement.quality if measurement else MethodQuality())


def line_of(name: str, quality: MethodQuality) -> QualityLine:
    """The reporting half of a measurement.

    Raises:
        SystemExit: it has none.
    """
    methods = quality.methods
    if any("reporting" not in methods.get(method, {}) for method in METHODS):
        sys.exit(f"{name}: no judged query is for reporting")
    return QualityLine(
        name,
        int(methods["hybrid"]["reporting"]["queries"]),
        {method: methods[method]["reporting"][NDCG] for method in METHODS},
        {method: quality.intervals[method]["reporting"][NDCG] for method in METHODS},
    )


def table(lines: Sequence[QualityLine]) -> str:
    """The benchmarks, as a Markdown table."""
    return markdown(
        ("nDCG@10, 95 % intervals", "queries", *METHODS, "hybrid over the better single"),
        [
            (
                line.name,
                f"{line.queries:,}",
                *(_shown(line.ndcg[method], line.intervals[method]) for method in METHODS),
                f"{line.gain:+.3f}",
            )
            for line in lines
        ],
    )


def targets(lines: Sequence[QualityLine]) -> list[Target]:
    """What hybrid search must reach: on the benchmarks in `LEAST`, and beside the others on all."""
    reach = [
        Target(f"nDCG@10 of hybrid search, {line.name}", line.ndcg["hybrid"], least)
        for line in lines
        for least in [LEAST.get(line.name.lower())]
        if least
    ]
    gains = [
        Target(f"hybrid over the better single method, {line.name}", line.gain, GAIN)
        for line in lines
    ]
    return reach + gains


def _shown(mean: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"
