import time

import pytest

from ml_assets.stores.patience import patiently


class Door:
    """Is opened at the `opens`th knock; until then it raises `reason`."""

    def __init__(self, opens: int, reason: str = "held") -> None:
        self.opens, self.reason = opens, reason
        self.knocks: list[float] = []

    def __call__(self) -> str:
        self.knocks.append(time.monotonic())
        if len(self.knocks) < self.opens:
            raise OSError(self.reason)
        return "open"

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.knocks, self.knocks[1:], strict=False)]


def is_held(error: BaseException) -> bool:
    return "held" in str(error)


def test_pauses_double_up_to_the_longest() -> None:
    door = Door(opens=5)
    assert patiently(door, is_held, seconds=5, pause=0.02, longest_pause=0.05) == "open"
    for pause, wanted in zip(door.pauses, [0.02, 0.04, 0.05, 0.05], strict=True):
        assert wanted <= pause < wanted + 0.5


def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    door = Door(opens=3, reason="broken")
    with pytest.raises(OSError, match="broken"):
        patiently(door, is_held, seconds=5, pause=0.02)
    assert len(door.knocks) == 1


def test_the_last_error_is_raised_when_patience_ends_and_never_later() -> None:
    door = Door(opens=1000)
    started = time.monotonic()
    with pytest.raises(OSError, match="held"):
        patiently(door, is_held, seconds=0.3, pause=0.02, longest_pause=0.1)
    assert time.monotonic() - started < 0.3 + 0.5
    assert len(door.knocks) > 2


def test_no_patience_means_one_attempt() -> None:
    door = Door(opens=2)
    with pytest.raises(OSError, match="held"):
        patiently(door, is_held, seconds=0, pause=0.02)
    assert len(door.knocks) == 1
