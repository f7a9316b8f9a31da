"""Short questions to a server over HTTP."""

import base64
from collections.abc import Iterator

import pytest

from ml_assets.errors import OutageError
from ml_assets.stores.web import ask
from ml_assets_tests.servers import free_port
from ml_assets_tests.servers.pages import answering


@pytest.fixture
def place() -> Iterator[str]:
    """Host and port of a server that answers a path with what it was asked, by its status."""
    with answering(
        lambda path, headers: (
            int(path.rpartition("/")[2]),
            f"{path} {headers['Authorization']}".encode(),
        )
    ) as opened:
        yield opened


def test_a_server_below_a_path_is_asked_as_the_user_of_its_url(place: str) -> None:
    assert ask(f"http://{place}/below/", "x/200") == b"/below/x/200 None"
    credentials = base64.b64encode(b"me:p@ss").decode()
    expected = f"/x/200 Basic {credentials}".encode()
    assert ask(f"http://me:p%40ss@{place}", "x/200") == expected


def test_another_server_is_not_told_who_asks(place: str) -> None:
    with answering(lambda *_: (302, f"http://{place}/x/200".encode())) as first:
        assert ask(f"http://me:hidden@{first}", "x") == b"/x/200 None"


def test_that_there_is_no_such_thing_is_an_answer(place: str) -> None:
    assert ask(f"http://{place}", "x/404") == b"/x/404 None"


def test_what_does_not_answer_is_told_without_its_password(place: str) -> None:
    for url in (f"http://me:hidden@{place}", f"http://me:hidden@127.0.0.1:{free_port()}", "x"):
        with pytest.raises(OutageError) as raised:
            ask(url, "x/401")
        assert "hidden" not in str(raised.value)
