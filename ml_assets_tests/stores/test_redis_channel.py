"""What is announced on a channel of Redis is heard, and a server that is away keeps nobody."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from ml_assets.errors import OutageError
from ml_assets.stores.redis import announce, listen


@pytest.mark.parametrize("server", ["redis", "cluster"])
def test_what_is_announced_is_heard_on_its_channel_alone(
    server: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{server}_url")
    heard, other, ended = Event(), Event(), Event()
    threads = [
        Thread(target=listen, args=[url, channel, event.set, ended.is_set])
        for channel, event in (("tests:one", heard), ("tests:other", other))
    ]
    for thread in threads:
        thread.start()
    for _ in range(200):  # who is not there yet hears nothing
        announce(url, "tests:one")
        if heard.wait(0.05):
            break
    ended.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert heard.is_set()
    assert not other.is_set()


def test_a_server_that_is_away_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    away = "redis://user:secret@127.0.0.1:1/0"
    announce(away, "tests:one")
    assert "nothing was announced: REDIS_URL: 127.0.0.1:1 cannot be used" in caplog.text
    assert "secret" not in caplog.text
    with pytest.raises(OutageError):
        listen(away, "tests:one", lambda: None, lambda: False)
