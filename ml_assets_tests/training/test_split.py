"""The split: nothing straddles, nothing is empty, nothing depends on order or chance."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from ml_assets.training.model import SPLITS
from ml_assets.training.split import merge_duplicates, split_groups

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
