"""Commands of the models: what a version is, and what the champion says about labels."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ml_assets.cli.app import Json, command, reading, show
from ml_assets.console import models as console
from ml_assets.errors import NothingToDoError, UserError
from ml_assets.settings import Settings, secret

if TYPE_CHECKING:
    from ml_assets.stores import duckdb, mlflow


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
