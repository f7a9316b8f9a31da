"""Facets: how the best documents of a search spread over collections, labels, times, metadata."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ml_assets.documents.collections import Collection
from ml_assets.search.answering.model import Hit
from ml_assets.service.page.asked import Asked

FIRST, MOST_VALUES = 7, 64
"""Values of a facet that are seen at once, and at all."""
TELLING_VALUES = 12
"""A metadata key with more of them is no facet."""
MOST_KEYS = 4
"""Metadata keys that become facets: those that most documents have."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a facet: what the URL says, what a person reads, how many documents have it."""

    text: str
    shown: str
    documents: int
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """Values of one field, those of most documents first; `name` is its parameter in the URL."""

    name: str
    title: str
    values: Sequence[Value]

    @property
    def first(self) -> list[Value]:
        """The values that are seen at once: the first ones, and those that are chosen."""
        return [*self.values[:FIRST], *(each for each in self.values[FIRST:] if each.is_chosen)]

    @property
    def rest(self) -> list[Value]:
        """The others."""
        return [each for each in self.values[FIRST:] if not each.is_chosen]


def facets_of(hits: Sequence[Hit], asked: Asked) -> list[Facet]:
    """The facets of some hits that tell them apart, and those of which a value is chosen."""
    own = {
        ("collection", "Collection"): Counter(hit.collection for hit in hits),
        ("label", "Label"): _labels(hits, asked.label),
        ("created", "Created"): _periods(hits, asked.created),
    }
    facets = [
        _facet(name, title, {}, counts, asked.chosen(name)) for (name, title), counts in own.items()
    ]
    facets += _metadata_facets(hits, asked.where)
    return [
        facet
        for facet in facets
        if len(facet.values) > 1 or any(value.is_chosen for value in facet.values)
    ]


def collection_facets(collections: Sequence[Collection], chosen: Sequence[str]) -> list[Facet]:
    """The collections that there are, where there are several."""
    counts = Counter({each.collection: each.documents for each in collections if each.documents})
    return [_facet("collection", "Collection", {}, counts, chosen)] if len(counts) > 1 else []


def _facet(
    name: str,
    title: str,
    shown: Mapping[str, str],
    counts: Counter[str],
    chosen: Iterable[str],
) -> Facet:
    most = [text for text, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    listed = [*most[:MOST_VALUES], *(text for text in chosen if text not in most[:MOST_VALUES])]
    values = [Value(text, shown.get(text, text), counts[text], text in chosen) for text in listed]
    return Facet(name, title, values)


def _labels(hits: Sequence[Hit], chosen: Sequence[str]) -> Counter[str]:
    """None where each label is the collection, as of a source that has its labels from there."""
    if not chosen and all(hit.label == hit.collection for hit in hits):
        return Counter()
    return Counter(hit.label for hit in hits if hit.label)


def _periods(hits: Sequence[Hit], chosen: Sequence[str]) -> Counter[str]:
    """By year, or by month where all are of one year, or months are chosen."""
    times = [hit.created_at for hit in hits if hit.created_at]
    months = len({time.year for time in times}) == 1 or any("-" in text for text in chosen)
    return Counter(f"{time:%Y-%m}" if months else f"{time:%Y}" for time in times)


def _metadata_facets(hits: Sequence[Hit], chosen: Sequence[str]) -> list[Facet]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    shown: dict[str, str] = {pair: pair.partition("=")[2] for pair in chosen}
    for hit in hits:
        for key, value in hit.metadata.items():
            text = value if isinstance(value, str) else json.dumps(value)
            if "=" not in key and len(key) + len(text) < 300:
                counts[key][f"{key}={text}"] += 1
                shown[f"{key}={text}"] = text
    by_key: dict[str, list[str]] = defaultdict(list)
    for pair in chosen:
        by_key[pair.partition("=")[0]].append(pair)
    telling = [key for key, values in counts.items() if 1 < len(values) <= TELLING_VALUES]
    telling.sort(key=lambda key: (-counts[key].total(), key))
    keys = dict.fromkeys([*by_key, *telling[:MOST_KEYS]])
    return [_facet("where", key, shown, counts[key], by_key[key]) for key in keys]
