"""Random documents and conditions, of values that are easy to confuse."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from ml_assets.search.filters.language import (
    METADATA,
    And,
    Compare,
    Condition,
    In,
    Not,
    Or,
    Scalar,
    Value,
)
from ml_assets_tests.search.corpus import Doc

NAMES = ["food", "Fǘd", "a b", "%s", "true", "1"]
KEYS = ["n", "n.m", 'q"[x]\\', "é", "in", "not"]
TEXTS = ["", "1", "true", "é", "e\u0301", "🎈", 'q"[x]\\', "x TO y]", "v" * 2_000]
NUMBERS: list[int | float] = [0, -0.0, 1, 1.0, 1.5, -2, 0.1, -1e-9, 5e-324, 1e22, 1e300]
NUMBERS += [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, 2**64 + 1, -(10**20)]
NUMBERS += [float(2**53 + 2), 9.223372036854774e18]
SCALARS: list[Scalar] = [*TEXTS, *NUMBERS, True, False]
TIMES = [
    datetime(2020, 1, 1, tzinfo=UTC) + offset
    for offset in (timedelta(), timedelta(microseconds=1), timedelta(microseconds=-1))
]
TIMES += [datetime(1, 1, 2, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]
TIMES += [datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)]


def equal(field: str, value: Value) -> Condition:
    """The field equals the value."""
    return In(field, (value,))


def random_documents(count: int, seed: int) -> dict[str, Doc]:
    """Documents with the same text, and fields of which many are missing."""
    chance = random.Random(seed)

    def document() -> Doc:
        keys = chance.sample(KEYS, chance.randint(0, 4))
        return Doc(
            ("word",),
            collection=chance.choice(NAMES),
            label=chance.choice([None, *NAMES]),
            created_at=chance.choice([None, *TIMES]),
            metadata={key: chance.choice(SCALARS) for key in keys},
        )

    return {f"d{number}": document() for number in range(count)}


_names = st.lists(st.sampled_from([*NAMES, "none such"]), min_size=1, max_size=3).map(tuple)
_keys = st.sampled_from(KEYS).map(lambda key: METADATA + key)
_numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
_moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
_times = st.one_of(st.sampled_from(TIMES), _moments)
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
_scalars = st.one_of(st.sampled_from(SCALARS), _numbers, _texts)
_signs = st.sampled_from(["<", "<=", ">", ">="])

COMPARISONS: st.SearchStrategy[Condition] = st.one_of(
    st.builds(In, st.sampled_from(["collection", "label"]), _names),
    st.builds(In, st.just("created_at"), st.lists(_times, min_size=1, max_size=3).map(tuple)),
    st.builds(Compare, st.just("created_at"), _signs, _times),
    st.builds(In, _keys, st.lists(_scalars, min_size=1, max_size=4).map(tuple)),
    st.builds(Compare, _keys, _signs, _numbers),
)


def conditions(*, fewest: int) -> st.SearchStrategy[Condition]:
    """Conditions, nested; `and` and `or` have at least `fewest` parts."""

    def nested(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        parts = st.lists(inner, min_size=fewest, max_size=3).map(tuple)
        return st.one_of(st.builds(Not, inner), st.builds(And, parts), st.builds(Or, parts))

    return st.recursive(COMPARISONS, nested, max_leaves=6)
