"""Labels that people take for one, and models for several."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def labels_alike(connection: postgres.Connection) -> list[tuple[str, ...]]:
    """The labels of live documents that are alike, together."""
    rows = connection.execute(statement("postgres/training/label_groups")).fetchall()
    return alike(label for label, _ in rows)


def alike(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """The labels that look the same to a reader who overlooks case, spacing and width, together."""
    same: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        same[_as_read(label)].add(label)
    return sorted(tuple(sorted(names)) for names in same.values() if len(names) > 1)


def _as_read(label: str) -> str:
    """A label in one case and one form, with single spaces and without unseen characters."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    seen = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return " ".join(seen.split())
