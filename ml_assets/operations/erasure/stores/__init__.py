"""The erasers, a module for each store and a line here, in the order in which they work."""

from __future__ import annotations

from ml_assets.operations.erasure.stores import (
    artifacts,
    files,
    indexes,
    offline,
    online,
    postgres,
    predictions,
)
from ml_assets.operations.erasure.subject import Eraser

ERASERS: tuple[tuple[str, Eraser], ...] = (
    ("Dagster", files.erase_records),
    ("MLflow", artifacts.erase),
    ("files of the home", files.erase_files),
    ("indexes", indexes.erase),
    ("DuckDB", offline.erase),
    ("predictions", predictions.erase),
    ("online values and caches", online.erase),
)
"""The name of each store, and what erases in it."""

LAST: tuple[str, Eraser] = ("PostgreSQL", postgres.erase)
"""What was erased elsewhere is not written there again meanwhile."""
