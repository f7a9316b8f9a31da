"""Commands of the releases: see what was served when, publish a part, and go back."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ml_assets.cli.app import Json, command, connected, out, reading, show, tell
from ml_assets.console import releases as console
from ml_assets.errors import NothingToDoError, SettingError
from ml_assets.settings import Settings, secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ml_assets.releases.gates import Decision
    from ml_assets.stores import mlflow, postgres

Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


@command
def releases(
    at: Annotated[
        str | None, typer.Option("--at", help="Only what was served at this time (UTC).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what was in production when, and why: search generation, feature views and model.

    Example: ml-assets releases --at "2026-03-01 12:00"
    """
    from ml_assets.releases.pointer import list_releases

    time = _time(at) if at else None
    with reading() as (_, connection):
        rows = list_releases(connection, time)
    show([asdict(row) for row in rows], lambda: console.releases(rows), as_json=as_json)


@command
def search_generations(as_json: Json = False) -> None:
    """Show the search generations: state, what they were built with, quality, and when they go.

    One is published, and answers. One can be rolled back to until its indexes are dropped.
    """
    from ml_assets.search.publishing.listing import described_generation, list_generations

    with reading() as (settings, connection):
        rows = list_generations(connection, settings, described_generation(settings))
    show([asdict(row) for row in rows], lambda: console.generations(rows), as_json=as_json)


@command
def publish(
    part: Annotated[
        str, typer.Argument(help="The id of a search generation, or the number of a model version.")
    ],
    reason: Reason,
) -> None:
    """Serve a search generation or a model version, through the gates of a run.

    The indexes of a generation are brought up to date first. What was rolled back from may be
    published again so; a run does not do it on its own.
    """
    from ml_assets.stores.postgres.locks import turn

    with (
        connected() as (settings, connection),
        turn(connection, tell),
    ):
        if part.isdecimal() and len(part) < 16:
            from ml_assets.registry.promotion import promote_by_hand

            decision = _decide(promote_by_hand, connection, settings, int(part), reason)
        else:
            from ml_assets.search.indexes.kinds import Indexes
            from ml_assets.search.publishing.publish import publish_by_hand

            decision = publish_by_hand(connection, Indexes(settings), part, reason)
    _tell(decision, part)


@command
def approve(
    version: Annotated[int, typer.Argument(min=1, help="The number of a model version.")],
    reason: Reason,
) -> None:
    """Approve a model version that passed its gates and waits, and serve it.

    With ML_ASSETS_APPROVAL set, no run promotes on its own. All gates are asked again, against the
    champion of now; `ml-assets status` shows what waits.
    """
    from ml_assets.registry.promotion import approve as approve_version
    from ml_assets.stores.postgres.locks import turn

    with connected() as (settings, connection), turn(connection, tell):
        decision = _decide(approve_version, connection, settings, version, reason)
    _tell(decision, str(version))


@command
def rollback(
    reason: Reason,
    to: Annotated[
        int | None, typer.Option(help="This release, not the last one that differs.")
    ] = None,
) -> None:
    """Go back to what was served before, as a whole: search, feature views and model together.

    The indexes are brought up to date first, then one pointer moves. What is left is withdrawn: no
    run publishes or promotes it, until `ml-assets publish` does.
    """
    from ml_assets.operations.rollback import roll_back
    from ml_assets.search.generation import find_generation

    with connected() as (settings, connection):
        target = roll_back(connection, settings, _tracking(settings), reason, to)
        identity = target.parts.generation_id
        encoder = find_generation(connection, identity).model if identity else ""
    out.print(console.served(target, encoder), highlight=False, soft_wrap=True)


def _tell(decision: Decision, part: str) -> None:
    for gate in decision.gates:
        out.print(escape(f"{gate.outcome}: {gate.name}: {gate.message}"), soft_wrap=True)
    out.print(f"{part} is served{'' if decision.changed else ' already'}.", highlight=False)


def _decide(
    decide: Callable[..., Decision],
    connection: postgres.Connection,
    settings: Settings,
    version: int,
    reason: str,
) -> Decision:
    """Promote or approve a version by hand, past the gates on the present training set."""
    from ml_assets.registry.versions import follow_release
    from ml_assets.stores import duckdb
    from ml_assets.training.training_set import current_training_set

    current, open_duck = None, partial(duckdb.connect, settings.duckdb_file, read_only=True)
    if settings.duckdb_file.exists():
        with open_duck() as duck:
            current = current_training_set(duck)
    if current is None or not current.hash:
        what = "there is no training set to test a model on"
        raise NothingToDoError(what, where="training", do="Run `ml-assets run`")
    where = _tracking(settings)
    decision = decide(connection, open_duck, where, current, settings, version, reason)
    follow_release(connection, where)
    return decision


def _tracking(settings: Settings) -> mlflow.Tracking:
    from ml_assets.stores import mlflow

    url = secret(settings.postgres_url)
    return mlflow.tracking(secret(settings.mlflow_tracking_uri), url, settings.home)


def _time(text: str) -> datetime:
    from datetime import UTC, datetime

    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(
            f"{text!r} is not a time", where="--at", do="Write 2026-03-01 or 2026-03-01T12:00+01:00"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
