"""Documents, with their history; and documents that are pushed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter

from ml_assets.documents.history import read_document, read_history
from ml_assets.documents.model import Document
from ml_assets.documents.pushed.queue import push, pushed_document, read_ticket, withdraw
from ml_assets.search.indexes.kinds import waiting_among
from ml_assets.service.access import Reader, Writer
from ml_assets.service.answering import Pinned, TheService
from ml_assets.service.following.opened import Lane, OpenedRelease, look_up
from ml_assets.service.routes import PREFIX
from ml_assets.service.schemas import (
    Accepted,
    Change,
    DocumentAnswer,
    PushRequest,
    TicketAnswer,
    TicketState,
)

router = APIRouter(prefix=PREFIX, tags=["documents"])


@router.post("/documents", status_code=202)
async def push_documents(asked: PushRequest, caller: Writer, service: TheService) -> Accepted:
    """Accept documents; the next run reads them, and the ticket says when they are searchable."""
    most = service.settings.max_document_bytes
    documents = [pushed_document(document.model_dump(), most) for document in asked.documents]
    ticket = await service.on_primary(
        lambda connection: push(connection, documents, caller.identity)
    )
    return Accepted(ticket=ticket, documents=len(documents))


@router.get("/tickets/{ticket}")
async def ticket_states(
    ticket: UUID, _: Reader, opened: Pinned, service: TheService
) -> TicketAnswer:
    """What became of the documents that came with a ticket."""
    states = await service.on_lane(opened, lambda lane: _states(lane, opened, ticket))
    left = [each.state for each in states if each.state not in ("replaced", "withdrawn")]
    return TicketAnswer(
        release=opened.served.release_id,
        ticket=ticket,
        searchable=bool(left) and set(left) == {"searchable"},
        documents=states,
    )


@router.delete("/documents/{document_id:path}", status_code=202)
async def withdraw_document(document_id: str, _: Writer, service: TheService) -> None:
    """Take back a document that was pushed; the next run removes it everywhere."""
    await service.on_primary(lambda connection: withdraw(connection, document_id))


@router.get("/documents/{document_id:path}")
async def document(
    document_id: str, _: Reader, opened: Pinned, service: TheService
) -> DocumentAnswer:
    """A live document: its text and metadata, and what changed it, when, and why."""

    def read(lane: Lane) -> tuple[Document, list[dict[str, Any]]]:
        found = read_document(lane.connection, document_id)
        return found, read_history(lane.connection, document_id)

    found, history = await service.on_lane(opened, read)
    return DocumentAnswer(
        release=opened.served.release_id,
        document=found,
        history=[Change.model_validate(row) for row in history],
    )


def _states(lane: Lane, opened: OpenedRelease, ticket: UUID) -> list[TicketState]:
    pushed = read_ticket(lane.connection, ticket)
    read = [each.document_id for each in pushed if each.state == "read"]
    waiting = set(read)
    # What a run indexed since this engine was opened, it does not find.
    if read and (engine := lane.engine) and look_up(lane.connection) == opened.served:
        indexes = (engine.vector, engine.keyword)
        waiting = waiting_among(lane.connection, engine.generation, indexes, read)
    states: list[TicketState] = []
    for each in pushed:
        now: Any = each.state
        if now == "read":
            now = "indexing" if each.document_id in waiting else "searchable"
        states.append(TicketState(document_id=each.document_id, state=now, reason=each.reason))
    return states
