"""A server that should be there and is not fails the tests of CI; elsewhere they skip."""

import subprocess
from pathlib import Path

import pytest

from ml_assets_tests.servers import EXPECTED, program
from ml_assets_tests.servers.starting import NotStartedError, wait_until


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_ci_should_have_fails_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"no program `{name}`, which CI should have"):
        program(name)


@pytest.mark.parametrize(("name", "ci"), [("clickhouse", "true"), ("redis-server", "")])
def test_what_nobody_promised_skips(monkeypatch: pytest.MonkeyPatch, name: str, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match=f"no program `{name}` on PATH"):
        program(name)


def test_a_server_that_ends_fails_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("no such option")
    with (
        subprocess.Popen(["/bin/sh", "-c", "exit 3"]) as server,
        pytest.raises(NotStartedError, match="does not start: no such option"),
    ):
        wait_until(lambda: False, server, log)
