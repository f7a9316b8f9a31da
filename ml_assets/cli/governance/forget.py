"""The command to forget documents, and to look again at what was forgotten."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ml_assets.cli.app import Json, auditing, command, connected, err, show, tell
from ml_assets.cli.pipeline import bring_up_to_date
from ml_assets.console import erasure
from ml_assets.errors import NothingToDoError, SettingError

if TYPE_CHECKING:
    from ml_assets.operations.erasure.forget import Outcome, Plan
    from ml_assets.stores import postgres


@command
def forget(
    document: Annotated[str, typer.Argument(help="The id of a document.")] = "",
    where: Annotated[
        str,
        typer.Option(help="Instead: a condition on collection, label, created_at, metadata.<key>."),
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for the audit log and the receipt.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be erased; change nothing.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Then run, which trains models without it.")
    ] = False,
    verify: Annotated[
        Path | None, typer.Option(help="Look again, by the receipt of an earlier request.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Erase documents from every store, for good, and write a signed receipt.

    Neither id nor text is read again, whatever the source says. What serves goes on serving. Exit
    code 1 when something was left: asked again, it goes on.
    Example: ml-assets forget a-17 --reason "case 4711"
    """
    if verify:
        _verify(verify, as_json=as_json)
        return
    if bool(document) == bool(where):
        what = "it takes the id of a document, or --where with a condition"
        raise SettingError(what, where="forget", do="Give one of the two")
    if dry_run:
        with auditing() as (settings, connection):
            from ml_assets.operations.erasure.forget import plan
            from ml_assets.operations.erasure.subject import Place

            found = plan(Place(settings, connection), _asked(connection, document, where))
        show(_numbers(found), lambda: erasure.plan(found), as_json=as_json)
        return
    if not reason.strip():
        do = "Say why, such as the number of the case"
        raise SettingError("the reason is missing", where="--reason", do=do)
    with connected() as (settings, connection):
        from ml_assets.operations.erasure.forget import forget as erase
        from ml_assets.operations.erasure.subject import Place

        place = Place(settings, connection, tell)
        outcome = erase(place, _asked(connection, document, where), reason)
    show(outcome.receipt, lambda: erasure.receipt(outcome.receipt), as_json=as_json)
    _tell_what_is_left_to_do(outcome, retrain=retrain)
    if not outcome.verified.is_clean:
        raise typer.Exit(1)
    if retrain:
        bring_up_to_date(everything=False, until="models", verbose=False)


def _asked(connection: postgres.Connection, document: str, where: str) -> list[str]:
    if not where:
        return [document]
    from ml_assets.search.filters.parse import parse_condition
    from ml_assets.search.filters.sql import matching_document_ids

    ids = matching_document_ids(connection, parse_condition(where, "--where"))
    if not ids:
        do = "Ask for less, as in `ml-assets search --filter`"
        raise NothingToDoError("no document passes", where="--where", do=do)
    return ids


def _numbers(found: Plan) -> dict[str, Any]:
    return {
        "documents": list(found.subject.documents),
        "chunks": len(found.subject.chunks),
        "collections": list(found.subject.collections),
        "source": found.stands,
        "backups": [asdict(each) for each in found.backups],
        "training_sets": dict(found.training_sets),
        "texts_elsewhere": sorted(each for ids in found.elsewhere.values() for each in ids),
    }


def _tell_what_is_left_to_do(outcome: Outcome, *, retrain: bool) -> None:
    if outcome.stands:
        tell("Its source still has it: take it out there. It is not read again.")
    for place in outcome.stands:
        tell(f"  {place}")
    for backup in outcome.receipt["backups"]:
        folder = f"{backup['folder']} ({backup['host']}, {backup['state']})"
        tell(f"A backup may hold it: {folder}. Delete it, or make another.")
    versions = outcome.receipt["model_versions"]
    if versions and not retrain:
        named = ", ".join(map(str, versions))
        tell(f"Model versions {named} learned from it. `ml-assets run` trains another without it.")
    tell(f"The receipt is {outcome.file}")


def _verify(file: Path, *, as_json: bool) -> None:
    from ml_assets.operations.erasure.forget import verify_receipt
    from ml_assets.operations.erasure.subject import Place

    with auditing() as (settings, connection):
        receipt, found = verify_receipt(Place(settings, connection), file)
    numbers = {"request_id": receipt["request_id"], "found": found}
    show(numbers, lambda: erasure.verified(receipt, found), as_json=as_json)
    if found:
        if receipt["verified"]["is_clean"]:  # nobody knows what it was any more
            line = "are there again: take them out where they are, and look again"
        else:
            line = "are left: end the programs that hold them, and forget it again, which goes on"
        err.print(escape(f"{len(found)} traces of what was forgotten {line}"), soft_wrap=True)
        raise typer.Exit(1)
