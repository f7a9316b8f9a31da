"""One release, opened for several threads: what all requests that began with it are answered from.

A lane is what one thread uses at a time: a connection to PostgreSQL and an engine on it. What lies
outside PostgreSQL (keyword index, FAISS, Chroma, the model) is opened once for all lanes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import OutageError, StoreError, UserError
from ml_assets.registry.serving import Answering, open_version
from ml_assets.registry.versions import read_version
from ml_assets.releases.pointer import Release, present_release
from ml_assets.search.answering.engine import open_beside, open_engine
from ml_assets.search.answering.model import Engine
from ml_assets.search.generation import find_generation
from ml_assets.search.indexes.kinds import Indexes, index_marks
from ml_assets.search.model import Generation
from ml_assets.settings import Settings, secret
from ml_assets.stores import mlflow, postgres


class NoLaneError(OutageError):
    """There is too much to do."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is to be opened: the release, its generation, and the content of its indexes."""

    release: Release | None = None
    generation: Generation | None = None
    marks: Mapping[str, str] = field(default_factory=dict)

    @property
    def release_id(self) -> int | None:
        """The number of the release; None before the first."""
        return self.release.release_id if self.release else None


@dataclass(slots=True)
class Lane:
    """A connection, and the engine on it; None where no search was published."""

    connection: postgres.Connection
    engine: Engine | None
    stack: ExitStack


class OpenedRelease:
    """A release with its lanes; its owner closes it when everybody has left."""

    def __init__(self, settings: Settings, served: Served, space: VectorSpace, lanes: int) -> None:
        """Open everything; `space` is that of the vectors that are to be searched with.

        Raises:
            StoreError: a store does not answer, or an index is missing.
        """
        self.settings, self.served, self.lanes = settings, served, lanes
        self.indexes = Indexes(settings)
        self.model: Answering | UserError | None = None
        self.doubtful = False
        """A store failed: what is opened anew may do better."""
        self._free: list[Lane] = []
        self._alive = 0
        self._inside = 0
        self._change = threading.Condition()
        self._first = self._open_lane()
        try:
            self._give(self._first)
            self.mend()
            self.model = self._open_model(space)
        except BaseException:
            self.close()
            raise

    @property
    def behind(self) -> bool:
        """Whether an index of this host lacks documents, because another process writes it."""
        return bool(self._first.engine and self._first.engine.behind)

    @property
    def alive(self) -> int:
        """How many lanes work."""
        return self._alive

    @property
    def inside(self) -> int:
        """How many requests, and lanes in use, it has."""
        return self._inside

    def join(self) -> None:
        """A request begins that is answered from this release."""
        with self._change:
            self._inside += 1

    def leave(self) -> None:
        """It has ended."""
        with self._change:
            self._inside -= 1

    def close(self) -> None:
        """Close all lanes; nobody may be inside."""
        with self._change:
            lanes, self._free, self._alive = self._free, [], 0
        for lane in lanes:
            if lane is not self._first:
                _close(lane)
        _close(self._first)

    @contextmanager
    def lane(self, seconds: float) -> Iterator[Lane]:
        """A lane for the block, waited for at most so long; one that a store broke is given up.

        Raises:
            NoLaneError: none was free in time.
            OutageError: none works.
        """
        # Who asked may have gone while a thread still works for him.
        self.join()
        try:
            lane = self._take(seconds)
            try:
                yield lane
            except StoreError:
                self.doubtful = True
                raise
            finally:
                if lane.connection.broken:
                    self._drop(lane)
                else:
                    self._give(lane, back=True)
        finally:
            self.leave()

    def mend(self) -> None:
        """Open lanes in the place of those that were given up.

        Raises:
            StoreError: a store does not answer.
        """
        while self._alive < self.lanes:
            self._give(self._open_lane(self._first))

    def _take(self, seconds: float) -> Lane:
        with self._change:
            self._change.wait_for(lambda: self._free or not self._alive, seconds)
            if self._free:
                return self._free.pop()
            if self._alive:
                raise NoLaneError("no connection was free in time", where="service", do="Try again")
            raise OutageError("PostgreSQL does not answer", where="service", do="Try again")

    def _give(self, lane: Lane, *, back: bool = False) -> None:
        with self._change:
            self._free.append(lane)
            self._alive += not back
            self._change.notify()

    def _drop(self, lane: Lane) -> None:
        with self._change:
            self._alive -= 1
            self._change.notify_all()
        if lane is not self._first:  # whose indexes the others use
            _close(lane)

    def _open_lane(self, first: Lane | None = None) -> Lane:
        with ExitStack() as stack:
            connection = stack.enter_context(postgres.connect_reader(self.settings))
            _guard(connection, self.settings.service_timeout)
            engine = None
            if generation := self.served.generation:
                if first and first.engine:
                    opened = open_beside(first.engine, connection, self.indexes)
                else:
                    opened = open_engine(connection, self.indexes, generation)
                engine = stack.enter_context(opened)
            return Lane(connection, engine, stack.pop_all())

    def _open_model(self, space: VectorSpace) -> Answering | UserError | None:
        """The model, or why it does not answer: searches do without."""
        parts = self.served.release.parts if self.served.release else None
        if parts is None or parts.model_version is None:
            return None
        settings, url = self.settings, secret(self.settings.reading_url)
        with self.lane(settings.service_timeout) as lane:
            version = read_version(lane.connection, parts.model_version)
            if version is None:
                return None
            try:
                tracking = secret(settings.mlflow_tracking_uri)
                where = mlflow.tracking(tracking, url, settings.home)
                generation = self.served.generation
                return open_version(lane.connection, where, version, generation, space.space_id)
            except UserError as error:
                return error


def look_up(connection: postgres.Connection) -> Served:
    """What is served now."""
    release = present_release(connection)
    identity = release.parts.generation_id if release else None
    if identity is None:
        return Served(release)
    generation = find_generation(connection, identity)
    return Served(release, generation, index_marks(connection, generation))


def _close(lane: Lane) -> None:
    with suppress(psycopg.Error, UserError):  # its server may be gone
        lane.stack.close()


def _guard(connection: postgres.Connection, seconds: float) -> None:
    """Have PostgreSQL end what takes longer, and refuse what writes."""
    milliseconds = str(int(seconds * 1000))
    connection.execute("select set_config('statement_timeout', %s, false)", [milliseconds])
    connection.execute("set default_transaction_read_only = on")
