from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.errors import UserError
from ml_assets.search.filters.language import NO_FILTER, And, Compare, Condition, In, Not, Or
from ml_assets.search.filters.parse import format_condition, parse_condition
from ml_assets_tests.search.filters.conditions import conditions, equal

NET, CLASS = equal("label", "net"), equal("metadata.kind", "class")
YEAR = datetime(2026, 1, 1, tzinfo=UTC)

WRITTEN: list[tuple[str, Condition]] = [
    ('label = "net"', NET),
    ('label="net"', NET),
    ('label != "net"', Not(NET)),
    ('label = "net" AND metadata.kind = "class"', And((NET, CLASS))),
    ('label = "net" or label = "net" and metadata.kind = "class"', Or((NET, And((NET, CLASS))))),
    ('(label = "net" or metadata.kind = "class") and label = "net"', And((Or((NET, CLASS)), NET))),
    ('not label = "net" and metadata.kind = "class"', And((Not(NET), CLASS))),
    ('not (label = "net")', Not(NET)),
    ('collection in ("a", "b")', In("collection", ("a", "b"))),
    ('collection not in ("a","b")', Not(In("collection", ("a", "b")))),
    ("created_at >= 2026-01-01", Compare("created_at", ">=", YEAR)),
    ("created_at < 2026-01-01T01:00+01:00", Compare("created_at", "<", YEAR)),
    ('created_at = "2026-01-01"', equal("created_at", YEAR)),
    ("metadata.n > -1.5e3", Compare("metadata.n", ">", -1500.0)),
    ("metadata.n <= 5", Compare("metadata.n", "<=", 5)),
    ("metadata.not = true", equal("metadata.not", True)),
    ('metadata."a b" in (1, "x", false)', In("metadata.a b", (1, "x", False))),
    ('metadata.date = "2026-01-01"', equal("metadata.date", "2026-01-01")),
    (r'metadata.q = "\"\u00e9\\"', equal("metadata.q", '"é\\')),
]


@pytest.mark.parametrize(("text", "condition"), WRITTEN)
def test_a_condition_is_read(text: str, condition: Condition) -> None:
    assert repr(parse_condition(text)) == repr(condition)  # True == 1, but is not written so


WRONG = [
    ("", r"a field, `not` or a parenthesis should stand here, not the end \(character 1: ▸\)"),
    ("label", r"one of = != < <= > >= in should stand here, not the end \(character 6: label▸\)"),
    ("label = ", "a text in double quotes, .* should stand here, not the end"),
    ("label = net", r"should stand here, not 'net' \(character 9: label = ▸net\)"),
    ("label = 'net'", 'should stand here, not "\'"'),
    ('label = "net', "the closing quote is missing .*character 9: label = ▸"),
    ('label = "net" metadata.n = 1', r"`and`, `or` or the end .* not 'metadata' \(character 15"),
    ('(label = "net"', r"`\)` should stand here, not the end"),
    ('label = "net")', r"the end should stand here, not '\)'"),
    ('label in "net"', r"`\(` should stand here"),
    ('label in ("net",)', r"not '\)' \(character 17"),
    ("label in ()", r"not '\)'"),
    ('label not "net"', "`in` should stand here"),
    ("colection = 1", r"no field 'colection' \(character 1: ▸colection = 1\)\. Known: "),
    ('label = "a" and label = 5', r"label cannot be 5 .* \(character 17"),
    ('label < "a"', "label has no order"),
    ("metadata.n < true", "compared with a number, not with True"),
    (
        "metadata.date >= 2026-01-01",
        r"'2026-01-01' .*\. Ranges are on numbers of the metadata and on cr",
    ),
    ("metadata.n = 1e9999", "cannot be inf"),
    ("metadata = 1", "no field 'metadata'"),
    ("metadata. = 1", "a metadata key should stand here, not '='"),
    ('metadata."" = 1', "no field 'metadata.'"),
    ("created_at > 2026-13-01", r"'2026-13-01' is not a date \(character 14.*Write 2026-01-31"),
    ("created_at > 2026", "compared with a date, not with 2026"),
    (r'label = "\x"', r"Invalid \\escape.* in a text \(character 9"),
    (r'label = "\u0000"', "no store can hold"),
    ("metadata.n == 1", r"should stand here, not '=' \(character 13"),
    ("not " * 200 + "metadata.n = 1", "nested more than 100 deep"),
    ("(" * 200 + "metadata.n = 1", "nested more than 100 deep"),
    ("metadata.n = " + "1" * 5000, "should stand here"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_condition_is_one_line_that_points_at_the_place(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        parse_condition(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--filter: ")


@given(conditions(fewest=2))
def test_what_is_formatted_is_read_back(condition: Condition) -> None:
    assert repr(parse_condition(format_condition(condition))) == repr(condition)


def test_no_filter_is_written_as_nothing() -> None:
    assert format_condition(NO_FILTER) == ""


def test_what_asks_for_nothing_is_left_out_or_has_no_text() -> None:
    asked = In("label", ("a",))
    for condition in (And((NO_FILTER, asked)), And((asked, And(())))):
        assert parse_condition(format_condition(condition)) == asked
    either = Or((asked, asked))
    assert parse_condition(format_condition(And((NO_FILTER, either)))) == either
    for condition in (Or(()), Not(NO_FILTER), Or((asked, NO_FILTER)), And((asked, Or(())))):
        with pytest.raises(ValueError, match="of nothing has no text"):
            format_condition(condition)


_pieces = st.sampled_from(
    [
        "label",
        "metadata.n",
        '"a"',
        "(",
        ")",
        "and",
        "or",
        "not",
        "in",
        "=",
        "<",
        "1",
        ",",
        "2026-01-01",
    ]
)


@given(st.one_of(st.text(), st.lists(_pieces).map(" ".join)))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    with suppress(UserError):
        condition = parse_condition(text)
        assert parse_condition(format_condition(condition)) == condition
