"""The split: nothing straddles, nothing is empty, nothing depends on order or chance."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.training.model import SPLITS, Split
from ml_assets.training.split import (
    EDITED,
    SAME_WORDS,
    WORDS,
    hash_words,
    merge_duplicates,
    same_words,
    similar_pairs,
    split_groups,
)

ROWS = st.lists(
    st.tuples(st.integers(0, 30).map("g{}".format), st.integers(0, 40).map("t{}".format)),
    max_size=80,
)


def components(rows: list[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """The oracle: grow the set of groups reachable from each group until nothing is added."""
    reached = {}
    for start, _ in rows:
        found, texts, size = {start}, set(), -1
        while size != len(found) + len(texts):
            size = len(found) + len(texts)
            texts |= {text for group, text in rows if group in found}
            found |= {group for group, text in rows if text in texts}
        reached[start] = frozenset(found)
    return reached


@given(ROWS)
def test_groups_that_share_a_text_are_one_whatever_joins_them(rows: list[tuple[str, str]]) -> None:
    merged = merge_duplicates([group for group, _ in rows], [text for _, text in rows])
    expected = components(rows)
    assert merged == [min(expected[group]) for group, _ in rows]


@given(ROWS, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[tuple[str, str]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = dict(zip(rows, merge_duplicates(*_columns(rows)), strict=True))
    other = dict(zip(shuffled, merge_duplicates(*_columns(shuffled)), strict=True))
    assert one == other


GROUPS = st.dictionaries(
    st.integers(0, 10_000).map("g{}".format), st.integers(0, 4), min_size=1, max_size=60
)


@given(GROUPS, st.integers(0, 5))
def test_no_group_straddles_and_every_label_with_three_groups_is_everywhere(
    label_of: dict[str, int], seed: int
) -> None:
    groups = [group for group in label_of for _ in range(2)]
    labels = [f"label {label_of[group]}" for group in groups]
    splits = split_groups(labels, groups, seed)
    assert splits == split_groups(labels, groups, seed)

    seen = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        seen[group].add(split)
    assert all(len(found) == 1 for found in seen.values())

    for label in set(labels):
        owned = {group for group, other in zip(groups, labels, strict=True) if other == label}
        reached = {split for one in owned for split in seen[one]}
        assert len(reached) == 3 if len(owned) >= 3 else len(reached) >= 1


def test_a_group_keeps_its_split_when_others_come_and_go() -> None:
    groups = [f"g{number}" for number in range(1000)]
    before = dict(zip(groups, split_groups(["x"] * 1000, groups, 0), strict=True))
    kept = groups[::2] + [f"new{number}" for number in range(500)]
    after = dict(zip(kept, split_groups(["x"] * 1000, kept, 0), strict=True))
    assert all(after[group] == before[group] for group in groups[::2])


def test_the_shares_are_about_64_16_20() -> None:
    groups = [f"g{number}" for number in range(20_000)]
    splits = split_groups(["x"] * len(groups), groups, 0)
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    assert [round(share, 2) for share in shares] == [0.64, 0.16, 0.20]


def _columns(rows: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [group for group, _ in rows], [text for _, text in rows]


def test_another_seed_is_another_split() -> None:
    groups = [f"g{number}" for number in range(100)]
    assert split_groups(["x"] * 100, groups, 0) != split_groups(["x"] * 100, groups, 1)


SETS = st.lists(st.sets(st.integers(0, 12), max_size=12).map(sorted), max_size=25)


@given(SETS, SETS, st.sampled_from([EDITED, SAME_WORDS]))
def test_similar_pairs_are_those_that_a_comparison_of_all_gives(
    first: list[list[int]], second: list[list[int]], least: float
) -> None:
    def alike(one: list[int], other: list[int]) -> bool:
        union = {*one, *other}
        return bool(union) and len({*one} & {*other}) >= least * len(union) - 1e-9

    expected = {
        (row, column)
        for row, one in enumerate(first)
        for column, other in enumerate(second)
        if alike(one, other)
    }
    given = similar_pairs(first, second, least).tolist()
    assert sorted(expected) == sorted(map(tuple, given))


def test_words_are_the_same_whatever_their_case_order_and_number() -> None:
    assert hash_words("The cat, the CAT sat") == hash_words("sat the cat!")
    assert hash_words("…") == []
    many = hash_words(" ".join(f"w{number}" for number in range(1000)))
    assert len(many) == WORDS
    assert many == sorted(many)


@pytest.mark.parametrize(("copies", "pairs"), [(3, 3), (8, 28), (500, 998)])
def test_of_many_texts_with_equal_words_not_all_are_paired(copies: int, pairs: int) -> None:
    words = [hash_words("one two three")] * copies
    met = same_words(words)
    assert len(met) == pairs
    merged = merge_duplicates([f"g{number}" for number in range(copies)], range(copies), met)  # type: ignore[arg-type]
    assert set(merged) == {"g0"}


def test_texts_that_differ_in_one_word_of_ten_have_the_same_words() -> None:
    text = "one two three four five six seven eight nine ten"
    words = [hash_words(each) for each in (text, f"{text} eleven", f"{text} a b c", "", "")]
    assert same_words(words) == [(0, 1)]


def test_a_group_stays_where_it_was_earlier() -> None:
    groups = [f"g{number}" for number in range(60)]
    labels = ["x", "y", "z"] * 20
    earlier: dict[str, Split] = {group: SPLITS[number % 3] for number, group in enumerate(groups)}
    # Every group of a label is on one side: each label misses two.
    mixed = dict(zip(groups, split_groups(labels, groups, 0, earlier), strict=True))
    assert sum(mixed[group] != earlier[group] for group in groups) == 6
    even: dict[str, Split] = {group: SPLITS[number // 3 % 3] for number, group in enumerate(groups)}
    assert split_groups(labels, groups, 0, even) == [even[group] for group in groups]


def test_a_group_that_was_trained_on_is_tested_last_of_all() -> None:
    groups = [f"g{number}" for number in range(12)]
    fresh = next(group for group in groups if split_groups(["x"], [group], 0) == ["train"])
    earlier: dict[str, Split] = {
        group: SPLITS[number % 2] for number, group in enumerate(groups) if group != fresh
    }
    splits = dict(zip(groups, split_groups(["x"] * 12, groups, 0, earlier), strict=True))
    assert splits[fresh] == "test"
    assert [group for group in groups if splits[group] == "test"] == [fresh]
