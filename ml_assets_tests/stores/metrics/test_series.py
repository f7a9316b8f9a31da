"""Names of series, and spans of time."""

from datetime import UTC, datetime, timedelta

import pytest

from ml_assets.stores.metrics import Window, points, series

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_series_is_its_name_and_labels_in_any_order() -> None:
    one = series("latency_ms", model="a", endpoint="/v1/predict")
    assert one == series("latency_ms", endpoint="/v1/predict", model="a")
    assert one.id == series("latency_ms", endpoint="/v1/predict", model="a").id
    others = [
        series("latency_ms", model="a"),
        series("latency", model="a", endpoint="/v1/predict"),
        series("latency_ms", model="/v1/predict", endpoint="a"),
    ]
    assert len({one.id, *(other.id for other in others)}) == 4
    assert all(0 <= each.id < 2**63 for each in (one, *others))


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("", {}, "'' is not a name"),
        ("a-b", {}, "'a-b' is not a name"),
        ("1a", {}, "is not a name"),
        ("a\n", {}, "is not a name"),
        ("ä", {}, "is not a name"),
        ("a" * 101, {}, "is not a name"),
        ("a", {"b c": "d"}, "'b c' is not a name"),
        ("a", {"b": ""}, "the label b has no value of 1 to 500"),
        ("a", {"b": "c" * 501}, "the label b has no value"),
        ("a", {"b": "\0"}, "the label b has no value"),
        ("a", {"b": "\ud800"}, "the label b has no value"),
    ],
)
def test_what_is_no_name_or_label_is_refused(
    name: str, labels: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        series(name, **labels)


def test_the_longest_names_and_labels_are_taken() -> None:
    assert series("a" * 100, b="c" * 500).labels == (("b", "c" * 500),)


def test_a_window_is_a_span_of_time_with_zones() -> None:
    for begin, end in ((AT, AT), (AT + timedelta(1), AT), (AT.replace(tzinfo=None), AT)):
        with pytest.raises((ValueError, TypeError)):
            Window(begin, end)
    assert Window(AT, AT + timedelta(seconds=1)).micros == (
        1767225600000000,
        1767225601000000,
    )


def test_times_of_points_have_zones() -> None:
    with pytest.raises(ValueError, match="a time has no zone"):
        points(series("a"), [(AT.replace(tzinfo=None), 1.0)])
