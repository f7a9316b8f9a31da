"""Commands of the audit log: list, verify, export, and anchor it anew."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from ml_assets.cli.app import Json, app, auditing, command, connected, err, group, out, show
from ml_assets.console import records
from ml_assets.settings import Settings, secret

audit = typer.Typer(help="Show the audit log, verify it, or write it out.")
app.add_typer(audit, name="audit")

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows to show.")]


def _of_audit(name: str) -> Callable[[Callable[..., None]], None]:
    return partial(command, group=audit, name=name)


@partial(group, audit)
def list_entries(context: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """Show who published, promoted, rolled back, granted or dropped what, and why; the newest last.

    The hash chain over all of them is verified, and compared with what the home kept of it. Exit
    code 1 when one was altered or is missing.
    """
    from ml_assets.releases import anchor
    from ml_assets.releases import audit as log

    with auditing() as (settings, connection):
        broken = anchor.verify(connection, settings.home, shared=_shared(settings))
        entries = log.read_entries(connection, limit) if log.exists(connection) else []
    numbers = {"entries": [asdict(entry) for entry in entries], "broken": broken}
    show(numbers, lambda: records.audit(entries), as_json=as_json)
    _end(broken)


@_of_audit("verify")
def verify() -> None:
    """Verify the hash chain, and compare it with what the home and Dagster kept of it.

    An entry that was altered, removed, moved or put in is named by its number, and so is where an
    end was cut off or a log was replaced. Exit code 1 then.
    """
    from ml_assets.defs.instance import kept_heads
    from ml_assets.releases import anchor
    from ml_assets.releases.audit import count_entries

    with auditing() as (settings, connection):
        kept = kept_heads(settings)
        broken = anchor.verify(connection, settings.home, kept, shared=_shared(settings))
        _end(broken)
        count, head = count_entries(connection), anchor.read_head(connection)
    kept_by = f"the home and {len(kept)} of Dagster's materializations"
    told = f", as kept by {kept_by}; the last is {head}" if head else ""
    out.print(f"{count:,} entries are sound{told}.", highlight=False, soft_wrap=True)


@_of_audit("export")
def export() -> None:
    """Write every entry as a line of JSON, with its hashes, the oldest first.

    Example: ml-assets audit export > audit.jsonl
    """
    from ml_assets.releases.audit import export as lines

    with auditing() as (_, connection):
        for line in lines(connection):
            sys.stdout.write(line + "\n")


@_of_audit("anchor")
def anchor_anew(
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
) -> None:
    """Take the log as it is for right, after a restore by other means or a loss of the home's key.

    What `verify` told is put in the log. A chain that is broken itself only a backup mends.
    """
    from ml_assets.releases import anchor

    with connected() as (settings, connection):
        told = anchor.anchor_anew(connection, settings.home, settings.actor, reason)
    was = f"It was told: {told}" if told else "Nothing was told of it"
    out.print(escape(f"The end of the log is kept anew. {was}."), soft_wrap=True, highlight=False)


def _shared(settings: Settings) -> bool:
    """Whether the log is on a server, where other homes keep its end, too."""
    return secret(settings.postgres_url) is not None


def _end(broken: str | None) -> None:
    if broken:
        line = f"[red]Error[/red] the audit log was altered: {broken}. Run `ml-assets restore`"
        err.print(line, soft_wrap=True)
        raise typer.Exit(1)
