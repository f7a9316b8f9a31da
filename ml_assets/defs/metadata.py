"""Metadata that several assets attach, in one form."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import dagster as dg

from ml_assets.delta import Delta
from ml_assets.problem import REPAIR, Problem
from ml_assets.releases.gates import Gate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


EXAMPLES_LENGTH = 400
"""Characters of the names of offenders that are shown."""


def delta_metadata(delta: Delta) -> dict[str, int]:
    """The four counts of a row delta."""
    return asdict(delta)


def problems_result(problems: Sequence[Problem], **numbers: str | float) -> dg.AssetCheckResult:
    """Passed without any; else it names how many rows have which, the first, and the repair."""
    if not problems:
        return dg.AssetCheckResult(passed=True, metadata=numbers)
    examples = ", ".join(name for each in problems for name in each.examples)
    rows = {each.problem: each.rows for each in problems}
    return dg.AssetCheckResult(
        passed=False,
        metadata={
            **numbers,
            **rows,
            "examples": examples[:EXAMPLES_LENGTH],
            "repair": REPAIR,
        },
    )


def table(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """A small markdown table; the keys of the first row are its header."""
    if not rows:
        return dg.MetadataValue.md("_no rows_")
    header = list(rows[0])
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(_cell(row[key]) for key in header) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def gate_table(gates: Sequence[Gate]) -> dg.MarkdownMetadataValue:
    """The verdict of each gate, with the numbers it compared."""
    return table([{**asdict(gate), "numbers": gate.compared} for gate in gates])


def plot(figure: Figure) -> dg.MarkdownMetadataValue:
    """A matplotlib figure as an inline PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return dg.MetadataValue.md(
        f"![plot](data:image/png;base64,{b64encode(buffer.getvalue()).decode()})"
    )


def data_version(*parts: object) -> dg.DataVersion:
    """A data version that changes when one of `parts` does."""
    return dg.DataVersion(hashlib.sha256(repr(parts).encode()).hexdigest()[:16])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
