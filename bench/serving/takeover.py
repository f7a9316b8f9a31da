"""How soon the processes of a service answer from a release, from when it was published."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from ml_assets.releases import pointer
from ml_assets.releases.audit import Entry
from ml_assets.service.following.deployments import Deployment, read_deployments
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

_PATIENCE = 30.0
_LOOK_SECONDS = 0.05


def takeovers(home: Path, ended: Callable[[], bool]) -> list[float]:
    """Publish what is served anew, again and again; the seconds that each process took, each time.

    A release of the same parts is opened whole, as one of others is.

    Raises:
        SystemExit: a process does not take it over.
    """
    seconds: list[float] = []
    settings = load_settings(home=home)
    with postgres.connect(None, settings.home) as connection:
        while not ended():
            entry = Entry("bench", "publish", "release", "the same parts")
            with pointer.deciding_alone(connection):
                pointer.publish(connection, lambda parts: parts, entry)
            release = pointer.present_release(connection)
            assert release
            taken = _taken_over(connection, release.release_id)
            seconds += [(each.since - release.served_from).total_seconds() for each in taken]
    return seconds


def _taken_over(connection: postgres.Connection, release_id: int) -> list[Deployment]:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        deployments = read_deployments(connection)
        if deployments and all(each.release_id == release_id for each in deployments):
            return deployments
        time.sleep(_LOOK_SECONDS)
    sys.exit(f"release {release_id} was not taken over in {_PATIENCE:g} s")
