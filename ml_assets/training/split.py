"""The split by group: duplicates, near duplicates and members of one object stay on one side.

What a document was split into, and the words of its text, are remembered by the training sets'
store: so a group keeps its side when it is edited, renamed, or joined by another.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise, product
from math import ceil
from typing import TYPE_CHECKING

from ml_assets.training.model import SPLITS, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_BOUNDS = (0.64, 0.80)
"""A group below the first bound is trained on, below the second validated on, else tested on."""

SAME_WORDS = 0.9
"""Words in common, of those of either, from which on two texts have the same words."""

EDITED = 0.5
"""The same, from which on a new text is taken for one that is gone, edited."""

NEAR = 0.95
"""The cosine from which on texts with the same words are near duplicates."""

WORDS = 64
"""Words of a text that are compared, at most: those with the least hashes, of any text."""

_WORD = re.compile(r"\w+")
_BLOCK = 512
_PAIRS = 65_536
"""Rows and pairs at a time."""
_FEW = 8
"""Texts with equal words that are all paired with each other."""


def hash_words(text: str) -> list[int]:
    """The hashes of the words of a text, whatever their case, order and number; `WORDS` at most.

    Of a longer text they are a sample that an edit hardly changes: a bottom-k sketch, Broder
    (1997), "On the resemblance and containment of documents".
    """
    words = {zlib.crc32(word.encode()) for word in _WORD.findall(text.casefold())}
    return sorted(words)[:WORDS]


def similar_pairs(
    first: Sequence[Sequence[int]], second: Sequence[Sequence[int]], least: float
) -> NDArray[np.intp]:
    """The pairs of texts that share so many words, of those of either: places, shape (pairs, 2).

    Two such sets have one of their rarest words in common, so that only texts that do are compared
    (the prefix filter of Bayardo et al. 2007, "Scaling Up All Pairs Similarity Search"): that few
    words of few texts take part bounds time and memory, and no text is compared with all.
    """
    import numpy as np

    count = Counter(word for words in (*first, *second) for word in words)
    places = {word: place for place, word in enumerate(sorted(count, key=count.__getitem__))}
    sides = [[sorted(places[word] for word in words) for words in of] for of in (first, second)]
    whole, rarest = [_matrix(of, len(places)) for of in sides], []
    for of in sides:
        # So many of the words are not shared at most, and one more must hold a shared one.
        kept = [words[: len(words) - ceil(round(least * len(words), 6)) + 1] for words in of]
        rarest.append(_matrix(kept, len(places)))
    sizes = [np.array([len(words) for words in of], np.intp) for of in sides]
    pairs = [np.empty((0, 2), np.intp)]
    for start in range(0, len(first), _BLOCK):
        met = (rarest[0][start : start + _BLOCK] @ rarest[1].T).tocoo()
        for part in range(0, met.nnz, _PAIRS):
            rows = met.row[part : part + _PAIRS].astype(np.intp) + start
            columns = met.col[part : part + _PAIRS].astype(np.intp)
            shared = whole[0][rows].multiply(whole[1][columns]).sum(axis=1)
            total = sizes[0][rows] + sizes[1][columns] - shared
            alike = shared >= least * total - 1e-9
            pairs.append(np.column_stack([rows[alike], columns[alike]]))
    return np.concatenate(pairs)


def same_words(words: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The pairs of places whose texts have the same words, but for one in ten.

    Texts with equal words are taken together: of many of them each is paired with the first, and
    with its neighbours, not with all.
    """
    places = defaultdict(list)
    for place, each in enumerate(words):
        places[tuple(each)].append(place)
    places.pop((), None)
    members, distinct = [*places.values()], [*places]
    pairs: list[tuple[int, int]] = []
    for own in members:
        pairs += combinations(own, 2) if len(own) <= _FEW else pairwise(own)
        pairs += [(own[0], other) for other in own[1:] if len(own) > _FEW]
    for first, second in similar_pairs(distinct, distinct, SAME_WORDS).tolist():
        if first < second:
            pairs += product(members[first][:_FEW], members[second][:_FEW])
    return pairs


def _matrix(rows: Sequence[Sequence[int]], columns: int) -> csr_array:
    import numpy as np
    from scipy.sparse import csr_array

    ends = np.cumsum([0, *(len(row) for row in rows)])
    filled = np.fromiter((place for row in rows for place in row), np.intp, ends[-1])
    shape = (len(rows), columns)
    return csr_array((np.ones(len(filled), np.int32), filled, ends), shape=shape)


def merge_duplicates(
    groups: Sequence[str], texts: Sequence[str | bytes], near: Iterable[tuple[int, int]] = ()
) -> list[str]:
    """Join the groups that share a text, and those of rows that are `near`, pairs of places.

    Returns the group of each row, named by its least member. Groups that are joined through a third
    are joined too (union-find), in any order of the rows.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    first: dict[str | bytes, str] = {}
    equal = [
        (first.setdefault(text, group), group) for text, group in zip(texts, groups, strict=True)
    ]
    for group, other in (*equal, *((groups[one], groups[two]) for one, two in near)):
        least, most = sorted((root(group), root(other)))
        parent[most] = least
    return [root(group) for group in groups]


def split_groups(
    labels: Sequence[str],
    groups: Sequence[str],
    seed: int,
    earlier: Mapping[str, Split] | None = None,
) -> list[Split]:
    """Assign each row's group to train (64 %), validation (16 %) or test (20 %).

    A group stays where it was `earlier`; the split of another follows from its name and the seed.
    So what was trained on stays out of the test splits of later training sets. Only where a label
    would miss a split, one of its groups is moved there, into the test split one that was trained
    on last of all: with three groups or more that hold no other label, every label is in every
    split. See `without_learned` for what is so moved.
    """
    known = earlier or {}
    learned = {group for group, split in known.items() if split != "test"}
    split_of = {group: known.get(group) or _by_hash(group, seed) for group in groups}
    members: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        members[label].add(group)
    mixed = Counter(group for owned in members.values() for group in owned)
    for label in sorted(members):
        owned = sorted(members[label], key=lambda group: (mixed[group], group))
        _fill_splits(owned, split_of, learned)
    return [split_of[group] for group in groups]


def _fill_splits(groups: Sequence[str], split_of: dict[str, Split], learned: set[str]) -> None:
    for split in SPLITS:
        counts = Counter(split_of[group] for group in groups)
        if counts[split]:
            continue
        spare = [group for group in groups if counts[split_of[group]] > 1]
        if spare:
            # The first of the fullest split; for a test, one that no model was trained on.
            costs = {
                group: (split == "test" and group in learned, -counts[split_of[group]])
                for group in spare
            }
            split_of[min(spare, key=costs.__getitem__)] = split


def _by_hash(group: str, seed: int) -> Split:
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return SPLITS[bisect(_BOUNDS, position)]
