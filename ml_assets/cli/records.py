"""Commands that show what the stores keep: quarantined rows, judgments, pages."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ml_assets.cli.app import (
    Json,
    Port,
    app,
    command,
    connected,
    out,
    reading,
    refuse_busy,
    show,
)
from ml_assets.console import records
from ml_assets.errors import NothingToDoError, SettingError
from ml_assets.settings import secret

judgments = typer.Typer(
    no_args_is_help=True, help="Make judged queries of what people said of answers."
)
app.add_typer(judgments, name="judgments")

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows to show.")]


@command
def rejected(limit: Limit = 50, as_json: Json = False) -> None:
    """Show the quarantined rows: where each stands in the source, and why it is no document.

    A row that is mended in the source becomes a document at the next run.
    """
    from ml_assets.documents.quality import read_rejected

    with reading() as (_, connection):
        rows, count = read_rejected(connection, limit)
    show([asdict(row) for row in rows], lambda: records.rejected(rows, count), as_json=as_json)


@command
def sql(
    statement: Annotated[
        list[str] | None, typer.Argument(help="SQL to execute; none opens a prompt.")
    ] = None,
) -> None:
    """Open psql on the database of the home, or execute statements in it.

    Example: ml-assets sql "select collection, count(*) from documents group by 1"
    """
    from ml_assets.stores import postgres
    from ml_assets.stores.postgres.client import open_client

    with connected() as (settings, _):
        url = postgres.server_url(secret(settings.postgres_url), settings.home)
        code = open_client(url, statement or ())
    raise typer.Exit(code)


@command
def mlflow(port: Port = 5000) -> None:
    """Open MLflow's own pages on the experiments, runs and model versions of the home.

    PostgreSQL stays while they are open. Ctrl-C ends them.
    """
    from ml_assets.stores.mlflow import serve

    with connected() as (settings, _):
        if settings.mlflow_tracking_uri:
            raise SettingError(
                "MLflow is on a server, which has pages of its own",
                where="MLFLOW_TRACKING_URI",
                do="Open its address in a browser",
            )
        refuse_busy(port)
        out.print(f"MLflow: http://127.0.0.1:{port}", highlight=False)
        code = serve(secret(settings.postgres_url), settings.home, port)
    raise typer.Exit(code)


@partial(command, group=judgments, name="export")
def export_judgments(
    file: Annotated[Path, typer.Argument(help="The file to write; one of before is replaced.")],
) -> None:
    """Write the queries for which a document was found relevant, for tuning and measuring.

    With ML_ASSETS_JUDGED_QUERIES set to the file, the next run reads them beside those of the
    source. A document has the grade that most of those who judged it gave.
    """
    from ml_assets.documents.sources.judged import write_judged
    from ml_assets.service.page.judgments import read_judged_queries

    with reading() as (_, connection):
        queries = read_judged_queries(connection)
    if not queries:
        what = "no document was found relevant yet"
        raise NothingToDoError(what, where="judgments", do="Judge results on the page")
    write_judged(queries, file)
    tuning = sum(query.half == "tuning" for query in queries)
    said = f"{len(queries)} judged queries were written, {tuning} of them for tuning."
    out.print(said, highlight=False)
