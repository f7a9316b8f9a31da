"""The application that the commands join, and what all of them share."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape

from ml_assets.errors import UserError
from ml_assets.settings import Settings, load_settings, secret

if TYPE_CHECKING:
    from ml_assets.stores import postgres

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Documents in, governed models out.

[bold]ml-assets run[/bold] reads the source, embeds what changed, rebuilds and measures the search,
trains the candidates and promotes the one that earned it. Settings are environment variables; with
none, everything is embedded under .ml_assets and the documents are those of the running Python.""",
)
out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def command(function: Callable[..., None]) -> None:
    """Make a command of a function, with its name and its docstring."""
    app.command()(_clear_errors()(function))


@contextmanager
def connected() -> Iterator[tuple[Settings, postgres.Connection]]:
    """The settings, and a connection to the PostgreSQL that they name."""
    from ml_assets.stores import postgres

    settings = load_settings()
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        yield settings, connection


@contextmanager
def _clear_errors() -> Iterator[None]:
    """A user's mistake is one line and exit code 1; Ctrl-C is one line and 130."""
    # Warnings of libraries are for developers: `python -W error -m ml_assets.cli` shows them.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    try:
        yield
    except UserError as error:
        err.print(f"[red]Error[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("Interrupted. What was committed is kept; run again to go on.")
        raise typer.Exit(130) from None


def show(value: Any, rendered: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print a result: as JSON, or as people read it."""
    if as_json:
        out.print_json(json.dumps(value, default=str))
    else:
        out.print(rendered())


def _show_version(wanted: bool) -> None:
    if wanted:
        from ml_assets import __version__

        out.print(f"ml-assets {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """What all commands share; typer shows the help of the application above instead."""
