"""What costs most is left out first, until the rest fits."""

from ml_assets.training.families.base import Family
from ml_assets.training.selection.budget import over_budget, seconds


def made(name: str, cost: float, *, baseline: bool = False) -> Family:
    """A family of that many seconds for a thousand rows of two labels."""
    return Family(name, baseline=baseline, microseconds=(cost * 500, cost * 250))


BASELINE, CHEAP, MIDDLE, DEAR = (
    made("baseline", 50, baseline=True),
    made("cheap", 10),
    made("middle", 20),
    made("dear", 40),
)
AVERAGE = Family("average", members=(CHEAP, DEAR))
ALL = (BASELINE, CHEAP, DEAR, MIDDLE, AVERAGE)


def names(budget: float) -> list[str]:
    return [family.name for family, _ in over_budget(ALL, 1000, 2, budget)]


def test_seconds_grow_with_rows_and_labels() -> None:
    assert seconds(CHEAP, 1000, 2) == 10
    assert seconds(CHEAP, 2000, 2) == 20
    assert seconds(CHEAP, 1000, 4) == 15


def test_the_costliest_goes_first() -> None:
    assert names(120) == []
    assert names(119.9) == ["dear"]
    assert names(79.9) == ["dear", "middle"]
    assert over_budget(ALL, 1000, 2, 100)[0][1] == 40


def test_baselines_and_the_cheapest_model_stay() -> None:
    assert names(0.001) == ["dear", "middle"]
