"""Commands of the search: ask it, and see its generations."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ml_assets.cli.app import Json, app, clear_errors, show
from ml_assets.console.search import generations, hits
from ml_assets.settings import load_settings, secret

if TYPE_CHECKING:
    from ml_assets.search.answering.model import Method


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
    where: Annotated[
        list[str] | None, typer.Option(help="key=value of the metadata (repeatable).")
    ] = None,
    written: Annotated[
        str | None,
        typer.Option(
            "--filter", help="A condition on collection, label, created_at, metadata.<key>."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the published generation: keyword and vector, fused.

    Example: ml-assets search "how do I parse command line arguments" --where kind=class

    All options have to hold. A filter is made of = != < <= > >= in, not, and, or, parentheses:
    --filter 'label in ("Networking", "Text") and not (metadata.kind = "class")'
    Ranges are on numbers of the metadata and on created_at; other dates are texts, without order.
    """
    with clear_errors():
        from ml_assets.search.filters.parse import condition_of, format_condition
        from ml_assets.session import open_session

        chosen = condition_of(collection, label, since, until, where, written)
        with open_session() as session:
            result = session.search(query, k=limit, method=cast("Method", method), filters=chosen)
        shown = {**asdict(result), "filters": format_condition(chosen)}
        show(shown, lambda: hits(result), as_json=as_json)


@app.command()
def search_generations(as_json: Json = False) -> None:
    """Show the search generations: state, what they were built with, quality, and when they go.

    One is published, and answers. One can be rolled back to until its indexes are dropped.
    """
    with clear_errors():
        from ml_assets.search.publishing.listing import described_generation, list_generations
        from ml_assets.stores import postgres

        settings = load_settings()
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            rows = list_generations(connection, settings, described_generation(settings))
        show([asdict(row) for row in rows], lambda: generations(rows), as_json=as_json)
