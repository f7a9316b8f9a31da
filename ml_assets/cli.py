"""The command `ml-assets`: run the main job, search, predict, and see how things stand."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.markup import escape

from ml_assets import console
from ml_assets.errors import IncompleteReadError, UserError, mask_secrets
from ml_assets.settings import (
    PROJECT,
    Settings,
    Until,
    child_environment,
    load_settings,
    secret,
)

if TYPE_CHECKING:
    from ml_assets.embeddings.plan import Plan
    from ml_assets.search.filters.language import Condition
    from ml_assets.search.model import Method, SearchResult

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


@app.command()
def run(
    everything: Annotated[
        bool, typer.Option("--all", help="Look at every step, even if nothing changed.")
    ] = False,
    until: Annotated[
        Until, typer.Option(help="Stop after the documents and vectors, or the search.")
    ] = "models",
) -> None:
    """Bring everything up to date, from the source to the champion model.

    Unchanged documents cost nothing, and nothing is run when the last run ended well on the same
    documents, settings, code and stores; its warnings are then told again. Interrupt it at any
    time: what was committed is kept, and the next run goes on from there. Exit code 1 when a
    blocking check failed.
    """
    with _clear_errors():
        settings = load_settings()
        out.print(
            f"ml-assets run: {escape(mask_secrets(settings.source))} → {settings.home}",
            highlight=False,
            soft_wrap=True,
        )
        from ml_assets.finished import last_finish
        from ml_assets.status import read_status

        if not everything and (finish := last_finish(settings)):
            for part in console.nothing_to_do(finish.ended, read_status(settings)):
                out.print(part)
            for line in console.failed_checks(finish.warnings):
                err.print(line, soft_wrap=True)
            return
        # Dagster is imported only for a run that does something. What an import makes stays: that
        # the collector looks through it again and again took 0.3 s of 4.3.
        gc.disable()
        from ml_assets.defs.run import run_everything

        gc.freeze()
        gc.enable()
        try:
            with console.StageBars(out) as progress:
                report = run_everything(
                    settings, progress, lambda line: err.print(escape(line)), until
                )
        finally:
            gc.unfreeze()  # nanobind takes for leaked what is frozen at the end
        for part in console.run_summary(report, read_status(settings)):
            out.print(part)
        for line in console.run_problems(report):
            err.print(line, soft_wrap=True)
        if not report.succeeded:
            raise typer.Exit(1)


@app.command()
def plan(as_json: Json = False) -> None:
    """Show what a run would do: rows, texts to encode, vectors to reuse. Nothing is written."""
    with _clear_errors():
        from ml_assets.defs.instance import measured_rate

        settings = load_settings()
        planned = _plan(settings)
        figures = {**asdict(planned), "texts_per_second": measured_rate(settings)}
        if as_json:
            out.print_json(json.dumps(figures))
        else:
            out.print(console.plan(planned, figures["texts_per_second"]))
        if planned.unread:
            raise IncompleteReadError(planned.unread)


@app.command()
def history(
    document_id: Annotated[str, typer.Argument(help="The id of a document.")], as_json: Json = False
) -> None:
    """Tell what changed a document, when, and why: text, chunker, vector space, source."""
    with _clear_errors():
        from ml_assets.documents.history import read_history
        from ml_assets.stores import postgres

        settings = load_settings()
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            rows = read_history(connection, document_id)
        if as_json:
            out.print_json(json.dumps(rows, default=str))
        else:
            out.print(console.history(document_id, rows))


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
    """
    with _clear_errors():
        from ml_assets.search.filters.options import condition_of
        from ml_assets.search.filters.parse import format_condition

        chosen = condition_of(collection, label, since, until, where, written)
        found = _search(load_settings(), query, limit, method, chosen)
        if as_json:
            out.print_json(json.dumps({**asdict(found), "filters": format_condition(chosen)}))
        else:
            out.print(console.hits(found))


@app.command()
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts to label.")],
    as_json: Json = False,
) -> None:
    """Label texts with the champion model, with probabilities.

    Example: ml-assets predict "Return the absolute value of a number."
    """
    with _clear_errors():
        from ml_assets.registry.serving import predict as predict_texts

        answers = predict_texts(load_settings(), texts)
        if as_json:
            out.print_json(json.dumps(answers))
        else:
            out.print(console.predictions(texts, answers))


@app.command()
def status(as_json: Json = False) -> None:
    """Show collections, counts, the published generation, the champion and the last runs."""
    with _clear_errors():
        from ml_assets.defs.instance import last_runs
        from ml_assets.status import read_status

        settings = load_settings()
        figures = {**read_status(settings), "last_runs": last_runs(settings)}
        if as_json:
            out.print_json(json.dumps(figures, default=str))
        else:
            for part in console.status(figures):
                out.print(part)


@app.command()
def search_generations(as_json: Json = False) -> None:
    """Show the search generations: state, what they were built with, quality, and when they go.

    One is published, and answers. One can be rolled back to until its indexes are dropped.
    """
    with _clear_errors():
        from ml_assets.search.listing import described_generation, list_generations
        from ml_assets.stores import postgres

        settings = load_settings()
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            rows = list_generations(connection, settings, described_generation(settings))
        if as_json:
            out.print_json(json.dumps(rows, default=str))
        else:
            out.print(console.generations(rows))


@app.command()
def publish(
    generation: Annotated[str, typer.Argument(help="The id of a generation.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
) -> None:
    """Serve a search generation that was built and measured, through the gates of a run.

    Its indexes are brought up to date first. A generation that was rolled back from may be
    published again so; a run does not do it on its own.
    """
    with _clear_errors():
        from ml_assets.search.lifecycle import publish_gated
        from ml_assets.stores import postgres

        settings = load_settings()
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            gates = publish_gated(connection, settings, generation, reason)
        for gate in gates:
            out.print(escape(f"{gate.outcome}: {gate.name}: {gate.said}"), soft_wrap=True)
        out.print(f"Generation {generation} is published.", highlight=False)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    to: Annotated[str | None, typer.Option(help="This generation, not the one before.")] = None,
) -> None:
    """Serve the search generation that was published before; the present one is withdrawn.

    Its indexes are brought up to date first, then one pointer moves. No run publishes the withdrawn
    generation again, until `ml-assets publish` does.
    """
    with _clear_errors():
        from ml_assets.search import lifecycle
        from ml_assets.stores import postgres

        settings = load_settings()
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            served = lifecycle.rollback(connection, settings, reason, to)
            model = lifecycle.model_of(connection, served)
        out.print(
            f"Generation {served.generation_id} is published; its vectors are those of {model}.",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open the Dagster UI on the same data: lineage, runs, checks, backfills."""
    with _clear_errors():
        from ml_assets.defs.instance import open_instance

        settings = load_settings()
        with open_instance(settings):
            pass  # the UI shows no run as running whose process was killed
        workspace = str(PROJECT / "workspace.yaml")
        command = ["dagster", "dev", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
        # In place of this process, so that signals reach Dagster.
        python = sys.executable
        os.execve(python, [python, "-m", *command], child_environment(settings))  # noqa: S606


def _plan(settings: Settings) -> Plan:
    from ml_assets.documents.sources import open_source
    from ml_assets.embeddings.plan import plan_refresh
    from ml_assets.embeddings.refresh import collections_to_refresh
    from ml_assets.embeddings.space import current_chunker, current_space
    from ml_assets.stores import postgres

    source = open_source(settings.source, settings)
    chunker, space = current_chunker(settings), current_space(settings)
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        wanted = collections_to_refresh(connection, source, chunker, space)
        return plan_refresh(
            connection,
            source,
            chunker,
            space,
            wanted,
            max_removed_fraction=settings.max_removed_fraction,
        )


def _search(
    settings: Settings, query: str, limit: int, method: str, chosen: Condition
) -> SearchResult:
    from ml_assets.embeddings.encoder import load_encoder
    from ml_assets.search.engine import open_engine
    from ml_assets.search.engine import search as search_engine
    from ml_assets.stores import postgres

    with (
        postgres.connect(secret(settings.postgres_url), settings.home) as connection,
        open_engine(connection, settings) as engine,
    ):
        encoder = None if method == "keyword" else load_encoder(settings)
        return search_engine(
            engine, query, encoder, k=limit, method=cast("Method", method), filters=chosen
        )


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


if __name__ == "__main__":
    app()
