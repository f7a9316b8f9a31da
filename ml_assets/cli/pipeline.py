"""Commands of the main job: run it, see what it would do, what it did, and how things stand."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

from ml_assets.cli.app import (
    Json,
    Port,
    command,
    err,
    home_or_empty,
    out,
    reading,
    refuse_busy,
    show,
    tell,
    tell_what_is_left_behind,
)
from ml_assets.console import runs
from ml_assets.console.progress import stage_bars
from ml_assets.console.status import failed_checks
from ml_assets.console.status import status as shown_status
from ml_assets.errors import IncompleteReadError, NothingToDoError, mask_secrets
from ml_assets.settings import Settings, Until, load_settings, secret, shipped
from ml_assets.stores.processes import child_environment

if TYPE_CHECKING:
    from ml_assets.operations.pending import Finish


@command
def run(
    everything: Annotated[
        bool, typer.Option("--all", help="Look at every step, even if nothing changed.")
    ] = False,
    until: Annotated[
        Until, typer.Option(help="Stop after the documents and vectors, or the search.")
    ] = "models",
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the seconds of every step.")
    ] = False,
) -> None:
    """Bring everything up to date, from the source to the champion model.

    Unchanged documents cost nothing, and nothing is run when the last run ended well on the same
    documents, settings, code and stores; its warnings are then told again. Interrupt it at any
    time: what was committed is kept, and the next run goes on from there. Exit code 1 when a
    blocking check failed.
    """
    bring_up_to_date(everything, until, verbose)


@command
def repair() -> None:
    """Make again what another hand damaged: documents, chunks, vectors, indexes; then run it all.

    Failing checks name the command. What nobody damaged is not computed again.
    """
    from ml_assets.operations.repair import forget_damaged

    forget_damaged(load_settings(), tell)
    bring_up_to_date(everything=True)


@command
def plan(as_json: Json = False) -> None:
    """Show what a run would do: rows, texts to encode, tokens, cost. Nothing is written."""
    from ml_assets.defs.instance import measured_rate
    from ml_assets.documents.sources import open_source
    from ml_assets.embeddings.space import current_chunker, current_space
    from ml_assets.operations.plan import plan_refresh
    from ml_assets.stores import postgres

    with (
        home_or_empty() as settings,
        # It is a run that is rolled back, and writes.
        postgres.connect(
            secret(settings.postgres_url or settings.postgres_read_url), settings.home
        ) as connection,
    ):
        source = open_source(settings.source, settings)
        chunker, space = current_chunker(settings), current_space(settings)
        most = settings.max_removed_fraction
        planned = plan_refresh(
            connection, source, chunker, space, max_removed_fraction=most, notify=tell
        )
        rate = measured_rate(settings)
    price = settings.embedding_price
    costs = {"cost": runs.cost_of(planned, price)} if price else {}
    numbers = {**asdict(planned), "texts_per_second": rate, **costs}
    show(numbers, lambda: runs.plan(planned, rate, price), as_json=as_json)
    if planned.unread:
        raise IncompleteReadError(planned.unread)


@command
def history(
    document_id: Annotated[str, typer.Argument(help="The id of a document.")], as_json: Json = False
) -> None:
    """Tell what changed a document, when, and why: text, chunker, vector space, source."""
    from ml_assets.documents.history import read_history

    with reading() as (_, connection):
        rows = read_history(connection, document_id)
    show(rows, lambda: runs.history(document_id, rows), as_json=as_json)


@command
def status(as_json: Json = False) -> None:
    """Show collections, counts, the published generation, the champion, checks, the last runs."""
    from ml_assets.defs.instance import last_runs, latest_checks, partition_range
    from ml_assets.operations.status import read_status

    tell_what_is_left_behind(load_settings())
    with home_or_empty() as settings:
        numbers = {
            **read_status(settings),
            "checks": latest_checks(settings),
            "last_runs": last_runs(settings),
            "partition_range": partition_range(settings),
        }
    numbers["home"] = str(load_settings().home)
    show(numbers, lambda: Group(*shown_status(numbers)), as_json=as_json)


@command
def ui(port: Port = 3000) -> None:
    """Open the Dagster UI on the same data: lineage, runs, checks, backfills."""
    from ml_assets.defs.instance import open_instance

    settings = load_settings()
    refuse_busy(port)
    with open_instance(settings):
        pass  # the UI shows no run as running whose process was killed
    _take_the_ui(settings.dagster_folder / "ui.lock", port)
    workspace = str(shipped("workspace.yaml"))
    words = ["-m", "dagster", "dev", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
    # A shell has its background jobs ignore Ctrl-C; Dagster, which ends its processes by that and
    # takes SIGTERM for it, would go on for ever.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # In place of this process, so that signals reach Dagster.
    environment = child_environment(
        ML_ASSETS_HOME=str(settings.home),
        DAGSTER_HOME=str(settings.dagster_folder),
        # gRPC's fork handlers crash some of the children that the code server forks; it forks,
        # rather than spawns, where root starts the embedded PostgreSQL as another user.
        GRPC_ENABLE_FORK_SUPPORT="0",
    )
    python = sys.executable
    os.execve(python, [python, *words], environment)  # noqa: S606


def _take_the_ui(file: Path, port: int) -> None:
    """Be the only UI of the home: two would start every run of sensors and schedules twice."""
    from ml_assets.stores.file_locks import try_lock

    descriptor = try_lock(file)
    if descriptor is None:
        raise NothingToDoError(
            "the UI of this home is open already",
            where=str(file.parent),
            do=f"Open http://127.0.0.1:{file.read_text()}, or end it first",
        )
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(port).encode())
    os.set_inheritable(descriptor, True)  # the UI, which takes the place of this process, holds it


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import without the collector: imports make objects that stay, and it looks through all."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _standing(settings: Settings, finish: Finish) -> dict[str, Any]:
    """How things stand: as they stood when the last run ended, if that was kept."""
    if finish.standing:
        standing: dict[str, Any] = json.loads(finish.standing)
        return standing
    from ml_assets.operations.status import read_standing

    return read_standing(settings)


def bring_up_to_date(everything: bool, until: Until = "models", verbose: bool = False) -> None:
    """Run all that follows from the source, and show what was done; what `run` and others do."""
    settings = load_settings()
    title = f"ml-assets run: {escape(mask_secrets(settings.source))} → {settings.home}"
    out.print(title, highlight=False, soft_wrap=True)
    tell_what_is_left_behind(settings)
    with _uncollected():
        from ml_assets.operations.pending import last_finish

        if not everything and (finish := last_finish(settings)):
            for part in runs.nothing_to_do(finish.ended, _standing(settings, finish)):
                out.print(part)
            for line in failed_checks(finish.warnings):
                err.print(line, soft_wrap=True)
            return
        # Dagster is imported only for a run that does something.
        from ml_assets.defs.run import run_everything
        from ml_assets.operations.status import read_standing

    gc.freeze()
    try:
        with stage_bars(out) as progress:
            report = run_everything(settings, progress, tell, until, thorough=everything)
    finally:
        gc.unfreeze()  # nanobind takes for leaked what is frozen at the end
    for part in runs.run_summary(report, read_standing(settings), None if verbose else 10):
        out.print(part)
    for line in runs.run_problems(report):
        err.print(line, soft_wrap=True)
    if not report.succeeded:
        raise typer.Exit(1)
