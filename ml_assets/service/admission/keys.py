"""API keys: made, shown once, kept as a hash, revoked; and what the holder of one may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from psycopg.rows import class_row

from ml_assets.errors import NothingToDoError, UserError
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.rights import ROLES, Role
from ml_assets.releases.roles import authorize
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

Scope = Literal["read", "feedback", "write"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MAY: Mapping[Role, frozenset[Scope]] = {
    "viewer": frozenset({"read", "feedback"}),
    **dict.fromkeys(ROLES[1:], frozenset(SCOPES)),
}
"""What a role may do, unless its key was narrowed."""

_PREFIX = "mla"
_ID_BYTES, _SECRET_BYTES = 6, 32


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret."""

    key_id: str
    name: str
    role: Role
    scopes: Sequence[Scope]
    secret_hash: bytes
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None

    def may(self, scope: Scope) -> bool:
        """Whether its holder may do that."""
        return scope in self.scopes


def create_key(
    connection: postgres.Connection, name: str, role: Role, only: Sequence[Scope], actor: str
) -> str:
    """Make a key, and return it as its holder presents it: it is never shown again.

    With `only` it is narrowed to these of what its role may do.

    Raises:
        UserError: the name is empty, or the role or a scope is none, or the role lacks the scope.
        RoleError: the actor is no admin.
    """
    if not name.strip():
        raise UserError("the key has no name", where="keys", do="Say whose it is")
    if role not in MAY:
        raise UserError(
            f"there is no role {role!r}", where="--role", do=f"Known: {', '.join(ROLES)}"
        )
    if wrong := [scope for scope in only if scope not in MAY[role]]:
        known = ", ".join(scope for scope in SCOPES if scope in MAY[role])
        raise UserError(
            f"a {role} may not {wrong[0]!r}", where="--only", do=f"A {role} may {known}"
        )
    authorize(connection, actor, "create key", "keys")
    scopes = [scope for scope in SCOPES if scope in (set(only) or MAY[role])]
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    bound: dict[str, Any] = {"key_id": key_id, "name": name, "role": role, "scopes": scopes}
    bound |= {"secret_hash": _hash(secret), "created_by": actor}
    with connection.transaction():
        connection.execute(statement("postgres/service/insert_key"), bound)
        details = {"name": name, "role": role, "scopes": scopes}
        append(connection, Entry(actor, "create key", f"key/{key_id}", name, details))
    return f"{_PREFIX}_{key_id}_{secret}"


def revoke_key(connection: postgres.Connection, key_id: str, actor: str) -> None:
    """End a key; the processes that serve refuse it within a second.

    Raises:
        NothingToDoError: there is no such key, or it was revoked before.
        RoleError: the actor is no admin.
    """
    authorize(connection, actor, "revoke key", f"key/{key_id}")
    bound = {"key_id": key_id, "revoked_by": actor}
    with connection.transaction():
        if not connection.execute(statement("postgres/service/revoke_key"), bound).rowcount:
            what = f"there is no key {key_id!r} that could be revoked"
            raise NothingToDoError(what, where="keys", do="See `ml-assets keys list`")
        append(connection, Entry(actor, "revoke key", f"key/{key_id}", ""))


def read_keys(connection: postgres.Connection) -> list[Key]:
    """All keys that were ever made, the oldest first."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(statement("postgres/service/keys")).fetchall()


def match(presented: str, keys: Mapping[str, Key]) -> Key | None:
    """The key that was presented, if it is one of these, by id, and was not revoked.

    The secret is compared in a time that does not tell how much of it is right.
    """
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    key = keys.get(key_id)
    right = hmac.compare_digest(_hash(secret), key.secret_hash if key else _hash(""))
    return key if key and right and prefix == _PREFIX and key.revoked_at is None else None


def _hash(secret: str) -> bytes:
    # A random secret of 256 bits needs no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode(errors="replace")).digest()
