"""Whether there is anything to do: which collections are to be refreshed, and what follows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ml_assets.documents.collections import GONE, Collection, changed_collections, read_collections
from ml_assets.documents.history import count_changes
from ml_assets.documents.sources import Source, open_source
from ml_assets.errors import StoreError
from ml_assets.features.views import VIEWS
from ml_assets.monitoring.predictions import waiting_days
from ml_assets.operations.erasure.request import is_any_begun
from ml_assets.operations.state import counted, is_marked, run_inputs, written
from ml_assets.releases.audit import last_entry
from ml_assets.releases.pointer import present_parts
from ml_assets.search.publishing.listing import described_generation, expired
from ml_assets.settings import Settings, secret
from ml_assets.stores import mlflow, postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.documents.chunking import Chunker
    from ml_assets.embeddings.space import VectorSpace

FailedCheck = tuple[str, bool, dict[str, Any]]
"""Name, whether it blocks, and its numbers."""

LOOK_AGAIN = timedelta(hours=1)
"""For so long the mark of a server stands for what it holds."""

_BEGUN = "begun by "
"""Before the turn that has not ended well yet, in the place of the state of one that has."""

_HOSTS = 16
"""How many states are known in which a run ended well: each host with a home of its own has one."""


@dataclass(frozen=True, slots=True)
class Finish:
    """When a run ended well, the checks that warned in it, and what it left.

    `standing`: how things stand, where that was kept with `keep_standing`.
    """

    ended: datetime
    warnings: Sequence[FailedCheck]
    written: str
    standing: str | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Where collections differ: `present` at the source, `stored` in the tables.

    `stale` are those whose chunks or vectors are behind their documents.
    """

    present: dict[str, str]
    stored: list[Collection]
    stale: list[str]

    @property
    def collections(self) -> list[str]:
        """The collections to refresh."""
        return sorted({*changed_collections(self.stored, self.present), *self.stale})

    @property
    def gone(self) -> list[str]:
        """The collections that left the source, of which nothing is left to be done."""
        emptied = {
            row.collection for row in self.stored if row.fingerprint == GONE and not row.documents
        }
        return sorted(emptied - self.present.keys() - set(self.collections))

    @property
    def unread(self) -> list[str]:
        """The collections that could not be read the last time."""
        return [row.collection for row in self.stored if row.read_error is not None]


def find_pending(
    connection: postgres.Connection, source: Source, chunker: Chunker, space: VectorSpace
) -> Pending:
    """Compare the collections of `source` with the tables, and these with each other."""
    # Not needed to see that nothing changed.
    from ml_assets.embeddings.refresh import stale_collections

    return Pending(
        source.collections(),
        read_collections(connection),
        stale_collections(connection, chunker.fingerprint, space.space_id),
    )


def difference(
    connection: postgres.Connection,
    pending: Pending,
    source: Source,
    chunker: Chunker,
    space: VectorSpace,
) -> str:
    """A hash over source, settings and tables: equal when the same difference is seen again.

    Reading a collection again and finding it equal is no news. The time of reading tells a
    difference from an earlier one between the same two fingerprints.
    """
    present, changes = pending.present, count_changes(connection)
    read = [
        (name, row.fingerprint, row.fingerprint != present.get(name, GONE) and row.refreshed_at)
        for row in pending.stored
        for name in [row.collection]
    ]
    own = (source.name, chunker.fingerprint, space.space_id)
    parts = (*own, sorted(present.items()), read, sorted(pending.stale), changes)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def last_finish(settings: Settings) -> Finish | None:
    """How the last run ended, if a run now would change nothing; None if it might.

    Of a store on a server only a mark is looked at, so it is None, too, when that is all that was
    looked at for `LOOK_AGAIN`.

    Raises:
        UserError: the source, a setting or PostgreSQL cannot be used.
    """
    url, tracked = secret(settings.postgres_url), secret(settings.mlflow_tracking_uri)
    with postgres.connect(url, settings.home, vectors=False) as connection:
        row = _finished_run(connection)
        if row is None:
            return None
        source = open_source(settings.source, settings)
        if (
            row["changes"] != count_changes(connection)
            or row["state"] != run_inputs(settings, source)
            or (row["age"] > LOOK_AGAIN and is_marked(settings))
            or waiting_days(settings.home)
            or is_any_begun(settings.home)
            or written(connection, settings) not in row["written"].split()
            or changed_collections(read_collections(connection), source.collections())
            or expired(connection, described_generation(settings), settings.keep_generations_days)
            # Of a server the mark tells it.
            or (tracked is None and _are_astray(connection, url, settings))
            or _rows_came(settings, row["finished_at"])
        ):
            return None
        return _finish(row)


def _finished_run(connection: postgres.Connection) -> dict[str, Any] | None:
    """The row of the last run that ended well, with its age; None: the last did not."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select *, now() - finished_at as age from finished_run").fetchone()
    return None if row is None or not row["state"] or row["state"].startswith(_BEGUN) else row


def _finish(row: Mapping[str, Any]) -> Finish:
    warnings = [(name, blocks, numbers) for name, blocks, numbers in row["warnings"]]
    return Finish(row["finished_at"], warnings, row["written"], row["standing"])


def present_finish(connection: postgres.Connection) -> Finish | None:
    """How the last run ended, whatever was written since; None: it did not end well."""
    row = _finished_run(connection)
    return _finish(row) if row else None


def keep_standing(connection: postgres.Connection, finish: Finish, standing: str) -> None:
    """Keep how things stand beside a finish that was there before it was looked.

    It holds for as long as `last_finish` says that nobody wrote: of an adopted finish nothing is
    kept.
    """
    bound = {"standing": standing, "written": finish.written, "finished_at": finish.ended}
    connection.execute(statement("postgres/operations/keep_standing"), bound)


def _are_astray(connection: postgres.Connection, url: str | None, settings: Settings) -> bool:
    """Whether MLflow's aliases name other versions than the release.

    Without a version there are none, and what trains models is not imported to see that.
    """
    if present_parts(connection).model_version is None and not last_entry(connection, "register"):
        return False
    from ml_assets.registry.versions import astray

    return bool(astray(connection, mlflow.tracking(None, url, settings.home)))


def _rows_came(settings: Settings, finished: datetime) -> bool:
    """Whether a row of a user's own view counts by now that the run did not see yet.

    It copied the values some time before it was finished.
    """
    views = [view for view in VIEWS.values() if view.has_history]
    if not views or not settings.duckdb_file.exists():
        return False
    # Not needed where there are none.
    from ml_assets.features.offline import rows_came
    from ml_assets.stores import duckdb

    with duckdb.connect(settings.duckdb_file, read_only=True) as duck:
        return rows_came(duck, views, finished - LOOK_AGAIN)


def was_finished(connection: postgres.Connection, settings: Settings) -> bool | None:
    """Whether nobody has written to the stores since a run ended well; None: the last did not."""
    finish = present_finish(connection)
    return written(connection, settings) in finish.written.split() if finish else None


@contextmanager
def kept_finish(settings: Settings) -> Iterator[list[str]]:
    """Have a run that ended well stay so, whatever the block writes to stores but PostgreSQL.

    For what no run reads, by one that excludes all runs. A block that fails is a change, by an
    error or by what it adds to the list that it is given.
    """
    url = secret(settings.postgres_url)
    with postgres.connect(url, settings.home) as connection:
        finished, before = was_finished(connection, settings), counted(connection)
    failed: list[str] = []
    yield failed
    if not finished or failed:
        return
    with suppress(StoreError), postgres.connect(url, settings.home) as connection:
        if counted(connection) == before:
            adopt_finish(connection, settings)


def adopt_finish(connection: postgres.Connection, settings: Settings) -> None:
    """The run that ended well left the stores as they are now, or as they were known to be."""
    known = _known(connection, settings)
    connection.execute("update finished_run set written = %s, standing = null", [known])


def remember_finish(
    connection: postgres.Connection,
    settings: Settings,
    turn: str,
    inputs: str,
    changes: int,
    warnings: Sequence[FailedCheck] = (),
) -> None:
    """Keep that a run ended well: on `run_inputs` as it began, and after so many `changes`.

    Not if somebody went back to another release since its `turn` began: the next run looks at all.
    """
    bound = {
        "begun": f"{_BEGUN}{turn}",
        "state": inputs,
        "written": _known(connection, settings),
        "changes": changes,
        "warnings": Jsonb(warnings),
    }
    connection.execute(statement("postgres/operations/remember_finish"), bound)


def _known(connection: postgres.Connection, settings: Settings) -> str:
    """How runs left the stores, with how they are now.

    In turn on hosts with homes of their own, each knows what it left.
    """
    row = connection.execute("select written from finished_run").fetchone()
    present = written(connection, settings)
    known = [each for each in (row[0].split() if row else ()) if each != present]
    return " ".join([*known, present][-_HOSTS:])


def forget_finish(connection: postgres.Connection, turn: str) -> None:
    """A turn begins: until it has ended well, nothing is finished, for no settings."""
    state = {"state": f"{_BEGUN}{turn}"}
    connection.execute(statement("postgres/operations/forget_finish"), state)
