"""Forgetting: what is asked for is found, hidden at once, erased from each store, and verified.

Whoever was killed in between left the request in the home; the next request, or the next run,
completes it. Runs, publishing and promotions wait meanwhile; who searches goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ml_assets.documents.model import Document
from ml_assets.documents.sources import open_source
from ml_assets.errors import NothingToDoError, SourceError, UserError
from ml_assets.operations.erasure import request
from ml_assets.operations.erasure.backups import Backup, backups_since
from ml_assets.operations.erasure.finding import find_subject, texts_elsewhere
from ml_assets.operations.erasure.fingerprints import find_fingerprints, fingerprints_of
from ml_assets.operations.erasure.receipt import read_receipt, write_receipt
from ml_assets.operations.erasure.request import Begun
from ml_assets.operations.erasure.stores import ERASERS, LAST
from ml_assets.operations.erasure.stores.postgres import graphs_built_anew, hide
from ml_assets.operations.erasure.subject import Eraser, Place, Removed, Subject
from ml_assets.operations.erasure.verification import Verified, forgotten_rows, looked_at, verify
from ml_assets.operations.erasure.wording import wording_of
from ml_assets.operations.pending import forget_finish
from ml_assets.registry.versions import mark_forgotten
from ml_assets.releases import audit, forgotten, pointer
from ml_assets.releases.roles import authorize
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.postgres.locks import turn
from ml_assets.stores.sql import statement
from ml_assets.training.training_set import training_sets_with

NOT_SHOWN = (
    "blocks of the disk that files had before: a file system does not overwrite them",
    "copies that were made by other means than `ml-assets backup`",
    "what models learned: those that are named were trained on it, and are to be trained anew",
)
"""What no receipt can show, wherever the stores are."""

_OF_SERVERS = "of servers: archives of logs, replicas, snapshots and blocks of their disks"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request would erase.

    `stands`: where the documents stand in the source, as far as it tells; None: it could not be
    read. `backups`: those that may hold them. `training_sets`: how many of them each has, by its
    hash. `elsewhere`: other documents with a text of theirs, which stay.
    """

    subject: Subject
    stands: tuple[str, ...] | None
    backups: tuple[Backup, ...]
    training_sets: Mapping[str, int]
    elsewhere: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request that was worked on to its end: its receipt, where that lies, and what was left."""

    file: Path
    receipt: Mapping[str, Any]
    verified: Verified
    stands: tuple[str, ...]


def plan(place: Place, document_ids: Sequence[str]) -> Plan:
    """Find what a request would erase; nothing is changed.

    Raises:
        NothingToDoError: no run ever saw one of the documents, or all were forgotten already.
    """
    connection = place.connection
    _refuse_forgotten(connection, document_ids)
    subject = find_subject(connection, uuid4().hex[:16], document_ids)
    bound = {"document_ids": list(subject.documents)}
    ((seen,),) = connection.execute(statement("postgres/documents/first_seen"), bound).fetchall()
    return Plan(
        subject,
        _where_it_stands(place.settings, subject),
        tuple(backups_since(connection, seen)),
        _training_sets(place.settings, subject),
        texts_elsewhere(connection, subject),
    )


def forget(place: Place, document_ids: Sequence[str], reason: str) -> Outcome:
    """Erase documents from every store, and tell it in a signed receipt.

    What was begun before and killed, or could not be erased, is completed first.

    Raises:
        RoleError: the actor is no admin.
        NothingToDoError: no run ever saw one of the documents.
        UserError: the reason says what is to be forgotten.
        StoreError: a store cannot be read or written; the next request or run goes on.
    """
    settings, connection = place.settings, place.connection
    authorize(connection, settings.actor, "forget", "documents")
    with turn(connection, place.notify):
        request.take_up(place.home)
        for outcome, ids in complete_begun(place):
            if ids.issuperset(document_ids):
                return outcome  # who was killed, or found something left, asked for the same
        found = plan(place, document_ids)
        if wording_of(found.subject).without(reason) != reason:
            raise UserError(
                "the reason says what is to be forgotten, and the audit log keeps it",
                where="--reason",
                do="Name the case it is of, such as a number",
            )
        facts = {
            "requested_at": _now(),
            "backups": _told(found.backups),
            "training_sets": dict(found.training_sets),
            "texts": [each for each in found.subject.texts if each not in found.elsewhere],
        }
        begun = Begun(found.subject, settings.actor, reason, found.stands or (), facts=facts)
        request.keep(settings.home, begun)
        return _complete(place, begun)


def complete_begun(place: Place) -> list[tuple[Outcome, set[str]]]:
    """Complete what was begun in this home and killed; call it in the turn of a run.

    Returns the outcome of each request, and the ids that were forgotten.
    """
    left = request.unfinished(place.home)
    if left:
        place.notify("A request to forget was begun and not completed; it is completed now.")
    return [(_complete(place, begun), set(begun.subject.documents)) for begun in left]


def _refuse_forgotten(connection: postgres.Connection, document_ids: Sequence[str]) -> None:
    known = forgotten.read_forgotten(connection)
    if document_ids and all(map(known.has_id, document_ids)):
        raise NothingToDoError(
            "it was forgotten already",
            where=f"document {document_ids[0]!r}",
            do="Look again with `ml-assets forget --verify RECEIPT`",
        )


def verify_receipt(place: Place, file: Path) -> tuple[Mapping[str, Any], list[tuple[str, str]]]:
    """Look again, by what a receipt and the ledger say; return the receipt, and what is there.

    That is where, and what: an id in a table, or bytes in a file. No document is named
    by a receipt, so that ids and bytes are known by their hashes.

    Raises:
        StoreError: it is no receipt, or not as it was signed.
    """
    receipt = read_receipt(file)
    known = forgotten.read_forgotten(place.connection)
    rows = [(f"the table {name}", each) for name, each in forgotten_rows(place.connection, known)]
    found = [
        (name, where or "as it is")
        for folder in looked_at(place.settings)
        for name, where in find_fingerprints(folder, receipt["fingerprints"], known.salt)
    ]
    return receipt, [*rows, *found]


def _complete(place: Place, begun: Begun) -> Outcome:
    """Do what is left of a request; each step can be done again."""
    settings = place.settings
    with pointer.deciding_alone(place.connection, secret(settings.redis_url)):
        versions = _hide(place, begun)
        begun = _erase(place, begun)
        known = forgotten.read_forgotten(place.connection)
        place.notify("Looking whether anything was left")
        verified = verify(place, begun.subject, known)
        if not verified.is_clean:  # another process wrote it meanwhile, as the service its log
            begun = _erase_again(place, begun)
            verified = verify(place, begun.subject, known)
        file, receipt = write_receipt(place.home, _content(place, begun, verified, versions))
        if verified.is_clean:
            forgotten.complete(place.connection, begun.subject.request_id)
            request.end(place.home, begun.subject.request_id)
        else:  # to be tried by each run it takes too long, and what is in the way may stay there
            request.keep(place.home, begun)
            request.set_aside(place.home, begun.subject.request_id)
            place.notify(f"Something is left, as {file} says; the next `ml-assets forget` goes on.")
    return Outcome(file, receipt, verified, begun.source_has)


def _hide(place: Place, begun: Begun) -> list[int]:
    """Let nobody find or read it from now on, and mark the models; return their versions."""
    connection, subject = place.connection, begun.subject
    name = f"request/{subject.request_id}"
    with connection.transaction():
        if not audit.count_entries(connection, name, "forget"):
            details = {"documents": len(subject.documents), "chunks": len(subject.chunks)}
            entry = audit.Entry(begun.actor, "forget", name, begun.reason, details)
            audit.append(connection, entry)
        forgotten.remember(
            connection, subject.request_id, begun.actor, subject.documents, begun.facts["texts"]
        )
        forget_finish(connection, name)
        hide(connection, subject)
        return mark_forgotten(connection, subject.request_id, begun.facts["training_sets"])


def _erase(place: Place, begun: Begun) -> Begun:
    """Erase in each store that is not done."""
    if LAST[0] in begun.done:
        return begun
    place.notify("The graphs of the vectors are built anew beside those that answer")
    with graphs_built_anew(place):
        for store in ERASERS:
            begun = _erase_in(place, begun, store)
    return _erase_in(place, begun, LAST)


def _erase_in(place: Place, begun: Begun, store: tuple[str, Eraser]) -> Begun:
    name, erase = store
    if name in begun.done:
        return begun
    place.notify(f"Forgetting in {name}")
    done = begun.with_done(name, erase(place, begun.subject))
    request.keep(place.home, done)
    return done


def _erase_again(place: Place, begun: Begun) -> Begun:
    """Erase once more, and tell what both times removed."""
    again = _erase(place, replace(begun, done={}))
    before = {
        (each.store, each.what): each.count for first in begun.done.values() for each in first
    }
    done = {
        name: tuple(
            replace(each, count=each.count + before.get((each.store, each.what), 0))
            for each in removed
        )
        for name, removed in again.done.items()
    }
    return replace(again, done=done)


def _content(
    place: Place, begun: Begun, verified: Verified, versions: Sequence[int]
) -> dict[str, Any]:
    """What the receipt says."""
    erased = (each for removed in begun.done.values() for each in removed)
    rows = len(begun.subject.documents) + len(begun.subject.chunks)
    hidden = Removed("PostgreSQL", "documents and chunks", rows, "deleted first, with vectors")
    subject, salt = begun.subject, forgotten.read_forgotten(place.connection).salt
    servers = any(
        (
            *(place.settings.postgres_url, place.settings.chroma_url, place.settings.online_url),
            *(place.settings.metrics_url, place.settings.mlflow_tracking_uri),
        )
    )
    return {
        "request_id": subject.request_id,
        "requested_at": begun.facts["requested_at"],
        "completed_at": _now(),
        "actor": begun.actor,
        "reason": begun.reason,
        "documents": sorted(forgotten.digest(salt, "id", each).hex() for each in subject.documents),
        "chunks": len(subject.chunks),
        "fingerprints": fingerprints_of(subject.marks, salt),
        "erased": [asdict(each) for each in (hidden, *erased)],
        "verified": {
            "is_clean": verified.is_clean,
            "rows": verified.rows,
            "files": verified.files,
            "marks": verified.marks,
            "traces": [asdict(trace) for trace in verified.traces],
        },
        "model_versions": list(versions),
        "backups": _backups(place, begun),
        "not_shown": [*NOT_SHOWN, *([_OF_SERVERS] if servers else [])],
    }


def _backups(place: Place, begun: Begun) -> list[dict[str, Any]]:
    """Those that were there when it was asked for, and those that were made since, as they are."""
    asked = datetime.fromisoformat(begun.facts["requested_at"])
    told = [*begun.facts["backups"], *_told(backups_since(place.connection, asked))]
    return list({(each["host"], each["folder"]): each for each in told}.values())


def _told(backups: Sequence[Backup]) -> list[dict[str, Any]]:
    return [{**asdict(each), "made_at": f"{each.made_at}"} for each in backups]


def _training_sets(settings: Settings, subject: Subject) -> dict[str, int]:
    if not settings.duckdb_file.exists():
        return {}
    with duckdb.connect(settings.duckdb_file, read_only=True) as duck:
        return training_sets_with(duck, subject.documents)


def _where_it_stands(settings: Settings, subject: Subject) -> tuple[str, ...] | None:
    """The places of the documents in the source, by reading it; None: it cannot be read."""
    ids, found = set(subject.documents), []
    try:
        source = open_source(settings.source, settings)
        wanted = source.collections().keys() & set(subject.collections)
        for row in source.read(sorted(wanted)) if wanted else ():
            if row.document_id in ids:
                place = row.location or (row.url if isinstance(row, Document) else "")
                found.append(place or f"{source.name}, {row.document_id}")
    except SourceError:
        return None
    return tuple(found)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
