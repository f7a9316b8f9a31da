"""Commands that ask what is served: the search, and the champion."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ml_assets.cli.app import Json, command, show, tell_what_is_left_behind
from ml_assets.console.queries import hits, predictions

if TYPE_CHECKING:
    from ml_assets.search.answering.model import Method


@command
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
    from ml_assets.search.filters.parse import condition_of, format_condition
    from ml_assets.session import open_session

    chosen = condition_of(collection, label, since, until, where, written)
    with open_session() as session:
        tell_what_is_left_behind(session.settings)
        result = session.search(query, k=limit, method=cast("Method", method), filters=chosen)
    shown = {**asdict(result), "filters": format_condition(chosen)}
    show(shown, lambda: hits(result), as_json=as_json)


@command
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts to label.")],
    as_json: Json = False,
) -> None:
    """Label texts with the champion model, with probabilities.

    Example: ml-assets predict "Return the absolute value of a number."
    """
    from ml_assets.session import open_session

    with open_session() as session:
        answers = session.predict(texts)
    show(answers, lambda: predictions(texts, answers), as_json=as_json)
