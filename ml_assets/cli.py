"""The command `ml-assets`: run the main job, search, predict, and see how things stand."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ml_assets import report
from ml_assets.errors import SettingError, UserError
from ml_assets.settings import PROJECT, Settings, child_environment, load_settings, secret

if TYPE_CHECKING:
    from ml_assets.search.filters import SearchFilter

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Documents in, governed models out.

[bold]ml-assets run[/bold] reads the source, embeds what changed, rebuilds and measures the search, trains
the candidates and promotes the one that earned it. Settings are environment variables; with none,
everything is embedded under .ml_assets and the documents are those of the running Python.""",
)
out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command()
def run() -> None:
    """Bring everything up to date, from the source to the champion model.

    Unchanged documents cost nothing. Interrupt it at any time: what was committed is kept, and the
    next run goes on from there. Exit code 1 when a blocking check failed.
    """
    from ml_assets.defs.run import run_everything

    with _clear_errors():
        settings = load_settings()
        out.print(f"[bold]ml-assets run[/bold]  {escape(settings.source)} → {settings.home}")
        with report.RichProgress(out) as progress:
            done = run_everything(settings, progress, lambda line: err.print(escape(line)))
        out.print(report.run_summary(settings, done))
        for line in report.run_problems(done):
            err.print(line)
        if not done.succeeded:
            raise typer.Exit(1)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    limit: Annotated[int, typer.Option("--limit", "-k", help="Documents to show.")] = 10,
    method: Annotated[str, typer.Option(help="hybrid, vector or keyword.")] = "hybrid",
    collection: Annotated[
        list[str] | None, typer.Option(help="Only this collection (repeatable).")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only this label (repeatable).")] = None,
    since: Annotated[str | None, typer.Option(help="Created at or after this date.")] = None,
    until: Annotated[str | None, typer.Option(help="Created before this date.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--where", help="key=value of the metadata (repeatable).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the published generation: keyword and vector, fused by rank.

    Example: ml-assets search "how do I parse command line arguments" --label "Text processing"
    """
    with _clear_errors():
        settings = load_settings()
        found = report.find(
            settings,
            query,
            limit=limit,
            method=method,
            chosen=_filter(collection, label, since, until, metadata),
        )
        out.print_json(report.search_json(found)) if as_json else report.print_hits(out, found)


@app.command()
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts to label.")],
    as_json: Json = False,
) -> None:
    """Label texts with the champion model, with probabilities.

    Example: ml-assets predict "Return the absolute value of a number."
    """
    with _clear_errors():
        answers = report.predict(load_settings(), texts)
        if as_json:
            out.print_json(json.dumps(answers))
        else:
            report.print_predictions(out, answers)


@app.command()
def status(as_json: Json = False) -> None:
    """Show collections, counts, the published generation, the champion and the last runs."""
    with _clear_errors():
        figures = report.status(load_settings())
        out.print_json(json.dumps(figures, default=str)) if as_json else report.print_status(
            out, figures
        )


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Open the Dagster UI on the same data: lineage, runs, checks, backfills."""
    from ml_assets.defs.run import prepare_dagster_home

    with _clear_errors():
        settings = load_settings()
        prepare_dagster_home(settings)
        command = ["dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        environment = child_environment(settings)
        code = subprocess.run(
            [sys.executable, "-m", *command], cwd=PROJECT, env=environment, check=False
        ).returncode
        raise typer.Exit(code)


def _filter(
    collections: list[str] | None,
    labels: list[str] | None,
    since: str | None,
    until: str | None,
    metadata: list[str] | None,
) -> SearchFilter:
    from ml_assets.search.filters import SearchFilter

    return SearchFilter(
        collections=tuple(collections or ()),
        labels=tuple(labels or ()),
        created_from=_date(since, "--since"),
        created_to=_date(until, "--until"),
        metadata=dict(_pair(pair) for pair in metadata or ()),
    )


def _date(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"{text!r} is no date", where=option, do="Write 2026-01-31") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise SettingError(f"{text!r} is not key=value", where="--where")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return key, value
    return key, parsed if isinstance(parsed, str | int | float | bool) else value


@contextmanager
def _clear_errors() -> Iterator[None]:
    """A user's mistake is one line and exit code 1; Ctrl-C is one line and 130."""
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    try:
        yield
    except UserError as error:
        err.print(f"[red]Error[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("Interrupted. What was committed is kept; run again to go on.")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        raise typer.Exit(0) from None


if __name__ == "__main__":
    app()
