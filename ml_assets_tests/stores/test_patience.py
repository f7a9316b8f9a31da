"""Waiting for a store, by a clock that only pauses move."""

import pytest

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores import patience
from ml_assets.stores.patience import outages_awaited, patiently, until_it_answers


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


class Door:
    """Is opened at the `opens`th knock; until then it raises `reason`."""

    def __init__(self, opens: int, reason: str = "locked") -> None:
        self.opens, self.reason = opens, reason
        self.knocks = 0

    def __call__(self) -> str:
        self.knocks += 1
        if self.knocks < self.opens:
            raise OSError(self.reason)
        return "open"


def is_locked(error: Exception) -> bool:
    return "locked" in str(error)


def test_pauses_double_up_to_the_longest(clock: Clock) -> None:
    assert patiently(Door(5), is_locked, seconds=5, pause=0.25, longest_pause=0.75) == "open"
    assert clock.pauses == [0.25, 0.5, 0.75, 0.75]


def test_an_error_that_does_not_pass_is_raised_at_once(clock: Clock) -> None:
    with pytest.raises(OSError, match="broken"):
        patiently(Door(3, reason="broken"), is_locked, seconds=5, pause=0.25)
    assert clock.pauses == []


@pytest.mark.parametrize(("seconds", "pauses"), [(1.75, [0.25, 0.5, 1.0]), (1.7, [0.25, 0.5])])
def test_the_last_error_is_raised_before_a_pause_would_end_too_late(
    clock: Clock, seconds: float, pauses: list[float]
) -> None:
    with pytest.raises(OSError, match="locked"):
        patiently(Door(1000), is_locked, seconds=seconds, pause=0.25)
    assert clock.pauses == pauses


def test_no_patience_means_one_attempt(clock: Clock) -> None:
    door = Door(2)
    with pytest.raises(OSError, match="locked"):
        patiently(door, is_locked, seconds=0, pause=0.25)
    assert door.knocks == 1


class Store:
    """Answers at the `opens`th knock; is away until then, or refuses what no waiting mends."""

    def __init__(self, opens: int, error: Exception | None = None) -> None:
        self.opens, self.knocks = opens, 0
        self.error = error or OutageError("refused", where="REDIS_URL", do="Start it")

    def __call__(self) -> str:
        self.knocks += 1
        if self.knocks < self.opens:
            raise self.error
        return "open"


def test_a_store_that_is_away_is_waited_for_and_told_once(clock: Clock) -> None:
    lines: list[str] = []
    with outages_awaited(20, lines.append):
        assert until_it_answers(Store(4)) == "open"
        assert lines == ["REDIS_URL: refused. Waiting for it, at most 20 s"]
        with pytest.raises(OutageError, match="refused"):
            until_it_answers(Store(1000))
    assert sum(clock.pauses) <= 2 * 20
    assert max(clock.pauses) <= 1


def test_outages_are_not_awaited_where_nobody_asked_for_it(clock: Clock) -> None:
    with outages_awaited(20, print):
        pass
    with pytest.raises(OutageError):
        until_it_answers(Store(2))
    assert clock.pauses == []


def test_what_a_store_refuses_is_not_waited_for(clock: Clock) -> None:
    lines: list[str] = []
    refused = StoreError("wrong password", where="REDIS_URL", do="Correct it")
    with outages_awaited(20, lines.append), pytest.raises(StoreError, match="wrong password"):
        until_it_answers(Store(2, refused))
    assert clock.pauses == lines == []
