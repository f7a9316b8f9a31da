"""The command of the lineage."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import typer

from ml_assets.cli.app import Json, command, out, reading, tell
from ml_assets.console import records


@command
def lineage(
    kind: Annotated[
        str, typer.Argument(help="document, version, release, prediction, generation or column.")
    ],
    name: Annotated[
        str,
        typer.Argument(
            help="Its id; of a version or release its number, of a request its id; of a column of"
            " the source its name, or '*' for all."
        ),
    ],
    as_json: Json = False,
    openlineage: Annotated[
        str, typer.Option(help="Send events of OpenLineage to this file or URL instead.")
    ] = "",
) -> None:
    """Tell what something was made from, and what was made from it.

    A document: the generations that have it, the models trained on it, the releases that served
    them. A version: its training set, features and documents, all of them with --json. A column of
    the source: the fields, indexes, features, training sets and models that it feeds. Example:
    ml-assets lineage version 1
    """
    from ml_assets.operations.governance.lineage import Stores, trace

    with reading() as (settings, connection):
        traced = trace(Stores(connection, settings), kind, name)
    if openlineage:
        from ml_assets.operations.governance.events import as_events, send

        events = as_events(traced)
        send(events, openlineage)
        tell(f"{len(events)} events were sent")
    elif as_json:
        sys.stdout.write(json.dumps(traced, default=_plain) + "\n")
    else:
        for part in records.lineage(traced):
            out.print(part, crop=False)


def _plain(value: Any) -> Any:
    """What JSON has no form of: `asdict` would copy all that is in it, too."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)
