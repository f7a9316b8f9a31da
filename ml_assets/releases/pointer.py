"""The pointer to what is served: one release is open, and moving the pointer appends the next one.

All who decide take turns under one lock, over all processes. The row, the withdrawals and the audit
entry are written in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Literal, get_args

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from ml_assets.errors import NothingToDoError
from ml_assets.releases.audit import Entry, append
from ml_assets.stores import postgres, redis
from ml_assets.stores.postgres.locks import exclusive
from ml_assets.stores.sql import statement

Part = Literal["generation_id", "model_version"]
"""A part that is published, withdrawn and retired by itself; all other parts follow from these."""

CHANNEL = "ml_assets:releases"
"""The channel of Redis on which it is told that something else may be served."""

_LOCK = "ml_schema.releases"


@dataclass(frozen=True, slots=True)
class Parts:
    """What is served together; None: nothing of that kind is served."""

    space_id: str | None = None
    generation_id: str | None = None
    feature_views: Mapping[str, str] = field(default_factory=dict)
    model_name: str | None = None
    model_version: int | None = None
    model_space_id: str | None = None

    def identity(self, part: Part) -> str | None:
        """What stands for a part, as text."""
        value = getattr(self, part)
        return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Release:
    """The parts that were served together, from when until when (None: now), and why."""

    release_id: int
    parts: Parts
    served_from: datetime
    served_until: datetime | None
    actor: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A person rolled back from a part: no run serves it again until a person does."""

    identity: str
    actor: str
    reason: str

    def __str__(self) -> str:
        """Who withdrew it, and why."""
        return f"{self.identity} was withdrawn by {self.actor}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Service:
    """The last unbroken time in which a part was served; `served_until` None: it still is."""

    identity: str
    served_from: datetime
    served_until: datetime | None
    actor: str
    reason: str


@contextmanager
def deciding_alone(connection: postgres.Connection, redis_url: str | None = None) -> Iterator[None]:
    """Be the only one, over all processes, who decides what is served and what is dropped.

    At its end who serves is told to look, on the channel of the Redis at `redis_url`.
    """
    with exclusive(connection, _LOCK):
        yield
    if redis_url:
        redis.announce(redis_url, CHANNEL)


@contextmanager
def turn(connection: postgres.Connection) -> Iterator[None]:
    """A transaction in which nobody else moves the pointer, whether they asked to decide or not."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
        yield


def present_release(connection: postgres.Connection) -> Release | None:
    """The release that is served now; None before the first."""
    return next(iter(list_releases(connection, "infinity")), None)


def present_parts(connection: postgres.Connection) -> Parts:
    """What is served now."""
    present = present_release(connection)
    return present.parts if present else Parts()


def list_releases(
    connection: postgres.Connection, at: datetime | str | None = None
) -> list[Release]:
    """Every release, the present one first; with `at` only the one that was served at that time."""
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(statement("postgres/releases/releases"), {"at": at})
    names = [part.name for part in fields(Parts)]
    return [Release(parts=Parts(**{name: row.pop(name) for name in names}), **row) for row in rows]


def publish(
    connection: postgres.Connection, change: Callable[[Parts], Parts], entry: Entry
) -> None:
    """Serve other parts: the present ones, changed. What is served is withdrawn no more.

    Call it only for a change: every call appends a release.
    """
    with turn(connection):
        before = present_release(connection)
        parts = change(before.parts if before else Parts())
        connection.execute(statement("postgres/releases/close_release"))
        bound = {
            **asdict(parts),
            "feature_views": Jsonb(dict(parts.feature_views)),
            **{name: getattr(entry, name) for name in ("actor", "action", "reason")},
        }
        opened = connection.execute(statement("postgres/releases/open_release"), bound).fetchone()
        connection.execute(statement("postgres/releases/lift_withdrawals"))
        previous = asdict(before.parts) if before else None
        release = opened and opened[0]
        details = {"release": release, "served": asdict(parts), "previous": previous}
        details |= entry.details
        append(connection, replace(entry, details=details))


def withdrawals(connection: postgres.Connection, part: Part) -> dict[str, Withdrawal]:
    """What is withdrawn of a part, by its identity."""
    cursor = connection.cursor(row_factory=class_row(Withdrawal))
    rows = cursor.execute(statement("postgres/releases/withdrawals"), {"part": part})
    return {row.identity: row for row in rows}


def services(connection: postgres.Connection, part: Part) -> dict[str, Service]:
    """When each value of a part was served last, by its identity."""
    cursor = connection.cursor(row_factory=class_row(Service))
    rows = cursor.execute(statement("postgres/releases/services"), {"part": part})
    return {row.identity: row for row in rows}


def roll_back(connection: postgres.Connection, target: Release, entry: Entry) -> None:
    """Serve the parts of `target` as a whole, and withdraw what is left by that."""
    with turn(connection):
        publish(connection, lambda _: target.parts, entry)
        parts = {"parts": list(get_args(Part))}
        connection.execute(statement("postgres/releases/withdraw_left"), parts)


def rollback_target(connection: postgres.Connection, to: int | None = None) -> Release:
    """Return the release to go back to: `to`, or the last one before that can be chosen by itself.

    That is the one served last of those that differ from the present one and name nothing that was
    withdrawn.

    Raises:
        NothingToDoError: nothing is served, there is no such release, or it is the present one.
    """
    releases = list_releases(connection)
    if not releases:
        raise NothingToDoError("nothing is served yet", where="releases", do="Run `ml-assets run`")

    def identities(release: Release) -> dict[Part, str | None]:
        return {part: release.parts.identity(part) for part in get_args(Part)}

    def differs(release: Release) -> bool:
        return identities(release) != identities(releases[0])

    if to is not None:
        named = next((release for release in releases if release.release_id == to), None)
        if named and differs(named):
            return named
        problem = f"release {to} names what is served already"
        raise NothingToDoError(
            problem if named else f"there is no release {to}",
            where="--to",
            do="See `ml-assets releases`",
        )
    left = {part: withdrawals(connection, part) for part in get_args(Part)}
    for release in filter(differs, releases):
        if not any(identity in left[part] for part, identity in identities(release).items()):
            return release
    raise NothingToDoError(
        "nothing else was served before, or it was withdrawn",
        where="releases",
        do="Choose one of `ml-assets releases` with --to",
    )
