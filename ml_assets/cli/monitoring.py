"""Commands of monitoring: what is watched, what the service predicted, and what was true."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from ml_assets.cli.app import Json, app, command, home_or_empty, out, show, tell
from ml_assets.console import monitoring as console
from ml_assets.errors import StoreError
from ml_assets.settings import Settings, load_settings, secret

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from ml_assets.monitoring.overview import Watched

_PATIENCE = 2.0
"""Seconds that a look waits for a run that holds ClickHouse; the next look comes soon."""

predictions = typer.Typer(
    no_args_is_help=True,
    help="Show what the service predicted and how right it was, and tell what was true.",
)
app.add_typer(predictions, name="predictions")

Day = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only those of this day (UTC).")
]


def _of_predictions(name: str) -> Callable[[Callable[..., None]], None]:
    return partial(command, group=predictions, name=name)


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


@_of_predictions("list")
def list_predictions(
    day: Day = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the last predictions of the service, the newest first, as far as they are loaded.

    Runs and `predictions_sensor` load them.
    """
    from ml_assets.console import records
    from ml_assets.monitoring.predictions import read_predictions, waiting_days

    with _loaded() as (settings, client):
        rows = read_predictions(client, _date(day), limit)
    waiting = sum(map(len, waiting_days(settings.home).values()))
    show(rows, lambda: records.predictions(rows, waiting), as_json=as_json)


@_of_predictions("performance")
def show_performance(day: Day = None, as_json: Json = False) -> None:
    """Show by day and model version how many predictions there were, how fast, and how right.

    Accuracy and log loss are over those of which the truth is known.
    """
    from ml_assets.console import records
    from ml_assets.monitoring.predictions import count_predictions, performance

    with _loaded() as (_, client):
        known = {
            (row["day"], row["model"], row["version"]): row
            for row in performance(client, _date(day))
        }
        rows = [
            {
                **row,
                **{
                    name: known.get((row["day"], row["model"], row["version"]), {}).get(name)
                    for name in ("known", "accuracy", "labelled", "log_loss")
                },
            }
            for row in count_predictions(client, _date(day))
        ]
    show(rows, lambda: records.performance(rows), as_json=as_json)


@_of_predictions("truth")
def import_truth(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet.", exists=True)],
) -> None:
    """Tell what was true: a row for each prediction, with request_id and label.

    In place of label there may be correct (true, false), and position where a request had several
    texts, from 0. The last word counts. Example: ml-assets predictions truth labels.csv
    """
    from ml_assets.monitoring import truth

    settings = load_settings()
    most = settings.prediction_log_bytes
    count = truth.import_truth(settings.home, file, most, settings.actor)
    out.print(f"{count:,} rows are kept; the next run loads them.", highlight=False)


@contextmanager
def _loaded() -> Iterator[tuple[Settings, Client]]:
    from ml_assets.stores import clickhouse

    with (
        home_or_empty() as settings,
        clickhouse.connect(secret(settings.clickhouse_url), settings.home) as client,
    ):
        yield settings, client


def _date(day: datetime | None) -> date | None:
    return day.date() if day else None


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
