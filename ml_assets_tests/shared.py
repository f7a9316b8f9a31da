"""Data sets beside the checkout; tests that need them skip where there are none."""

from pathlib import Path

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
