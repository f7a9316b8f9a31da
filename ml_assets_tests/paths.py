"""Where the checkout under test lies, and what lies beside it."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"
"""Data sets; tests that need them skip where there are none."""
