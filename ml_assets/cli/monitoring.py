"""Commands of monitoring: what is watched, how models develop, and two of them side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from ml_assets.cli.app import Json, command, home_or_empty, out, reading, show, tell
from ml_assets.console import monitoring as console
from ml_assets.errors import NothingToDoError, StoreError
from ml_assets.settings import Settings, secret

if TYPE_CHECKING:
    from ml_assets.monitoring.overview import Watched
    from ml_assets.monitoring.trends import Trend

_PATIENCE = 2.0
"""Seconds that a look waits for a run that holds ClickHouse; the next look comes soon."""

_MOST_TRAININGS = 400
_PERFORMANCE = ("predictions", "probability", "p50_ms", "p95_ms", "p99_ms", "accuracy")


@command
def monitor(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Between two looks.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Watch how models answer by the hour, and search by the day, until Ctrl-C.

    With --json each look is one line. Where the output is no terminal, one look is all.
    """
    from ml_assets.stores import clickhouse

    with home_or_empty() as settings:
        if once or not (as_json or out.is_terminal):
            now, rows = datetime.now(UTC), _look(settings, clickhouse.PATIENCE)
            shown = [asdict(row) for row in rows]
            show(shown, lambda: console.watched(rows, now), as_json=as_json)
            return
        try:
            if as_json:
                _stream(settings, seconds)
            else:
                _follow(settings, seconds)
        except KeyboardInterrupt:  # how a watch ends; nothing was begun
            return


@command
def trends(
    model: Annotated[str, typer.Argument(help="A family, or document_classifier.")],
    days: Annotated[int, typer.Option(min=1, max=3660, help="Of what the service answered.")] = 90,
    as_json: Json = False,
) -> None:
    """Show how the trainings of a family develop, or the answers of the registered model by day.

    Example: ml-assets trends logistic_regression
    """
    from ml_assets.monitoring.named import find_model
    from ml_assets.registry.model import MODEL_NAME

    with reading() as (settings, connection):
        name = model if model == MODEL_NAME else find_model(connection, model).candidate.family
    rows = _performance(settings, days) if name == MODEL_NAME else _trainings(settings, name)
    if not rows:
        raise NothingToDoError(
            f"nothing is known of {name} over time",
            where="trends",
            do="Materialize model_performance_daily" if name == MODEL_NAME else "Train it again",
        )
    show([row.row() for row in rows], lambda: console.trends(name, rows), as_json=as_json)


@command
def compare(
    model: Annotated[str, typer.Argument(help="A version, a run, a family, or champion.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    as_json: Json = False,
) -> None:
    """Show two models side by side: every metric of quality and cost, and the difference.

    Example: ml-assets compare champion tfidf_baseline
    """
    from ml_assets.monitoring import named

    with reading() as (_, connection):
        rows = named.compare(*(named.find_model(connection, name) for name in (model, other)))
    show(rows, lambda: console.compared(rows), as_json=as_json)


def _look(settings: Settings, patience: float) -> list[Watched]:
    from ml_assets.monitoring.overview import overview
    from ml_assets.stores import clickhouse

    url = secret(settings.clickhouse_url)
    with clickhouse.connect(url, settings.home, patience=patience) as client:
        return overview(client, datetime.now(UTC))


def _looks(settings: Settings, seconds: float) -> Iterator[list[Watched]]:
    """What is seen at each look; one that cannot be had is told, and the next one comes."""
    while True:
        try:
            yield _look(settings, _PATIENCE)
        except StoreError as error:
            tell(str(error))
        time.sleep(seconds)


def _follow(settings: Settings, seconds: float) -> None:
    """Draw each look over the one before."""
    with Live(Text("Looking"), console=out, auto_refresh=False) as live:
        for rows in _looks(settings, seconds):
            live.update(console.watched(rows, datetime.now(UTC)), refresh=True)


def _stream(settings: Settings, seconds: float) -> None:
    """Print each look as a line of JSON."""
    for rows in _looks(settings, seconds):
        line = {"at": datetime.now(UTC), "series": [asdict(row) for row in rows]}
        print(json.dumps(line, default=str), flush=True)


def _performance(settings: Settings, days: int) -> list[Trend]:
    """The answers of the registered model by day, over all its versions."""
    from ml_assets.monitoring.daily import performance_of_model
    from ml_assets.monitoring.trends import trends_of
    from ml_assets.registry.model import MODEL_NAME
    from ml_assets.stores import clickhouse

    today = datetime.now(UTC).date()
    with clickhouse.connect(secret(settings.clickhouse_url), settings.home) as client:
        first = today - timedelta(days=days - 1)
        rows = performance_of_model(client, MODEL_NAME, first, today)
    return trends_of(MODEL_NAME, rows, "day", _PERFORMANCE)


def _trainings(settings: Settings, family: str) -> list[Trend]:
    from ml_assets.monitoring.trends import family_trends
    from ml_assets.stores import duckdb
    from ml_assets.training.results import read_summaries

    if not settings.duckdb_file.exists():
        return []
    with duckdb.connect(settings.duckdb_file, read_only=True) as duck:
        return family_trends(read_summaries(duck, _MOST_TRAININGS, family))
