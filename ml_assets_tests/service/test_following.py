"""A release is taken over without a gap, and a request keeps the one that it began with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from ml_assets.errors import OutageError
from ml_assets.releases.pointer import CHANNEL, deciding_alone, list_releases, present_release
from ml_assets.service.following import bell, follower
from ml_assets.service.following.bell import Bell
from ml_assets.service.following.opened import NoLaneError, OpenedRelease, look_up
from ml_assets.service.routes import search as searching
from ml_assets.stores import postgres, redis
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.servers import redis_over_tcp
from ml_assets_tests.service.deployed import Deployed, OpenService, get, post, soon


def test_publishes_and_rollbacks_are_followed_without_an_error_or_a_mix(
    deployed: Deployed, open_service: OpenService
) -> None:
    connection = deployed.deployment.connection
    other = deployed.generation(hnsw_m=8)
    seen: set[tuple[int, str]] = set()
    wrong: list[str] = []
    ended = Event()
    with open_service() as client:

        def ask() -> None:
            while not ended.is_set():
                answer = client.post("/v1/search", json={"query": "w3 w6", "k": 3})
                if answer.status_code != 200:
                    wrong.append(answer.text)
                    return
                found = answer.json()
                seen.add((found["release"], found["generation_id"]))

        threads = [Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for turn in range(10):
            if turn % 2:
                deployed.back()
            else:
                deployed.publish(other)
            present = present_release(connection)
            assert present
            number = present.release_id
            assert soon(lambda number=number: get(client, "/v1/release")["release"] == number) < 5
        ended.set()
        for thread in threads:
            thread.join()
        process = client.app.state.service.process  # type: ignore[attr-defined]
        assert client.app.state.service.state.takeovers >= 11  # type: ignore[attr-defined]
        soon(lambda: get(client, "/v1/release")["deployments"][0]["release_id"] == number)
        assert "ml_assets_takeover_seconds_count 10.0" in client.get("/metrics").text
    assert wrong == []
    generations = {each.release_id: each.parts.generation_id for each in list_releases(connection)}
    assert len(seen) >= 4
    assert all(generations[release] == generation for release, generation in seen)
    here = "select count(*) from deployments where process_id = %s"
    assert connection.execute(here, [process.process_id]).fetchone() == (0,)


def test_a_notice_has_the_next_release_answer_before_the_old_one_is_closed(
    deployed: Deployed, open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the service tells how long that took, by the clock that the release was published by."""
    told: list[str] = []
    states: list[follower.State] = []
    heard = bell._heard

    def notified(connection: postgres.Connection) -> bool:
        rung = heard(connection)
        if rung:
            told.append("notified")
        return rung

    class Watched(OpenedRelease):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            told.append(f"opened {self.served.release_id}")

        def close(self) -> None:
            now = states[0].current if states else None
            told.append(f"closed {self.served.release_id} beside {now and now.served.release_id}")
            super().close()

    monkeypatch.setattr(follower, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(follower, "OpenedRelease", Watched)
    monkeypatch.setattr(bell, "_heard", notified)
    with open_service() as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        states.append(service.state)
        before = get(client, "/v1/release")["release"]
        assert "ml_assets_takeover_seconds_count 0.0" in client.get("/metrics").text
        deployed.publish(deployed.generation(hnsw_m=8))
        soon(lambda: told[-1].startswith("closed"))
        answer = get(client, "/v1/release")
        after = answer["release"]
        assert told == [
            f"opened {before}",
            "notified",
            f"opened {after}",
            f"closed {before} beside {after}",
        ]
        soon(lambda: get(client, "/v1/release")["deployments"][0]["release_id"] == after)
        (deployment,) = get(client, "/v1/release")["deployments"]
        published, since = answer["served_from"], deployment["since"]
        seconds = (
            datetime.fromisoformat(since) - datetime.fromisoformat(published)
        ).total_seconds()
        assert seconds > 0
        metrics = client.get("/metrics").text
        assert "ml_assets_takeover_seconds_count 1.0" in metrics
        assert f"ml_assets_takeover_seconds_sum {seconds}" in metrics
    deployed.back()


def test_redis_says_when_to_look_where_postgres_cannot(
    deployed: Deployed, open_service: OpenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, other = deployed.deployment.connection, deployed.generation(hnsw_m=8)
    monkeypatch.setattr(follower, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(follower, "_listen", lambda _: False)  # as on a replica
    with redis_over_tcp(tmp_path) as url, open_service(redis_url=SecretStr(url)) as client:
        before = get(client, "/v1/release")["release"]
        with deciding_alone(connection, url):
            deployed.publish(other)

        def followed() -> bool:
            redis.announce(url, CHANNEL)  # again, should the service not have listened yet
            return bool(get(client, "/v1/release")["release"] != before)

        soon(followed)
        deployed.back()


def test_a_notice_and_the_bell_each_end_the_wait(connection: postgres.Connection) -> None:
    bell = Bell()
    bell.wait(0, connection)
    for _ in range(100_000):  # more than anybody reads
        bell.ring()
    connection.execute("listen tests")
    started = monotonic()
    bell.wait(60, None)
    connection.execute("notify tests")
    bell.wait(60, connection)
    connection.execute("notify tests")
    assert connection.execute("select 1").fetchone()  # it has come with this
    bell.wait(60, connection)
    bell.ring()
    bell.wait(60, connection)
    assert monotonic() - started < 50, "none of them ended it"
    started = monotonic()
    bell.wait(0.05, connection)
    assert monotonic() - started >= 0.04, "all was heard before"
    bell.close()


def test_a_request_keeps_the_release_that_it_began_with(
    deployed: Deployed, open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, go = Event(), Event()
    real = searching.search_vector

    def waiting(*given: Any, **more: Any) -> Any:
        here.set()
        assert go.wait(10)
        return real(*given, **more)

    with open_service(service_timeout=30.0) as client:
        before = get(client, "/v1/release")["release"]
        old = client.app.state.service.state.current  # type: ignore[attr-defined]
        answers: list[Any] = []
        with monkeypatch.context() as patch:
            patch.setattr(searching, "search_vector", waiting)
            thread = Thread(
                target=lambda: answers.append(post(client, "/v1/search", {"query": "w3"}))
            )
            thread.start()
            assert here.wait(10)
            deployed.publish(deployed.generation(hnsw_m=8))
            soon(lambda: get(client, "/v1/release")["release"] != before)
            assert old.alive, "a request is still on it"
            go.set()
            thread.join()
        assert answers[0]["release"] == before
        soon(lambda: not old.alive)
        deployed.back()


def test_lanes_that_broke_are_opened_anew(deployed: Deployed, open_service: OpenService) -> None:
    connection = deployed.deployment.connection
    end = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    with open_service() as client:
        assert connection.execute(end).fetchone() != (0,)
        codes = set()

        def healed() -> bool:
            answer = client.post("/v1/search", json={"query": "w3"})
            codes.add(answer.status_code)
            return answer.status_code == 200 and client.get("/ready").status_code == 200

        soon(healed)
        assert codes <= {200, 503}
        opened = client.app.state.service.state.current  # type: ignore[attr-defined]
        soon(lambda: opened.alive == opened.lanes)


def test_a_lane_refuses_to_write(deployed: Deployed) -> None:
    served = look_up(deployed.deployment.connection)
    opened = OpenedRelease(deployed.settings, served, SPACE, 2)
    with (
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        opened.lane(1) as lane,
    ):
        lane.connection.execute("delete from api_keys")
    with opened.lane(1) as first, opened.lane(1) as second:
        assert first.connection is not second.connection
        assert first.engine
        assert second.engine
        assert first.engine.keyword is second.engine.keyword
        assert first.engine.vector is not second.engine.vector
    free = pytest.raises(NoLaneError, match="no connection was free")
    with free, opened.lane(1), opened.lane(1), opened.lane(0):
        pass
    assert opened.inside == 0
    opened.close()
    assert opened.alive == 0
    with pytest.raises(OutageError, match="PostgreSQL does not answer"), opened.lane(1):
        pass


def test_a_defect_that_ends_the_thread_ends_the_process_health(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with open_service() as client:
        assert client.get("/health").status_code == 200

        def fail(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(follower, "read_keys", fail)
        soon(lambda: client.get("/health").status_code == 503)
        post(client, "/v1/search", {"query": "w3"})


def test_nothing_published_is_not_ready(
    postgres_url: str, connection: postgres.Connection, open_service: OpenService
) -> None:
    with open_service(postgres_url=SecretStr(postgres_url)) as client:
        ready = client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["stores"]["search"]["reason"] == "no search was published yet"
        assert client.post("/v1/search", json={"query": "w3"}).status_code == 503
        assert client.post("/v1/predict", json={"texts": ["w3"]}).status_code == 503
        assert client.get("/health").status_code == 200
        assert get(client, "/v1/release")["release"] is None
