"""The erasers, a module for each store and a line here, in the order in which they work.

PostgreSQL comes last: by its rows the others find what they have.
"""

from __future__ import annotations

from ml_assets.operations.erasure.subject import Eraser

ERASERS: tuple[tuple[str, Eraser], ...] = ()
"""The name of each store, and what erases in it."""
