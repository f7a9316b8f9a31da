"""Forty documents, and judged queries whose answer is one of them."""

from __future__ import annotations

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets_tests.search.corpus import Doc

DOCS = {
    f"d{number}": Doc((f"text number {number}",), collection="even" if number % 2 == 0 else "odd")
    for number in range(40)
}


def judged(number: int, half: str = "reporting", *also: int) -> JudgedQuery:
    relevant = {f"d{one}": 1 for one in (number, *also)}
    return JudgedQuery(f"q{number}", f"text number {number}", relevant, half)  # type: ignore[arg-type]
