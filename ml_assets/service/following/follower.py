"""The thread of a process that follows what is published, who has a key, and which store answers.

A new release is opened beside the old one, which answers until then; the old one is closed when the
last request that began with it has ended. PostgreSQL's NOTIFY says when to look, and so does a
channel of Redis, where there is one; a poll is the net under both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import OutageError, UserError, first_line
from ml_assets.search.indexes.kinds import touch_index
from ml_assets.service.admission.counters import obstacle
from ml_assets.service.admission.keys import Key, read_keys
from ml_assets.service.following import deployments
from ml_assets.service.following.bell import Bell
from ml_assets.service.following.deployments import Process
from ml_assets.service.following.opened import NoLaneError, OpenedRelease, Served, look_up
from ml_assets.settings import Settings, secret
from ml_assets.stores import online, postgres

CHANNEL = "ml_assets_service"

POLL_SECONDS = 0.4
"""A release is taken over within a second also where no NOTIFY comes through."""

_PROBE_SECONDS = 2.0
_BEAT_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class State:
    """What the requests of a process are answered with; the thread alone writes it.

    `keys` None: they could not be read yet, and nobody is let in. `troubles`: why a store does not
    answer, by its name. `warning`: what does not keep it from answering. `follows`: the thread is
    there; a defect has ended it otherwise.
    """

    current: OpenedRelease | None = None
    keys: Mapping[str, Key] | None = None
    troubles: dict[str, str] = field(default_factory=dict)
    warning: str = ""
    takeovers: int = 0
    follows: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def release_id(self) -> int | None:
        """What is served, if anything is."""
        current = self.current
        return current.served.release_id if current else None

    @contextmanager
    def release(self) -> Iterator[OpenedRelease]:
        """The present release for one request, to its end.

        Raises:
            OutageError: PostgreSQL has not answered since this process began.
        """
        with self._lock:
            opened = self.current
            if opened is None:
                raise OutageError("nothing is opened yet", where="service", do="Try again")
            opened.join()
        try:
            yield opened
        finally:
            opened.leave()

    def replace(self, opened: OpenedRelease | None) -> OpenedRelease | None:
        """Let requests begin with another release from now on; return the one before."""
        with self._lock:
            before, self.current = self.current, opened
            self.takeovers += 1
        return before


class Follower:
    """Keeps a `State` up to date, in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        space: VectorSpace,
        process: Process,
        lanes: int,
        took: Callable[[float], None],
    ) -> None:
        """Nothing is opened yet; `took` is told the seconds of each takeover."""
        self.state = State()
        self._settings, self._space, self._process, self._lanes = settings, space, process, lanes
        self._ended = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._bell = Bell()
        self._due: dict[str, float] = {}
        self._retired: list[OpenedRelease] = []
        self._unlisted = ""
        self._since = datetime.now(UTC)
        self._took = took
        self._noted: int | None = None

    def start(self, seconds: float) -> None:
        """Begin; wait at most so long for the first look."""
        if url := secret(self._settings.redis_url):
            self._bell.listen(url)
        self._thread.start()
        self._looked.wait(seconds)

    def stop(self) -> None:
        """End the thread, and close what is open; nobody asks any more."""
        self._ended.set()
        self._bell.ring()
        self._thread.join()
        self._bell.close()
        last = self.state.replace(None)
        for opened in [*self._retired, *filter(None, [last])]:
            opened.close()
        with suppress(UserError, psycopg.Error), self._writing() as connection:
            deployments.forget(connection, self._process)

    def _follow(self) -> None:
        try:
            while not self._ended.is_set():
                with self._told("postgres"), postgres.connect_reader(self._settings) as connection:
                    listens = _listen(connection)
                    while not self._ended.is_set():
                        self._look(connection)
                        self._looked.set()
                        self._bell.wait(POLL_SECONDS, connection if listens else None)
                self._looked.set()
                self._close_left()
                self._ended.wait(POLL_SECONDS)
        finally:
            self.state.follows = self._ended.is_set()
            self._looked.set()

    def _look(self, connection: postgres.Connection) -> None:
        self.state.keys = {key.key_id: key for key in read_keys(connection)}
        served, opened = look_up(connection), self.state.current
        self.state.troubles.pop("postgres", None)
        if opened is None or opened.served != served:
            self._take_over(served)
        elif opened.behind or opened.doubtful:
            self._every(_PROBE_SECONDS, "again", lambda: self._take_over(served))
        else:
            with self._told("search"):
                opened.mend()
        self._note_release(connection)
        self._close_left()
        self._every(_PROBE_SECONDS, "probe", self._probe)
        self._every(_BEAT_SECONDS, "beat", self._record)
        self._every(_BEAT_SECONDS, "count", self._count)

    def _take_over(self, served: Served) -> None:
        with self._told("search"):
            opened = OpenedRelease(self._settings, served, self._space, self._lanes)
            before = self.state.replace(opened)
            if before:
                self._retired.append(before)
            if isinstance(opened.model, UserError):
                self._trouble("model", opened.model)
            else:
                self.state.troubles.pop("model", None)

    def _note_release(self, connection: postgres.Connection) -> None:
        """Note since when this process answers from another release, by PostgreSQL's clock."""
        opened = self.state.current
        release = opened.served.release if opened else None
        if release is None or release.release_id == self._noted:
            return
        ((since,),) = connection.execute("select clock_timestamp()").fetchall()
        self._since, self._noted = since, release.release_id
        seconds = (since - release.served_from).total_seconds()
        if self.state.takeovers > 1:  # the first was there before this process
            self._took(seconds)
        told = {"release": release.release_id, "seconds": round(seconds, 3)}
        log.info("release taken over", extra=told)
        self._due.pop("beat", None)

    def _close_left(self) -> None:
        """Close the releases that nobody is answered from any more."""
        left = [opened for opened in self._retired if not opened.inside]
        self._retired = [opened for opened in self._retired if opened not in left]
        for opened in left:
            opened.close()

    def _probe(self) -> None:
        """Ask each store that no request may have asked lately."""
        opened = self.state.current
        # Where no lane is free, requests ask enough.
        with self._told("index"), suppress(NoLaneError):
            if opened and opened.alive:
                with opened.lane(0) as lane:
                    if lane.engine:
                        touch_index(lane.engine.vector)
                        touch_index(lane.engine.keyword)
        url = secret(self._settings.online_url)
        with self._told("online"), online.connect(url, self._settings.home) as store:
            store.views()

    def _count(self) -> None:
        """Look whether requests can be counted, and sessions begun, before somebody asks."""
        reason = obstacle(secret(self._settings.redis_url), self._settings.home)
        warning = f"each process counts by itself, and nobody can log in ({reason})"
        self.state.warning = warning if reason else ""

    def _record(self) -> None:
        opened = self.state.current
        release_id = opened.served.release_id if opened else None
        try:
            with self._writing() as connection:
                deployments.record(connection, self._process, release_id, self._since)
            self._unlisted = ""
        except (UserError, psycopg.Error) as error:  # a reader's role, or a primary that is away
            if self._unlisted != (reason := first_line(error)):
                log.warning("this process is not listed", extra={"reason": reason})
            self._unlisted = reason

    def _writing(self) -> AbstractContextManager[postgres.Connection]:
        return postgres.connect(secret(self._settings.postgres_url), self._settings.home)

    def _every(self, seconds: float, name: str, act: Callable[[], None]) -> None:
        now = time.monotonic()
        if now >= self._due.get(name, 0):
            self._due[name] = now + seconds
            act()

    @contextmanager
    def _told(self, store: str) -> Iterator[None]:
        """Keep why a store fails within the block, or that it does not."""
        try:
            yield
        except (UserError, psycopg.Error) as error:
            self._trouble(store, error)
        else:
            if self.state.troubles.pop(store, None):
                log.info("it answers again", extra={"store": store})

    def _trouble(self, store: str, error: Exception) -> None:
        reason = error.reason if isinstance(error, UserError) else first_line(error)
        if self.state.troubles.get(store) != reason:
            log.warning("a store does not answer", extra={"store": store, "reason": reason})
        self.state.troubles[store] = reason


def _listen(connection: postgres.Connection) -> bool:
    """Whether PostgreSQL will say when something changed; a replica does not."""
    try:
        connection.execute(f"listen {CHANNEL}")
    except psycopg.Error:
        return False
    return True
