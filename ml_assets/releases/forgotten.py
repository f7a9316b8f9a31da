"""What was forgotten, known by salted hashes of ids and texts alone: neither is read again.

Who has the tables can tell of an id or a text that he has whether it was forgotten, and no more.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

Kind = Literal["id", "text"]

REASON = "it was forgotten: take it out of the source"
"""Why a row is not read, beside the place where it stands."""

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Request:
    """A request to forget; `completed_at` None: something of it is left to do, on its host."""

    request_id: str
    requested_at: datetime
    actor: str
    host: str
    documents: int
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """All ids and texts that were forgotten, by their hashes."""

    salt: bytes = b""
    digests: frozenset[tuple[str, bytes]] = frozenset()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.digests)

    def has_id(self, document_id: str) -> bool:
        """Whether a document of this id was forgotten."""
        return ("id", digest(self.salt, "id", document_id)) in self.digests

    def has(self, document_id: str, text: str) -> bool:
        """Whether the id or the text was forgotten; case and spacing of a text do not count."""
        return self.has_id(document_id) or (
            ("text", digest(self.salt, "text", text)) in self.digests
        )


def digest(salt: bytes, kind: Kind, value: str) -> bytes:
    """HMAC-SHA256 (RFC 2104) of an id, or of a text without case and spacing: 32 bytes."""
    form = value if kind == "id" else " ".join(value.split()).casefold()
    return hmac.digest(salt, f"{kind}\0{form}".encode(errors="replace"), "sha256")


def read_forgotten(connection: postgres.Connection) -> Forgotten:
    """All that was forgotten."""
    salt = _salt(connection)
    if not salt:
        return Forgotten()
    rows = connection.execute("select kind, digest from forgotten").fetchall()
    return Forgotten(salt, frozenset((kind, bytes(each)) for kind, each in rows))


def remember(
    connection: postgres.Connection,
    request_id: str,
    actor: str,
    document_ids: Iterable[str],
    texts: Iterable[str],
) -> None:
    """Keep from now on that these are not read; repeatable. Call it in a transaction."""
    bound = {"salt": secrets.token_bytes(_SALT_BYTES)}
    connection.execute(statement("postgres/releases/make_salt"), bound)
    salt = _salt(connection)
    ids = [*document_ids]
    given: list[tuple[Kind, bytes]] = [("id", digest(salt, "id", each)) for each in ids]
    given += [("text", digest(salt, "text", each)) for each in texts]
    request = {"request_id": request_id, "actor": actor, "host": socket.gethostname()}
    begin = {**request, "documents": len(ids)}
    connection.execute(statement("postgres/releases/begin_forgetting"), begin)
    hashes = {"kinds": [kind for kind, _ in given], "digests": [each for _, each in given]}
    connection.execute(statement("postgres/releases/remember_forgotten"), {**request, **hashes})


def complete(connection: postgres.Connection, request_id: str) -> None:
    """Nothing of a request is left to do."""
    bound = {"request_id": request_id}
    connection.execute(statement("postgres/releases/complete_forgetting"), bound)


def read_requests(connection: postgres.Connection) -> list[Request]:
    """All requests, the oldest first."""
    with connection.cursor(row_factory=class_row(Request)) as cursor:
        return cursor.execute(statement("postgres/releases/forget_requests")).fetchall()


def _salt(connection: postgres.Connection) -> bytes:
    row = connection.execute("select salt from forgotten_salt").fetchone()
    return bytes(row[0]) if row else b""
