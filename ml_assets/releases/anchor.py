"""The end of the audit log, kept outside of the database that it tells of, in a signed file.

Who can write to the database alone can write the whole chain anew, cut its end off, or drop the
table; what was kept of it here then differs. The file may lag behind what was committed, as after a
kill: what follows in a sound chain is taken over by the next command that writes. It is never
ahead. Dagster keeps the end, too, with each materialization of `champion_model`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import StoreError
from ml_assets.releases import audit, signing
from ml_assets.releases.audit import Entry
from ml_assets.releases.roles import authorize
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import locked
from ml_assets.stores.folders import folder, write_whole
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FILE = f"{signing.FOLDER}/head.json"
_LOCK = f"{signing.FOLDER}/.lock"
_SECONDS = 30.0
"""Another process of the home holds its file for milliseconds."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of the log at some moment: its number, and its hash as 64 hex digits."""

    entry_id: int
    entry_hash: str

    def __str__(self) -> str:
        """Number and hash, as Dagster keeps them."""
        return f"{self.entry_id} {self.entry_hash}"


@dataclass(frozen=True, slots=True)
class Witness:
    """A head that somebody else kept, and when."""

    head: Head
    kept_at: datetime


def read_head(connection: postgres.Connection) -> Head | None:
    """The last entry of the log; None: it has none."""
    row = _head(connection)
    return row and row[0]


def parse_head(text: str) -> Head | None:
    """A head from its text; None: the text is none."""
    number, _, digest = text.partition(" ")
    return Head(int(number), digest) if number.isdecimal() and len(digest) == 64 else None


def follow(connection: postgres.Connection, home: Path, actor: str, *, shared: bool) -> None:
    """Keep the end of the log in the home, if the log goes on from what was kept there before.

    Where it does not, what was kept stays, and `verify` tells. The first time a key is made, and
    named in the log. `shared`: the log is on a server, where other homes keep it, too; in a
    database of the home's own no second key is made, so that one which was removed is missed.
    """
    row = _head(connection)
    if row is None or not row[1]:
        return
    head = row[0]
    if (home / FILE).exists() and _read(home).get("entry_id") == head.entry_id:
        return
    folder(home / signing.FOLDER)
    with locked(home / _LOCK, _SECONDS):
        key, kept = signing.find_key(home), _read(home)
        if key is None:
            if kept or (not shared and _named(connection)):
                return
            key = signing.make_key(home)
        named = _named(connection, signing.public(key))
        if named and not kept:
            return
        if kept and _difference(connection, kept, key):
            return
        if kept and audit.verify(connection, int(kept["entry_id"])):
            return
        _write(home, key, head)
        if not named:
            _name(connection, home, key, Entry(actor, "anchor", "", "its home keeps the end"))


def anchor_anew(connection: postgres.Connection, home: Path, actor: str, reason: str) -> str | None:
    """Take the log as it is for right, as after a restore by other means; what differed is logged.

    Returns what `verify` told before.

    Raises:
        RoleError: the actor is no admin.
        StoreError: the chain itself is broken, which only a backup mends.
    """
    authorize(connection, actor, "anchor anew", FILE)
    if broken := audit.verify(connection):
        raise StoreError(
            f"the log is broken at {broken}",
            where="audit",
            do="Restore a backup: `ml-assets restore`",
        )
    folder(home / signing.FOLDER)
    with locked(home / _LOCK, _SECONDS):
        told = _kept_problem(connection, home, shared=False)
        try:
            key = signing.find_key(home) or signing.make_key(home)
        except StoreError:
            key = signing.make_key(home)
        entry = Entry(actor, "anchor anew", "", reason, {"told": told})
        _name(connection, home, key, entry)
    return told


def verify(
    connection: postgres.Connection,
    home: Path,
    witnesses: Sequence[Witness] = (),
    *,
    shared: bool,
) -> str | None:
    """Verify the chain, then what was kept of it outside; the first problem, or None.

    `witnesses` are what Dagster kept. One of before the last restore does not count: the log may
    have gone back to an earlier state since.
    """
    if told := audit.verify(connection):
        return told
    if told := _kept_problem(connection, home, shared=shared):
        return told
    ((restored,),) = connection.execute(statement("postgres/releases/last_restore")).fetchall()
    for witness in sorted(witnesses, key=lambda each: each.head.entry_id):
        if restored and witness.kept_at <= restored:
            continue
        if told := _told(connection, witness.head, "by Dagster"):
            return told
    return None


def _kept_problem(connection: postgres.Connection, home: Path, *, shared: bool) -> str | None:
    """What is wrong with the key and the file of the home, or between them and the log."""
    try:
        key, kept = signing.find_key(home), _read(home)
    except StoreError as error:
        return f"{_named(connection) or 1}: {error.reason}"
    if key is None and not kept:
        first = None if shared else _named(connection)
        missing = f"{signing.KEY} and {FILE} are missing in the home, which kept the end since then"
        return f"{first}: {missing}" if first else None
    if key is None:
        return f"{kept.get('entry_id', 1)}: {signing.KEY}, which signed {FILE}, is missing"
    if not kept:
        named = _named(connection, signing.public(key))
        return f"{named}: {FILE}, which kept the end since then, is missing" if named else None
    return _difference(connection, kept, key)


def _difference(
    connection: postgres.Connection, kept: dict[str, Any], key: Ed25519PrivateKey
) -> str | None:
    """How the log differs from what was kept of it."""
    number = kept.get("entry_id", 1)
    if not signing.is_signed(kept) or kept["public_key"] != signing.public(key):
        return f"{number}: {FILE} is not as the key of the home signed it"
    head = Head(kept["entry_id"], kept["entry_hash"])
    told = _told(connection, head, "in the home")
    if told and not _named(connection, signing.public(key)):
        return f"{told}; or {signing.FOLDER}/ is that of another home, whose key it does not name"
    return told


def _told(connection: postgres.Connection, head: Head, where: str) -> str | None:
    query = "select encode(entry_hash, 'hex') from model_audit_logs where entry_id = %s"
    row = connection.execute(query, [head.entry_id]).fetchone()
    if row is None:
        return f"{head.entry_id}: it is missing, and was kept {where}: the end was cut off"
    if row[0] != head.entry_hash:
        return f"{head.entry_id}: it is not the one that was kept {where}: the log was replaced"
    return None


def _named(connection: postgres.Connection, public_key: str | None = None) -> int | None:
    """The entry that names the key of a home, or the first of any key."""
    bound = {"public_key": public_key}
    row = connection.execute(statement("postgres/releases/anchor_entry"), bound).fetchone()
    return row[0] if row else None


def _name(
    connection: postgres.Connection, home: Path, key: Ed25519PrivateKey, entry: Entry
) -> None:
    """Name the key in the log, and keep the end that this makes."""
    public = signing.public(key)
    details = {**entry.details, "public_key": public}
    audit.append(
        connection, Entry(entry.actor, entry.action, f"home/{public[:16]}", entry.reason, details)
    )
    head = read_head(connection)
    if head:
        _write(home, key, head)


def _head(connection: postgres.Connection) -> tuple[Head, bool] | None:
    """The last entry, and whether we may write another."""
    if not audit.exists(connection):
        return None
    row = connection.execute(statement("postgres/releases/head")).fetchone()
    return (Head(row[0], row[1]), row[2]) if row else None


def _read(home: Path) -> dict[str, Any]:
    """What was kept; empty: nothing. What is no JSON is kept, and not signed."""
    kept: object = None
    try:
        kept = json.loads((home / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        pass
    return kept if isinstance(kept, dict) and kept else {"entry_id": 1, "damaged": True}


def _write(home: Path, key: Ed25519PrivateKey, head: Head) -> None:
    content = {**asdict(head), "kept_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_whole(home / FILE, json.dumps(signing.sign(key, content), indent=1) + "\n")
