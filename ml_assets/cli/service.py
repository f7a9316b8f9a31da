"""Commands of the service: serving over HTTP and MCP, and the keys of those who ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, cast

import typer

from ml_assets.cli.app import (
    Json,
    Port,
    app,
    command,
    connected,
    err,
    out,
    reading,
    refuse_busy,
    show,
)
from ml_assets.settings import load_settings, secret

keys = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke the API keys of the service.",
)
app.add_typer(keys, name="keys")


def _of_keys(name: str) -> Callable[[Callable[..., None]], None]:
    return partial(command, group=keys, name=name)


@command
def serve(
    host: Annotated[
        str, typer.Option(help="Address to answer at; another than this machine's needs a key.")
    ] = "127.0.0.1",
    port: Port = 8080,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the port.")
    ] = 1,
) -> None:
    """Answer over HTTP: search, documents, predictions, features, vectors.

    What is published is taken over within a second. /openapi.json describes the endpoints. Ctrl-C
    ends it when all that was asked is answered.
    """
    from ml_assets.service.server import serve as serve_until_ended

    settings = load_settings()
    refuse_busy(port, host)
    serve_until_ended(
        settings, host, port, processes, lambda pages: err.print(pages, highlight=False)
    )


def metrics_exporter(
    host: Annotated[str, typer.Option(help="Address to answer at.")] = "127.0.0.1",
    port: Port = 9464,
) -> None:
    """Answer Prometheus at /metrics: runs, checks, rows, sizes, releases, alerts, connections, lag.

    The service has metrics of its own. That a store does not answer is a metric. Ctrl-C ends it.
    """
    from prometheus_client import start_http_server

    from ml_assets.defs.monitoring.exported import exported
    from ml_assets.monitoring.exporter import registry_of
    from ml_assets.stores import postgres

    settings = load_settings()
    postgres.refuse_absent(secret(settings.postgres_url), settings.home)
    refuse_busy(port, host)
    registry = registry_of(settings, {"dagster": partial(exported, settings)})
    server, thread = start_http_server(port, host, registry)
    err.print(f"Metrics: http://{host}:{port}/metrics", highlight=False)
    try:
        thread.join()
    finally:
        server.shutdown()


command(metrics_exporter, name="metrics-exporter")


@command
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Answer over HTTP, instead of standard input and output.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="Address for --http; another than this machine's needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for --http.")] = 8081,
) -> None:
    """Answer language models over the Model Context Protocol: search, document, predict, status.

    A client of the protocol starts it. What is published is followed. With --http it is reached at
    /mcp, with the keys of the service.
    """
    from ml_assets.service.mcp.server import serve_http, serve_stdio
    from ml_assets.session import open_session

    settings = load_settings()
    if not http:
        serve_stdio(open_session(settings), settings)
        return
    refuse_busy(port, host)
    serve_http(open_session(settings), settings, host, port)


@_of_keys("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    role: Annotated[str, typer.Option(help="viewer, trainer, approver or admin.")] = "viewer",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Narrow it to read, feedback or write (repeatable)."),
    ] = None,
) -> None:
    """Make a key, and print it: it is shown this once, and kept as a hash.

    Example: ml-assets keys create dashboard --only read
    """
    from ml_assets.releases.rights import Role
    from ml_assets.service.admission.keys import Scope, create_key

    with connected() as (settings, connection):
        given = cast("list[Scope]", only or [])
        key = create_key(connection, name, cast("Role", role), given, settings.actor)
    out.print(key, highlight=False, soft_wrap=True)


@_of_keys("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="The id of a key.")]) -> None:
    """End a key: the service refuses it from the next second on."""
    from ml_assets.service.admission.keys import revoke_key

    with connected() as (settings, connection):
        revoke_key(connection, key_id, settings.actor)
    out.print(f"{key_id} was revoked.", highlight=False)


@_of_keys("list")
def list_keys(as_json: Json = False) -> None:
    """Show the keys that were made: whose they are, what they may do, since and until when."""
    from ml_assets.console import records
    from ml_assets.service.admission.keys import read_keys

    with reading() as (_, connection):
        made = read_keys(connection)
    rows = [
        {
            "key": key.key_id,
            "name": key.name,
            "role": key.role,
            "may": ", ".join(key.scopes),
            "made": key.created_at,
            "by": key.created_by,
            "revoked": key.revoked_at,
        }
        for key in made
    ]
    show(rows, lambda: records.keys(rows), as_json=as_json)
