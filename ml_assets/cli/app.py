"""The application that the commands join, and what all of them share."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_group

from ml_assets.console.layout import printable
from ml_assets.errors import SettingError, UserError, full_disks_told
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores.patience import outages_awaited

if TYPE_CHECKING:
    from ml_assets.stores import postgres

for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):
        _stream.reconfigure(errors="replace")  # a terminal without arrows is shown the rest

COMMANDS = {
    **dict.fromkeys(("backup", "restore"), "backup"),
    **dict.fromkeys(("run", "repair", "plan", "history", "status", "ui"), "pipeline"),
    **{name: f"governance.{name}" for name in ("forget", "lineage", "report")},
    **dict.fromkeys(("errors", "models", "trends", "compare"), "models"),
    "monitor": "monitoring",
    **dict.fromkeys(("search", "ask", "predict"), "queries"),
    **dict.fromkeys(("rejected", "sql", "mlflow"), "records"),
    **dict.fromkeys(
        ("releases", "search-generations", "publish", "approve", "rollback"), "releases"
    ),
    **dict.fromkeys(("serve", "metrics-exporter", "mcp"), "service"),
    "alerts": "alerts",
    "features": "features",
    **{name: f"governance.{name}" for name in ("audit", "roles")},
    "predictions": "monitoring",
    "judgments": "records",
    "keys": "service",
}
"""The module of each command and group, in the order of the help."""


class _Commands(TyperGroup):
    """Imports the module of a command when it is asked for, and all of them for the help.

    To import them all, and to look at all of their options, takes as long as a search.
    """

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """All commands, imported or not."""
        self._join(COMMANDS.values())
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """The command, imported; of an unknown name all are, for the likest to be shown."""
        if cmd_name not in self.commands:
            self._join([COMMANDS[cmd_name]] if cmd_name in COMMANDS else COMMANDS.values())
        return super().get_command(ctx, cmd_name)

    def _join(self, modules: Iterable[str]) -> None:
        for module in modules:
            import_module(f"ml_assets.cli.{module}")
        self.commands = get_group(app).commands


app = typer.Typer(
    cls=_Commands,
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
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")]


_PATIENCE = 20.0
"""Seconds that a command waits for a store that does not answer; runs of the daemon wait longer."""


def command(function: Callable[..., None], group: typer.Typer = app, name: str = "") -> None:
    """Make a command of a function, with its docstring; of the application, or of a group."""
    group.command(name or None)(_clear_errors()(function))


def group(typed: typer.Typer, function: Callable[..., None]) -> None:
    """Make a function, which takes a context, what a group does that is given no command."""
    guarded = _clear_errors()(function)

    @wraps(function)
    def alone(context: typer.Context, **given: Any) -> None:
        if context.invoked_subcommand is None:
            guarded(context, **given)

    typed.callback(invoke_without_command=True)(alone)


@contextmanager
def connected() -> Iterator[tuple[Settings, postgres.Connection]]:
    """The settings, and a connection to the PostgreSQL that they name.

    The home keeps the end of the audit log after what was done on it.
    """
    from ml_assets.releases.anchor import follow
    from ml_assets.stores import postgres

    settings = load_settings()
    url = secret(settings.postgres_url)
    postgres.refuse_absent(url, settings.home)
    with postgres.connect(url, settings.home) as connection:
        yield settings, connection
        follow(connection, settings.home, settings.actor, shared=url is not None)


@contextmanager
def reading() -> Iterator[tuple[Settings, postgres.Connection]]:
    """The settings, and a connection for a command that only reads."""
    from ml_assets.stores import postgres

    settings = load_settings()
    postgres.refuse_absent(secret(settings.reading_url), settings.home)
    with postgres.connect_reader(settings) as connection:
        yield settings, connection


@contextmanager
def auditing() -> Iterator[tuple[Settings, postgres.Connection]]:
    """The settings, and a connection that has all that was written: a replica may lag behind.

    What the home kept of the audit log would then seem to be cut off.
    """
    from ml_assets.stores import postgres

    settings = load_settings()
    url = secret(settings.postgres_url or settings.postgres_read_url)
    postgres.refuse_absent(url, settings.home)
    with postgres.connect(url, settings.home) as connection:
        yield settings, connection


@contextmanager
def home_or_empty() -> Iterator[Settings]:
    """The settings; in place of a home that is not there, an empty one till the end of the block.

    So a command that only looks has an answer, and makes no home.
    """
    from ml_assets.stores import postgres

    settings = load_settings()
    if postgres.exists(secret(settings.reading_url), settings.home):
        yield settings
        return
    with TemporaryDirectory(prefix="ml_assets-") as empty:
        try:
            yield settings.model_copy(update={"home": Path(empty)})
        finally:
            postgres.stop(Path(empty))


@contextmanager
def _clear_errors() -> Iterator[None]:
    """A user's mistake is one line and exit code 1; Ctrl-C is one line and 130."""
    # Warnings of libraries are for developers: `python -W error -m ml_assets.cli` shows them.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    try:
        _refuse_bytes(sys.argv[1:])
        with outages_awaited(_PATIENCE, tell), full_disks_told():
            yield
    except UserError as error:
        line = escape(printable(str(error)))
        err.print(f"[red]Error[/red] {line}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near, and in order
        err.print("Interrupted. What was committed is kept; run again to go on.")
        raise typer.Exit(130) from None


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Python hands on what is not UTF-8 as text that no store takes."""
    for argument in arguments:
        if not argument.isprintable() and argument != argument.encode(errors="replace").decode():
            raise UserError(
                f"{argument!r} is not in {sys.getfilesystemencoding()}, as the locale says",
                where="argument",
                do="Write it so, or set another locale, such as LC_ALL=C.UTF-8",
            )


def refuse_busy(port: int, host: str = "127.0.0.1") -> None:
    """Stop before a server is started on a port that another program has."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(host) from None
            raise SettingError(
                f"port {port} cannot be used ({error.strerror})",
                where="--port",
                do="End the program that uses it, or give another",
            ) from None
        except UnicodeError:  # it has two dots in a row, say
            raise _no_address(host) from None


def _no_address(host: str) -> SettingError:
    what = f"{host} is no address of this machine"
    return SettingError(what, where="--host", do="Give one that is, or leave the option out")


def tell_what_is_left_behind(settings: Settings) -> None:
    """Say that a server is empty while the home has a database of its own, if that is so."""
    if settings.postgres_url and (settings.home / "postgres").exists():
        from ml_assets.operations.moving import left_behind

        if line := left_behind(settings):
            tell(line)


def tell(line: str) -> None:
    """Say something beside the result, such as that another run is waited for."""
    err.print(escape(printable(line)), soft_wrap=True)


def show(value: Any, rendered: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print a result: as JSON, or as people read it."""
    if as_json:
        out.print_json(json.dumps(value, default=str))
    else:
        out.print(rendered(), crop=False)  # what is to be copied is whole, also in a pipe


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
    os.umask(0o077)  # what the home holds is for its owner alone
