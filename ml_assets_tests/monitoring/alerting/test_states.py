"""How an alert stands: pure functions, against a plain simulation and by table."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.monitoring.alerting.model import Alert, Point, Rule
from ml_assets.monitoring.alerting.states import advance, resolved
from ml_assets_tests.monitoring.alerting.examples import MINUTE, NOW, RULE, at, rule, span

HIGH, LOW = 900.0, 100.0
GAP = 10 * MINUTE

TICKS = st.lists(
    st.tuples(st.integers(1, 15), st.sampled_from([HIGH, HIGH, LOW, None])), max_size=40
)
"""Minutes since the tick before, and the value that is known at it."""


def look(
    before: Alert | None, points: list[Point], minute: float, asked: Rule = RULE
) -> Alert | None:
    return advance(before, asked, "a", points, NOW + minute * MINUTE, GAP)


def is_open(alert: Alert | None) -> bool:
    return alert is not None and alert.opened_at is not None


def simulate(ticks: list[tuple[int, float | None]], lasting: int) -> list[bool]:
    """Whether the alert is open after each tick, by the plainest of loops."""
    opened, start, last, kind, known = False, 0, 0, None, []
    for minute, value in ticks:
        if value is not None:
            matches = value > RULE.limit
            if kind != matches or minute - last > GAP / MINUTE:
                start = minute
            kind, last = matches, minute
            if minute - start >= lasting:
                opened = matches
        known.append(opened)
    return known


@given(TICKS, st.integers(0, 40), st.integers(0, 30))
def test_any_series_ends_as_the_simulation_whatever_is_remembered(
    steps: list[tuple[int, float | None]], lasting: int, window: int
) -> None:
    asked, minute, ticks = rule(lasting=lasting * MINUTE), 0, []
    for step, value in steps:
        minute += step
        ticks.append((minute, value))
    expected = simulate(ticks, lasting)
    remembered: Alert | None = None
    for number, (minute, _) in enumerate(ticks):
        known = [at(when, value) for when, value in ticks[: number + 1] if value is not None]
        shown = [point for point in known if point.begin >= NOW + (minute - window) * MINUTE]
        remembered = look(remembered, shown, minute, asked)
        assert is_open(remembered) == expected[number]


@pytest.mark.parametrize("first", [HIGH, LOW])
def test_what_goes_up_and_down_changes_no_alert(first: float) -> None:
    """Of runs of three minutes none lasts four."""
    asked, other = rule(lasting=4 * MINUTE), {HIGH: LOW, LOW: HIGH}[first]
    alert: Alert | None = None
    for minute in range(5):
        alert = look(alert, [at(minute, first)], minute, asked)
    assert is_open(alert) == (first == HIGH)
    for minute in range(5, 65):
        value = other if (minute - 5) // 3 % 2 == 0 else first
        alert = look(alert, [at(minute, value)], minute, asked)
        assert is_open(alert) == (first == HIGH)


def test_a_condition_that_holds_at_once_opens_and_tells_the_value() -> None:
    alert = look(None, [span(-5, HIGH)], 0)
    assert alert is not None
    assert (alert.opened_at, alert.value, alert.since) == (NOW, HIGH, NOW - 5 * MINUTE)
    assert (alert.name, alert.severity, alert.resolved_at) == ("model_is_slow/a", "warning", None)


@pytest.mark.parametrize(
    ("points", "opens"),
    [
        ([span(-15, HIGH), span(-10, HIGH), span(-5, HIGH)], True),
        ([span(-10, HIGH), span(-5, HIGH)], False),
        ([span(-15, HIGH), span(-10, LOW), span(-5, HIGH)], False),
        ([span(-15, HIGH), span(-5, HIGH)], True),  # one is missing
        ([span(-30, HIGH), span(-5, HIGH)], False),  # too many are
        ([span(-20, HIGH), span(-15, HIGH), span(-10, HIGH)], True),  # the last one is late
        ([span(-40, HIGH), span(-35, HIGH), span(-30, HIGH)], False),  # all are
        (
            [span(-28, HIGH), span(-23, HIGH), span(-18, HIGH)],
            False,
        ),  # by 13 minutes, and 10 may be
        ([span(-5, HIGH), span(-15, HIGH), span(-10, HIGH)], True),  # in any order
        ([span(-15, HIGH), span(-10, HIGH), span(-5, float("nan"))], False),
        ([span(-15, HIGH), span(-10, HIGH), span(-5, HIGH), span(5, LOW)], True),  # the future
        ([], False),
    ],
)
def test_it_opens_when_it_held_for_so_long(points: list[Point], opens: bool) -> None:
    assert is_open(look(None, points, 0, rule(lasting=15 * MINUTE))) == opens


def test_a_span_that_is_not_over_counts_until_now() -> None:
    asked = rule(lasting=12 * MINUTE)
    points = [span(-10, HIGH), span(-5, HIGH), span(0, HIGH)]
    assert not is_open(look(None, points, 1, asked))
    assert is_open(look(None, points, 2, asked))


def test_what_comes_late_counts_for_its_time() -> None:
    """The value that was missing was low: what looked like one run is none."""
    asked = rule(lasting=15 * MINUTE)
    before = look(None, [span(-15, HIGH), span(-5, HIGH)], -1, asked)
    assert not is_open(before)
    late = [span(-15, HIGH), span(-10, LOW), span(-5, HIGH)]
    assert not is_open(look(before, late, 0, asked))
    assert is_open(look(before, [span(-15, HIGH), span(-5, HIGH)], 0, asked))


def test_without_values_it_stays_as_it_is() -> None:
    opened = look(None, [span(-5, HIGH)], 0)
    for points in ([], [span(-5, LOW)]):
        assert look(opened, points, 1_000) is opened
    assert look(None, [], 0) is None
    assert look(None, [span(-5, LOW)], 0) is None


def test_it_is_resolved_when_the_condition_ceased_for_as_long() -> None:
    asked = rule(lasting=10 * MINUTE)
    opened = look(None, [span(-10, HIGH), span(-5, HIGH)], 0, asked)
    assert is_open(opened)
    short = look(opened, [span(-5, HIGH), span(0, LOW)], 5, asked)
    assert is_open(short)
    ended = look(short, [span(0, LOW), span(5, LOW)], 10, asked)
    assert ended is not None
    assert (ended.opened_at, ended.resolved_at) == (None, NOW + 10 * MINUTE)
    again = look(ended, [span(10, HIGH), span(15, HIGH)], 20, asked)
    assert again is not None
    assert (again.opened_at, again.resolved_at) == (NOW + 20 * MINUTE, None)


def test_a_clock_that_was_set_back_changes_nothing_and_ends_nothing_before_it_began() -> None:
    opened = look(None, [at(0, HIGH)], 0)
    back = look(opened, [at(-600, HIGH)], -600)
    assert back is not None
    assert back.opened_at == NOW
    ended = look(back, [at(-599, LOW)], -599)
    assert ended is not None
    assert (ended.opened_at, ended.resolved_at) == (None, NOW)


def test_what_a_person_resolved_opens_again_only_after_it_ceased() -> None:
    opened = look(None, [at(0, HIGH)], 0)
    assert opened is not None
    closed = resolved(opened, NOW + MINUTE, dismissed=True)
    assert (closed.opened_at, closed.resolved_at) == (None, NOW + MINUTE)
    still = look(closed, [at(2, HIGH)], 2)
    assert not is_open(still)
    ceased = look(still, [at(3, LOW)], 3)
    assert is_open(look(ceased, [at(4, HIGH)], 4))


def test_a_changed_severity_is_that_of_the_alert() -> None:
    opened = look(None, [at(0, HIGH)], 0)
    changed = look(opened, [at(1, HIGH)], 1, rule(severity="critical"))
    assert changed is not None
    assert (changed.severity, changed.opened_at) == ("critical", NOW)


def test_a_silence_has_an_end() -> None:
    alert = look(None, [at(0, HIGH)], 0)
    assert alert is not None
    assert not alert.is_silenced(NOW)
    quiet = replace(alert, silenced_until=NOW + timedelta(hours=2))
    assert quiet.is_silenced(NOW + timedelta(hours=1))
    assert not quiet.is_silenced(NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    ("sign", "matching"), [(">", [3]), (">=", [2, 3]), ("<", [1]), ("<=", [1, 2])]
)
def test_conditions_are_what_they_say(sign: str, matching: list[int]) -> None:
    asked = rule(operator=sign, limit=2.0)
    assert [value for value in (1, 2, 3) if asked.matches(value)] == matching
    assert asked.condition == f"{sign} 2"
