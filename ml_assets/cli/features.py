"""Commands of the feature views: which there are, what they hold, and the values of an entity."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from ml_assets.cli.app import Json, app, command, connected, out, show, tell
from ml_assets.console import features as console
from ml_assets.errors import FeatureViewError, NothingToDoError
from ml_assets.settings import load_settings, secret

features = typer.Typer(no_args_is_help=True, help="Feature views: list, show, get, drop.")
app.add_typer(features, name="features")

Name = Annotated[str, typer.Argument(help="The name of a view.")]


def _command(name: str) -> Callable[[Callable[..., None]], None]:
    return partial(command, group=features, name=name)


@_command("list")
def list_views(as_json: Json = False) -> None:
    """List the feature views of the code, and the versions whose values are kept."""
    from ml_assets.features.registry import listed
    from ml_assets.stores import duckdb

    settings = load_settings()
    if settings.duckdb_file.exists():
        with duckdb.connect(settings.duckdb_file, read_only=True) as duck:
            rows = listed(duck)
    else:
        rows = listed(None)
    show(rows, lambda: console.listed(rows), as_json=as_json)


@_command("show")
def show_view(
    name: Name,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print its documentation as Markdown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a view: its features, the statistics of their current values, and its lineage."""
    from rich.markdown import Markdown

    from ml_assets.features.registry import page, shown
    from ml_assets.features.views import find_view
    from ml_assets.stores import duckdb

    view = find_view(name)
    if markdown:
        out.print(page(view), markup=False, highlight=False, soft_wrap=True)
        return
    settings, found = load_settings(), None
    if settings.duckdb_file.exists():
        with duckdb.connect(settings.duckdb_file, read_only=True) as duck:
            found = shown(duck, view)
    found = found or shown(None, view)
    show(found, lambda: console.shown(found, Markdown(page(view))), as_json=as_json)


@_command("get")
def get(
    name: Name,
    entity: Annotated[str, typer.Argument(help="A document's id, a collection, or a key.")],
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="At this time, not now; UTC without a zone.")
    ] = None,
    known: Annotated[
        str | None, typer.Option("--known", help="As it was known at this time; with --as-of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the values of an entity: now, from the online store, or as of a time, offline.

    Example: ml-assets features get document_text argparse.ArgumentParser --as-of 2026-01-31
    """
    from ml_assets.session import open_session

    values: dict[str, Any]
    if as_of is None and known is None:
        with open_session() as session:
            values = dict(session.features(name, entity))
    else:
        from ml_assets.features.join import values_as_of
        from ml_assets.features.views import find_view
        from ml_assets.stores import duckdb

        view, file = find_view(name), load_settings().duckdb_file
        if not file.exists():
            what = "no values were computed here yet"
            raise NothingToDoError(what, where=str(file), do="Run `ml-assets run`")
        with duckdb.connect(file, read_only=True) as duck:
            values = values_as_of(duck, view, entity, as_of, known)
    show(values, lambda: console.values(name, entity, values), as_json=as_json)


@_command("drop")
def drop(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="The version that is to go.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
) -> None:
    """Drop the values of a version of a view that the code has no more; its definition stays."""
    from ml_assets.features.registry import drop_version
    from ml_assets.stores import duckdb, online
    from ml_assets.stores.postgres.locks import turn

    with (
        connected() as (settings, connection),
        turn(connection, tell),
        duckdb.connect(settings.duckdb_file) as duck,
        online.connect(secret(settings.online_url), settings.home) as store,
    ):
        rows = drop_version(connection, duck, store, name, version, settings.actor, reason)
    if rows is None:
        do = "See `ml-assets features list`"
        raise FeatureViewError(f"no values of version {version} are kept", where=name, do=do)
    tell(f"Dropped {name} version {version}: {rows:,} rows")
