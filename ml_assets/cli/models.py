"""Commands of the models: what a version is, how models compare, what the champion doubts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ml_assets.cli.app import Json, command, reading, show
from ml_assets.console import models as console
from ml_assets.errors import NothingToDoError, UserError
from ml_assets.settings import Settings, secret

if TYPE_CHECKING:
    from ml_assets.monitoring.trends import Trend
    from ml_assets.stores import duckdb, mlflow

_MOST_TRAININGS = 400
_PERFORMANCE = ("predictions", "probability", "p50_ms", "p95_ms", "p99_ms", "accuracy")


@command
def errors(
    labels: Annotated[
        bool, typer.Option("--labels", help="Labels that are probably wrong, instead.")
    ] = False,
    suggest: Annotated[
        int | None, typer.Option(min=1, help="So many documents to label next, instead.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Documents to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the test documents that the champion gets wrong, those it is surest of first.

    With --labels: documents of the training set whose label is probably wrong, by a model that had
    not seen them, and near duplicates with two labels. With --suggest: documents without a label
    that would teach most, because the champion doubts them, and they are unlike each other.
    """
    from ml_assets.embeddings.space import current_space
    from ml_assets.registry import labelling

    if labels and suggest:
        raise UserError("--labels and --suggest are two questions", do="Ask one after the other")
    with reading() as (settings, connection):
        open_duck, space_id = _offline(settings), current_space(settings).space_id
        if suggest:
            where = _tracking(settings)
            found = labelling.to_label(connection, open_duck, where, space_id, suggest)
        else:
            with open_duck() as duck:
                found = (
                    labelling.label_errors(connection, duck, limit)
                    if labels
                    else labelling.mistakes(connection, duck, space_id, limit)
                )
    shown = console.to_label if suggest else console.label_errors if labels else console.mistakes
    show(asdict(found), lambda: shown(found), as_json=as_json)


@command
def models(
    version: Annotated[
        int | None, typer.Argument(min=1, help="Show the card of this version.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the model versions, or the card of one: its data, quality, limits, and the way back.

    Example: ml-assets models 1
    """
    from ml_assets.registry.cards import list_versions, read_card

    with reading() as (_, connection):
        if version:
            card = read_card(connection, version)
            show({"version": version, "card": card}, lambda: console.card(card), as_json=as_json)
            return
        versions = list_versions(connection)
    rows = [{**asdict(each), "role": role} for each, role in versions]
    show(rows, lambda: console.versions(versions), as_json=as_json)


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


def _offline(settings: Settings) -> duckdb.Opener:
    """Opens DuckDB for reading.

    Raises:
        NothingToDoError: it is not there.
    """
    from ml_assets.stores import duckdb

    if not settings.duckdb_file.exists():
        what = "nothing was trained here yet"
        raise NothingToDoError(what, where=str(settings.duckdb_file), do="Run `ml-assets run`")
    return partial(duckdb.connect, settings.duckdb_file, read_only=True)


def _tracking(settings: Settings) -> mlflow.Tracking:
    from ml_assets.stores import mlflow

    url = secret(settings.reading_url)
    return mlflow.tracking(secret(settings.mlflow_tracking_uri), url, settings.home)


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
