"""The indexes outside PostgreSQL, of every generation that has them: keyword, Chroma, FAISS."""

from __future__ import annotations

from typing import Any, cast

from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.search.generation import kept_generations
from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.contract import LedgerIndex
from ml_assets.search.indexes.kinds import KINDS, Indexes, kinds_of

_HERE = "its files were written anew"
_SERVER = "its collection was built anew; what its server keeps of the old one is not seen"


def erase(place: Place, subject: Subject) -> list[Removed]:
    """Remove the chunks from each index, and write it anew beside itself: searches go on.

    Raises:
        StoreError: an index cannot be used, or another process writes it for too long.
    """
    connection, settings = place.connection, place.settings
    indexes, generations = Indexes(settings), kept_generations(connection)
    removed = []
    for generation in generations:
        for kind in kinds_of(generation):
            if kind.upkeep is None:
                place.notify(f"erasing from the {kind.name} index of {generation.generation_id}")
                with indexes.open(connection, generation, kind.name) as opened:
                    index = cast("LedgerIndex[Any]", opened)
                    count = ledger.erase(connection, index, subject.chunks)
                    how = _SERVER if index.lock is None else _HERE
                what = f"chunks of generation {generation.generation_id}"
                removed.append(Removed(kind.name, what, count, how))
    for kind in KINDS.values():
        if kind.tidy:
            kind.tidy(settings, [generation.generation_id for generation in generations])
    return removed
