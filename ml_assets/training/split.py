"""The split by group: near-certain duplicates and members of one object stay on one side."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence

from ml_assets.training.model import SPLITS, Split

_BOUNDS = (0.64, 0.80)
"""A group below the first bound is trained on, below the second validated on, else tested on."""


def merge_duplicates(groups: Sequence[str], texts: Sequence[str | bytes]) -> list[str]:
    """Join the groups that share a text; return the group of each row, named by its least member.

    Groups that are joined through a third are joined too (union-find), in any order of the rows.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    first: dict[str | bytes, str] = {}
    for group, text in zip(groups, texts, strict=True):
        least, other = sorted((root(group), root(first.setdefault(text, group))))
        parent[other] = least
    return [root(group) for group in groups]


def split_groups(labels: Sequence[str], groups: Sequence[str], seed: int) -> list[Split]:
    """Assign each row's group to train (64 %), validation (16 %) or test (20 %).

    The split of a group follows from its name and the seed alone, so what was trained on stays out
    of the test splits of later training sets, but for groups that are joined or moved since: see
    `without_learned`. Only where a label would miss a split, one of its groups is moved there: with
    three groups or more that hold no other label, every label is in every split.
    """
    split_of = {group: _by_hash(group, seed) for group in groups}
    members: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        members[label].add(group)
    mixed = Counter(group for owned in members.values() for group in owned)
    for label in sorted(members):
        _fill_splits(sorted(members[label], key=lambda group: (mixed[group], group)), split_of)
    return [split_of[group] for group in groups]


def _fill_splits(groups: Sequence[str], split_of: dict[str, Split]) -> None:
    for split in SPLITS:
        counts = Counter(split_of[group] for group in groups)
        donor, spare = counts.most_common(1)[0]
        if counts[split] == 0 and spare > 1:
            moved = next(group for group in groups if split_of[group] == donor)
            split_of[moved] = split


def _by_hash(group: str, seed: int) -> Split:
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return SPLITS[bisect(_BOUNDS, position)]
